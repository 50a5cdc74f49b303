from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data import sources
from regard.data.check import ODDITIES, check, lengths, oddities, shared, snippet
from regard.data.summary import bar, summary
from regard.data.survey import survey
from regard.words import set_language


@pytest.fixture
def rows(tmp_path):
    lines = [{"text": f"row number {number}", "label": "ab"[number % 3 == 0]} for number in range(40)]
    lines[3]["text"] = "caf\u00c3\u00a9"
    lines[5]["text"] = "a\x1b[31mred"
    lines[7]["text"] = "lost \ufffd"
    lines[8]["text"] = lines[1]["text"]
    lines[9]["text"] = "Tom &amp; Jerry"
    lines[11]["text"] = "x" * 400
    lines[13]["text"] = "zero\u200bwidth"
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return sources.open(path)


def test_the_report_finds_what_was_put_there(rows):
    report = check(rows, encode=lambda text: list(text.encode()), context=11)
    places = {name: [where.rpartition(":")[2] for where, _ in odd.examples] for name, odd in report.odd.items()}
    assert places == {
        "garbled": ["4"],
        "control": ["6"],
        "damaged": ["8"],
        "markup": ["10"],
        "repeated": ["12"],
        "far_longer": ["12"],
        "invisible": ["14"],
    }
    assert {reason: odd.count for reason, odd in report.dropped.items()} == {
        "empty": 0,
        "damaged": 1,
        "two_classes": 0,
        "duplicate": 1,
    }
    assert report.labels == {"a": 26, "b": 14}
    assert report.characters["text"].most == 400 and report.tokens["text"].total == sum(
        len(row["text"].encode()) for row in rows
    )
    cut = report.truncation["text"]
    beyond = [max(len(row["text"].encode()) - 11, 0) for row in rows]
    assert (cut.rows, cut.tokens) == (sum(map(bool, beyond)), sum(beyond)) and 0 < cut.share < 1
    assert json.loads(json.dumps(report.plain()))["rows"] == 40


def test_the_summary_shows_it_in_both_languages_and_cannot_steer_the_terminal(rows):
    report = survey(rows, held_out=rows[:4], encode=str.encode, context=11)
    assert report.shared is not None and report.shared.count == 5
    for language in ("en", "zh"):
        set_language(language)
        try:
            text = summary(report)
        finally:
            set_language(None)
        assert "rows.jsonl:6  a\\x1b[31mred" in text and "\x1b" not in text
        assert "data." not in text


def test_pairs_are_measured_on_both_sides(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("source\ttarget\nopen\t打开\nOK\tOK\n", encoding="utf-8")
    report = check(sources.open(path))
    assert report.characters["source"].total == 6 and report.characters["target"].total == 4
    assert report.odd["untranslated"].examples[0][0].endswith("a.tsv:3")


def test_shared_rows_are_those_of_the_first(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\none\nthree\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("zero\none \n", encoding="utf-8")
    assert shared(sources.open(tmp_path / "a.txt"), sources.open(tmp_path / "b.txt")).tolist() == [0, 2]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200))
def test_every_length_is_in_the_histogram(values):
    found = lengths(values)
    assert sum(found.counts) == len(values) == len([v for v in values if v >= found.edges[0]])
    assert len(found.edges) == len(found.counts) + 1 and list(found.edges) == sorted(set(found.edges))
    assert found.counts[0] == sum(v < found.edges[1] for v in values) or len(found.counts) == 1
    assert (found.least, found.most, found.total) == (min(values), max(values), sum(values))


@given(st.text(max_size=200))
def test_oddities_are_those_of_the_single_rules(text):
    assert oddities(text) == [name for name, rule in ODDITIES.items() if rule.search(text)]


@given(st.text(max_size=100), st.integers(0, 100))
def test_a_snippet_can_be_printed(text, at):
    assert snippet(text, min(at, len(text))).isprintable()


def test_bars():
    assert (bar(0), bar(1, 4), bar(0.5, 4), bar(1 / 32, 4)) == ("", "████", "██", "▏")
