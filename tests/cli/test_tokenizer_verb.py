"""`regard tokenizer`, as it is typed."""

from __future__ import annotations

import io
import json
import sys

import pytest

from regard.cli.main import run
from regard.inputs.tokenizer import Tokenizer

LINES = ["明月几时有？把酒问青天。", "Hello world, hello words."] * 13


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poems.txt").write_text("\n".join(LINES), encoding="utf-8")
    return tmp_path


def printed(capsys, *arguments: str) -> str:
    assert run(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters", "bytes"])
def test_train_writes_a_tokenizer_and_measures_it(folder, capsys, kind):
    out = printed(capsys, "tokenizer", "train", "poems.txt", "--kind", kind, "--vocab", "311", "--out", "t", "--json")
    found = json.loads(out)
    tokenizer = Tokenizer.load(folder / "t")
    assert found["kind"] == kind and found["size"] == tokenizer.size and found["rows"] == found["texts"]
    assert found["unchanged"] == found["texts"]
    lengths = [len(tokenizer.encode(line, special=False)) for line in LINES]
    assert found["characters_per_token"] == pytest.approx(sum(map(len, LINES)) / sum(lengths))


def test_train_says_what_it_did_and_what_is_lost(folder, capsys):
    assert "saved in t" in printed(capsys, "tokenizer", "train", "poems.txt", "--vocab", "300", "--out", "t")
    out = printed(capsys, "tokenizer", "train", "poems.txt", "--kind", "wordpiece", "--out", "w", "--lang", "zh")
    assert "不能保留一切" in out


def test_train_does_not_overwrite(folder, capsys):
    printed(capsys, "tokenizer", "train", "poems.txt", "--kind", "bytes", "--vocab", "300")
    before = (folder / "tokenizer" / "tokenizer.json").read_bytes()
    assert run(["tokenizer", "train", "poems.txt", "--vocab", "300"]) == 1
    assert "not overwritten" in capsys.readouterr().err
    assert (folder / "tokenizer" / "tokenizer.json").read_bytes() == before


def test_show_draws_every_token(folder, capsys, monkeypatch):
    Tokenizer.train("bytes", LINES, 300).save(folder / "run" / "tokenizer")
    out = printed(capsys, "tokenizer", "show", "run", "明", "b")
    assert "明" in out and "·" in out and "goes on" in out and "Characters per token: 0.60" in out
    monkeypatch.setattr(sys, "stdin", io.StringIO("明 b"))
    found = json.loads(printed(capsys, "tokenizer", "show", "run/tokenizer", "--json"))
    assert [row["id"] for row in found["tokens"][1:-1]] == list("明 b".encode())
    assert [row["special"] for row in found["tokens"]] == [True, *[False] * 5, True]


def test_show_obeys_nothing_in_the_text(folder, capsys):
    Tokenizer.train("bytes", LINES, 300).save(folder / "t")
    out = printed(capsys, "tokenizer", "show", "t", "\x1b[2J[bold]a[/bold]")
    assert "\x1b" not in out and "\\u001b" in out
    assert "[bold]" in out


def test_what_is_not_there_is_named(folder, capsys):
    assert run(["tokenizer", "show", "nowhere", "x"]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert run(["tokenizer", "train", "nowhere.txt"]) != 0
    assert "nowhere.txt" in capsys.readouterr().err
