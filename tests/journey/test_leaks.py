"""What is held out is held out: no text, no variant of one, no page stands on both sides."""

from __future__ import annotations

import json

import pytest

from regard.data import samples
from regard.data.sources import Subset
from regard.journey import data
from regard.journey.folder import Folder
from regard.journey.variants import variants


def sides(folder: Folder, name: str) -> list[list[dict[str, str]]]:
    files = (folder.data(f"{name}-{side}") for side in ("train", "held-out"))
    return [[json.loads(line) for line in file.read_text("utf-8").splitlines()] for file in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Folder:
    return Folder(tmp_path_factory.mktemp("data"))


def test_variants_of_held_out_poems_are_not_trained_on(folder):
    poems = samples.open("tang-poems")
    found = data.prepare(folder, "tang-poems", Subset(poems, range(0, len(poems), 7)))
    train, held_out = ([row["text"] for row in side] for side in sides(folder, "tang-poems"))
    assert found["variants"] > 0 and found["train"] == len(train) and found["held_out"] == len(held_out)
    assert not set(train) & set(held_out) and not variants(train, held_out, data.RUNS["tang-poems"])


def test_what_is_asked_first_is_a_fair_draw(folder):
    data.prepare(folder, "film-reviews", samples.open("film-reviews")[3000:7000])
    train, held_out = sides(folder, "film-reviews")
    assert len(train) == 400 and len(held_out) == 1000
    assert not {row["text"] for row in train} & {row["text"] for row in held_out}
    assert 30 < sum(row["label"] == "positive" for row in held_out[:100]) < 70


def test_a_help_page_is_on_one_side(folder):
    pairs = samples.open("office-help")[:2000]
    train, held_out = data.pairs(pairs)
    held = {held_out.record(number)["page"] for number in range(len(held_out))}
    assert held and not held & {train.record(number)["page"] for number in range(len(train))}
    known = {train[number]["source"] for number in range(len(train))}
    assert not known & {held_out[number]["source"] for number in range(len(held_out))}
