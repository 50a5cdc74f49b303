"""Near-duplicates: what is found is near by the definition, and what was planted is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data import shingles
from regard.data.near import candidates, leaks, near
from regard.data.shingles import BANDS, ROWS, alike, reduced, sketches


def by_hand(text: str, width: int) -> set[str]:
    return {text[at : at + width] for at in range(len(text) - width + 1)}


def test_shingles_are_five_characters_and_three_in_chinese():
    assert reduced("Hello,  World!") == ("hello world", 5)
    assert reduced("明月几时有？ 把酒问青天。") == ("明月几时有把酒问青天", 3)
    assert reduced("ＡＢＣ") == ("abc", 5) and reduced("?!") == ("?!", 5)
    assert len(shingles.shingles("hello world")) == len(by_hand("hello world", 5)) == 7
    assert len(shingles.shingles("明月几时有，明月几时有")) == len(by_hand("明月几时有明月几时有", 3)) == 5
    assert len(shingles.shingles("")) == len(shingles.shingles("a")) == 1


@given(st.lists(st.text(alphabet="abc 明月几\0\ud800", max_size=20), min_size=2, max_size=8))
def test_a_text_has_the_same_sketch_alone_and_among_others(texts):
    together = sketches(texts)
    for text, found in zip(texts, together, strict=True):
        np.testing.assert_array_equal(sketches([text])[0], found)


@given(st.text(alphabet="ab明", max_size=12), st.text(alphabet="ab明", max_size=12))
def test_likeness_is_the_jaccard_index_of_the_runs(one, other):
    (first, width), (second, other_width) = reduced(one), reduced(other)
    if width != other_width:
        return
    sets = [by_hand(text.ljust(width, "\0"), width) for text in (first, second)]
    wanted = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert alike(shingles.shingles(one), shingles.shingles(other)) == pytest.approx(wanted)


LETTERS = "etaoinshrdlucm"
CHARACTERS = [chr(code) for code in range(0x4E00, 0x4E00 + 1500)]


def planted(rng: np.random.Generator, chinese: bool, count: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Random texts, each followed somewhere by a copy in which a few places are changed; (texts, the pairs)."""
    words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(4000)]
    pool, size, glue = (CHARACTERS, (20, 120), "") if chinese else (words, (8, 40), " ")
    bases = [list(rng.choice(pool, rng.integers(*size))) for _ in range(count)]
    texts = [glue.join(base) for base in bases]
    pairs = []
    for number, base in enumerate(bases):
        changed = list(base)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(len(changed))] = rng.choice(pool)
        pairs.append((number, count + number))
        texts.append(glue.join(changed))
    return texts, pairs


@pytest.mark.parametrize("chinese", [False, True])
def test_planted_near_duplicates_are_found_and_nothing_else(chinese, record_property):
    texts, pairs = planted(np.random.default_rng(7), chinese, 1500)
    likeness = {late: alike(shingles.shingles(texts[early]), shingles.shingles(texts[late])) for early, late in pairs}
    wanted = {late for late, share in likeness.items() if share >= 0.8}
    found = near(sketches(texts), texts.__getitem__, likeness=0.8)
    got = set(found.number.tolist())
    recall, precision = len(got & wanted) / len(wanted), len(got & wanted) / len(got)
    record_property("recall", recall)
    record_property("precision", precision)
    assert len(wanted) > 400 and len(likeness) - len(wanted) > 100  # the line runs through what was planted
    assert precision == 1.0 and recall >= 0.99
    assert (found.likeness >= 0.8).all() and not set(found.of.tolist()) & got


def test_how_often_a_pair_becomes_a_candidate_is_as_the_formula_says():
    rng = np.random.default_rng(3)
    texts: list[str] = []
    for _ in range(1500):
        base = rng.choice(CHARACTERS, 62)
        changed = base.copy()
        for at in range(4, 62, 12):  # five places, three shingles each: 45 of 60 stay, of 75 in all
            changed[at] = chr(ord(changed[at]) + 3000)
        texts += ["".join(base), "".join(changed)]
    shares = [alike(shingles.shingles(texts[at]), shingles.shingles(texts[at + 1])) for at in range(0, len(texts), 2)]
    pairs = {tuple(pair) for pair in candidates(sketches(texts)).tolist()}
    seen = sum((at + 1, at) in pairs for at in range(0, len(texts), 2)) / len(shares)
    wanted = float(np.mean([1 - (1 - share**ROWS) ** BANDS for share in shares]))
    assert 0.55 < np.mean(shares) < 0.65 and seen == pytest.approx(wanted, abs=0.05)


def test_each_row_dropped_is_near_a_row_that_stays():
    chain = ["the quick brown fox jumps over the lazy dog and runs away from here to there and back again at night"]
    for number in range(30):  # each differs a little from the one before, and the last has nothing of the first
        words = chain[-1].split()
        words[(number * 7) % len(words)] = f"other{number}"
        chain.append(" ".join(words))
    found = near(sketches(chain), chain.__getitem__, likeness=0.8)
    assert 5 < len(found) < 30
    for number, of, share in zip(found.number.tolist(), found.of.tolist(), found.likeness.tolist(), strict=True):
        assert of < number and of not in found.number
        assert alike(shingles.shingles(chain[number]), shingles.shingles(chain[of])) == share >= 0.8


def test_a_thousand_rows_of_one_template_are_found():
    texts = [
        f"Your parcel {number} has left our store house and will be with you on the next working day."
        for number in range(1000)
    ]
    found = near(sketches(texts), texts.__getitem__, likeness=0.7)
    assert len(found) > 900 and len(candidates(sketches(texts))) < 1000 * BANDS * 3


def test_leaks_are_those_of_the_held_out_side_alone():
    held_out = [
        "明月几时有把酒问青天不知天上宫阙今夕是何年",
        "something else that stands nowhere in the other data at all",
    ]
    texts = [
        "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少",
        "明月几时有，把酒问青天。不知天上宫阙，今夕是何年！",
        "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少。",
    ]
    found = leaks(sketches(texts), sketches(held_out), texts.__getitem__, held_out.__getitem__, likeness=0.8)
    assert (found.number.tolist(), found.of.tolist(), found.likeness.tolist()) == ([1], [0], [1.0])
    nothing = np.zeros((0, BANDS), dtype=np.uint32)
    assert not len(leaks(nothing, sketches(held_out), texts.__getitem__, held_out.__getitem__))
    assert not len(near(nothing, texts.__getitem__))
