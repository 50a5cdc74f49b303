from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data import content, sources
from regard.data.clean import clean
from regard.data.split import split


def table(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return sources.open(path)


def lines(source) -> list[int]:
    return [int(row["where"].rpartition(":")[2]) for row in source]


@given(st.lists(st.integers(0, 20), max_size=60))
def test_groups_name_the_first_of_each_kind(values):
    first = content.groups([content.key(str(value)) for value in values])
    assert first.tolist() == [values.index(value) for value in values]


def test_keys_do_not_run_into_each_other():
    assert content.key("ab", "c") != content.key("a", "bc") != content.key("abc")


def test_cleaning_says_what_it_dropped_and_why(tmp_path):
    rows = [
        {"text": "good film", "label": "pos"},  # 1 stays
        {"text": " \n", "label": "pos"},  # 2 empty
        {"text": "good  film ", "label": "pos"},  # 3 the same after white space
        {"text": "ｇｏｏｄ film", "label": "pos"},  # 4 the same after NFKC
        {"text": "so so", "label": "pos"},  # 5 two classes
        {"text": "bro□ken", "label": "neg"},  # 6 damaged
        {"text": "so so", "label": "neg"},  # 7 two classes
        {"text": "so so", "label": "pos"},  # 8 two classes, and not kept as a duplicate's first
        {"text": "bad \ufffd", "label": "neg"},  # 9 damaged
        {"text": "bad film", "label": "neg"},  # 10 stays
    ]
    cleaned = clean(table(tmp_path, rows))
    assert lines(cleaned.rows) == [1, 10]
    found = {reason: (numbers + 1).tolist() for reason, numbers in cleaned.dropped.items()}
    assert found == {"empty": [2], "damaged": [6, 9], "two_classes": [5, 7, 8], "duplicate": [3, 4]}
    assert cleaned.counts == {"empty": 1, "damaged": 2, "two_classes": 3, "duplicate": 2}


def test_pairs_are_the_same_only_if_both_sides_are(tmp_path):
    rows = [
        {"source": "open", "target": "打开"},
        {"source": "open", "target": "开"},
        {"source": "open", "target": "打开"},
    ]
    assert lines(clean(table(tmp_path, rows)).rows) == [1, 2]


def test_clean_data_stay_as_they_are(tmp_path):
    cleaned = clean(table(tmp_path, [{"text": str(number)} for number in range(50)]))
    assert lines(cleaned.rows) == list(range(1, 51)) and not any(cleaned.counts.values())


@given(st.lists(st.integers(0, 30), min_size=40, max_size=80), st.integers(0, 2**63), st.floats(0.2, 0.8))
def test_no_text_stands_on_both_sides(tmp_path_factory, values, seed, fraction):
    rows = table(
        tmp_path_factory.mktemp("split"), [{"text": f"text{' ' * (i % 3 + 1)}{v}"} for i, v in enumerate(values)]
    )
    try:
        train, held = split(rows, fraction, seed)
    except Exception as error:
        assert "one side empty" in str(error)
        return
    texts = [{" ".join(row["text"].split()) for row in side} for side in (train, held)]
    assert not texts[0] & texts[1] and len(train) + len(held) == len(rows)
    assert lines(train) == sorted(lines(train))


def test_a_split_by_group_keeps_groups_together_and_texts_apart(tmp_path):
    rows = [{"text": f"text {(number * 7) % 800}", "page": f"page {number % 97}"} for number in range(1000)]
    source = table(tmp_path, rows)
    train, held = split(source, 0.2, 3, by="page")
    pages = [{side.record(number)["page"] for number in range(len(side))} for side in (train, held)]
    assert not pages[0] & pages[1] and len(pages[0] | pages[1]) == 97
    assert not {row["text"] for row in train} & {row["text"] for row in held}
    assert len(train) + len(held) < 1000  # the texts that stand on pages of both sides left the training part
    assert 0.1 < len(held) / 1000 < 0.3


def test_a_split_depends_on_content_and_seed_alone(tmp_path):
    rows = [{"text": str(number)} for number in range(500)]
    _, held = split(table(tmp_path, rows), 0.1, 0)
    kept = {row["text"] for row in held}
    assert 25 < len(kept) < 80
    # Other rows beside them, in another order: what was held out is held out still, and nothing that was not.
    _, grown = split(table(tmp_path, [{"text": f"new {number}"} for number in range(300)] + rows[::-1]), 0.1, 0)
    assert {row["text"] for row in grown if not row["text"].startswith("new")} == kept
    _, other = split(table(tmp_path, rows), 0.1, 1)
    assert {row["text"] for row in other} != kept


def test_impossible_splits_are_refused(tmp_path):
    rows = table(tmp_path, [{"text": "one", "page": "a"}])
    with pytest.raises(Exception, match="one side empty"):
        split(rows, 0.5, 0)
    with pytest.raises(Exception, match="above 0 and below 1"):
        split(rows, 1.0, 0)
    with pytest.raises(Exception, match=r"'author'.*text, page"):
        split(rows, 0.5, 0, by="author")


def test_subset_numbers_are_plain(tmp_path):
    rows = table(tmp_path, [{"text": str(number)} for number in range(50)])
    train, _ = split(rows, 0.3, 0)
    assert train.numbers.dtype == np.int64
