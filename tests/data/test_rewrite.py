"""Data written anew: what went is what the report says, what stays is whole, and nothing is lost on the way."""

from __future__ import annotations

import json
import os

import pytest

from regard.cli.main import run
from regard.data import sources
from regard.data.faults import Faults
from regard.data.rewrite import rewrite
from regard.data.survey import survey
from regard.errors import RegardError

NOTES = {"note": "13912345678", "list": [1, "a@b.cn"]}
ROWS = [
    {"text": "the weather is fine today and we go to the sea with the whole family", "label": "good", "id": 1},
    {"text": "the weather is fine today and we go to the sea with the whole family", "label": "good", "id": 2},
    {"text": "the weather is fine today and we go to the sea with the whole family!!", "label": "good", "id": 3},
    {"text": "the weather was fine today and we go to the sea with the whole family", "label": "bad", "id": 4},
    {"text": "一个文字，两个类别", "label": "good", "id": 5},
    {"text": "一个文字，两个类别", "label": "bad", "id": 6},
    {"text": "lost \ufffd", "label": "bad", "id": 7},
    {"text": " ", "label": "bad", "id": 8},
    {"text": "call 13912345678 or write to li@example.com now", "label": "bad", "id": 9} | NOTES,
    {"text": "call 13812345678 or write to wu@example.com now", "label": "bad", "id": 10},
    {"text": "a text that is held out too", "label": "good", "id": 11},
]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_text(body + '{"text": broken\n', encoding="utf-8")
    (tmp_path / "held.jsonl").write_text('{"text": "A text that is held out too", "label": "good"}\n', encoding="utf-8")
    return tmp_path


def opened(data):
    passed = Faults()
    return sources.open(data / "a.jsonl", passed=passed), passed


def ids(path) -> list[int]:
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_by_default_only_what_is_certain_goes(data):
    rows, passed = opened(data)
    found = rewrite(rows, data / "out.jsonl", passed=passed)
    assert ids(data / "out.jsonl") == [1, 3, 4, 9, 10, 11] and found.kept == 6 and found.rows == 11
    assert {reason: odd.count for reason, odd in found.dropped.items()} == {
        "empty": 1, "damaged": 1, "two_classes": 2, "duplicate": 1,
    }  # fmt: skip
    assert found.unreadable.count == 1 and "a.jsonl:12" in found.unreadable.examples[0][0]
    first = json.loads((data / "out.jsonl").read_text(encoding="utf-8").splitlines()[3])
    assert first == ROWS[8], "a row that stays is what it was, column for column"


def test_near_held_out_and_masked_go_when_asked(data):
    rows, passed = opened(data)
    held_out = sources.open(data / "held.jsonl")
    settings = {"held_out": held_out, "likeness": 0.8, "masked": True, "passed": passed}
    found = rewrite(rows, data / "out.jsonl", removed=data / "removed.jsonl", **settings)
    assert ids(data / "out.jsonl") == [1, 4, 9], "a near-duplicate of another label stays"
    text = (data / "out.jsonl").read_text(encoding="utf-8")
    assert "139" not in text and "a@b.cn" not in text and "call [PHONE] or write to [MAIL] now" in text
    assert found.dropped["duplicate"].count == 2 and found.masked == {"mail": 1, "phone": 2} and found.masked_rows == 1
    listed = [json.loads(line) for line in (data / "removed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(listed) == 11 - 3 + 1 and all("13812345678" not in json.dumps(each) for each in listed)
    by_line = {int(each["where"].rpartition(":")[2]): each for each in listed if "where" in each}
    assert sorted(by_line) == [2, 3, 5, 6, 7, 8, 10, 11]
    assert by_line[3]["reason"] == "near" and by_line[3]["of"].endswith("a.jsonl:1")
    assert by_line[11]["reason"] == "near_shared" and by_line[11]["of"].endswith("held.jsonl:1")


def test_what_was_cleaned_is_found_clean(data):
    rows, passed = opened(data)
    rewrite(rows, data / "out.jsonl", passed=passed, likeness=0.8, masked=True)
    found = survey(sources.open(data / "out.jsonl"))
    assert not any(odd.count for odd in found.dropped.values()) and not found.near.count and not found.findings
    again = rewrite(sources.open(data / "out.jsonl"), data / "again.jsonl", likeness=0.8, masked=True)
    assert (data / "again.jsonl").read_bytes() == (data / "out.jsonl").read_bytes() and again.kept == again.rows


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_every_form_is_read_back_as_it_was(tmp_path, suffix):
    rows = [
        ('say "this", twice', "1"),
        ("two\nlines", "2"),
        ("tab\there", "3"),
        ("  blanks  ", "4"),
        ("中文，逗号", "5"),
    ]
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), encoding="utf-8"
    )
    rewrite(sources.open(tmp_path / "a.jsonl"), tmp_path / f"b{suffix}")
    back = sources.open(tmp_path / f"b{suffix}")
    assert [(row["text"], row["label"]) for row in back] == rows


def test_texts_are_written_as_texts_where_that_loses_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\none\ntwo\n", encoding="utf-8")
    rewrite(sources.open(tmp_path / "a.txt"), tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_bytes() == b"one\ntwo\n"
    rows = sources.open(tmp_path / "a.txt", unit="paragraph")
    with pytest.raises(RegardError, match=r"one text a line, and the text of .*a\.txt:3"):
        rewrite(rows, tmp_path / "c.txt")
    with pytest.raises(RegardError, match="label"):
        (tmp_path / "a.csv").write_text("text,label\na,1\n", encoding="utf-8")
        rewrite(sources.open(tmp_path / "a.csv"), tmp_path / "c.txt")
    with pytest.raises(RegardError, match=r"\.jsonl, \.csv"):
        rewrite(rows, tmp_path / "c.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.txt", "b.txt"], "and nothing half written"


def test_nothing_is_written_over_unless_asked(data):
    rows, passed = opened(data)
    before = (data / "a.jsonl").read_bytes()
    os.symlink(data / "a.jsonl", data / "link.jsonl")
    for out in ("a.jsonl", "link.jsonl", "held.jsonl"):
        with pytest.raises(RegardError, match="--overwrite"):
            rewrite(rows, data / out, passed=passed)
    with pytest.raises(RegardError, match="--overwrite"):
        rewrite(rows, data / "out.jsonl", removed=data / "a.jsonl", passed=passed)
    assert (data / "a.jsonl").read_bytes() == before and not (data / "out.jsonl").exists()
    rewrite(rows, data / "a.jsonl", passed=passed, overwrite=True)
    assert ids(data / "a.jsonl") == [1, 3, 4, 9, 10, 11]


def test_data_of_which_nothing_is_left_are_not_written(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nsame,1\nsame,2\n", encoding="utf-8")
    with pytest.raises(RegardError, match="nothing was written"):
        rewrite(sources.open(tmp_path / "a.csv"), tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


def test_a_full_disk_leaves_no_part_behind(data, monkeypatch):
    rows, passed = opened(data)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("regard.data.rewrite.os.fsync", full)
    with pytest.raises(RegardError, match="No space left on device"):
        rewrite(rows, data / "out.jsonl", passed=passed)
    assert sorted(path.name for path in data.iterdir()) == ["a.jsonl", "held.jsonl"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_command_says_what_went(data, capsys, language):
    path, out = str(data / "a.jsonl"), str(data / "out.jsonl")
    asked = ["data", "clean", path, "--out", out, "--near", "--mask", "--removed", str(data / "gone.jsonl")]
    assert run([*asked, "--lang", language]) == 0
    shown = capsys.readouterr().out
    assert f"{path}:2" in shown and f"{path}:12" in shown and "data." not in shown.replace("data.jsonl", "")
    assert run([*asked, "--json"]) == 1
    assert run([*asked, "--overwrite", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kept"] == len(ids(data / "out.jsonl")) and document["dropped"]["near"]["count"] == 1
