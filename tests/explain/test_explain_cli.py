"""`regard explain` as a user runs it."""

from __future__ import annotations

import json

import pytest

from regard import bundle
from regard.cli.main import run


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    bundle.save(path, make("classifier"))
    return str(path)


def test_a_page_a_picture_and_a_summary(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["explain", folder, "--text", "床前明月光", "--png", "a.png", "--lang", "zh"]) == 0
    assert (tmp_path / "explain.html").read_text(encoding="utf-8").startswith('<!doctype html>\n<html lang="zh-Hans">')
    assert (tmp_path / "a.png").is_file()
    captured = capsys.readouterr()
    assert "模型内部" in captured.out and "关掉" in captured.out
    assert "explain.html" in captured.err


def test_json_alone_on_stdout_and_no_page(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["explain", folder, "--text", "床前", "--target", "坏", "--layer", "1", "--head", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["answers"][0]["answer"] == "坏"
    (head,) = document["attention"]["self"]["heads"]
    assert (head["layer"], head["head"]) == (1, 2)
    assert len(head["weights"]) == len(document["tokens"])
    assert document["written"] == [] and not list(tmp_path.iterdir())


def test_a_refusal_is_a_sentence_and_writes_nothing(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["explain", folder, "--text", "床前", "--target", "neutral", "--lang", "en"]) == 1
    assert "'neutral' is not one of the labels of this model: 坏, 好, 平" in capsys.readouterr().err
    assert run(["explain", folder, "--text", "床前", "--layer", "9"]) == 1
    assert not list(tmp_path.iterdir())
