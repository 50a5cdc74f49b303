from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data.augment import Augment
from regard.errors import ConfigError

shares = st.floats(0, 1)
augments = st.builds(Augment, drop=shares, swap=shares, mask=shares)
ENGLISH = "The quick brown fox\njumps over the lazy dog."
CHINESE = "明月松间照，清泉石上流。"


@given(augments, st.text(max_size=60), st.integers(0, 2**63), st.integers(0, 999), st.integers(0, 2**40))
def test_a_text_is_changed_by_a_pure_function_and_never_emptied(augment, text, seed, epoch, index):
    changed = augment.text(text, index=index, epoch=epoch, seed=seed)
    assert changed == augment.text(text, index=index, epoch=epoch, seed=seed)
    assert bool(changed.strip()) == bool(text.strip())


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
@pytest.mark.parametrize("kind", ["drop", "swap", "mask"])
def test_each_epoch_and_each_example_sees_another_version(text, kind):
    augment = Augment(**{kind: 0.5})
    assert len({augment.text(text, index=0, epoch=epoch, seed=0) for epoch in range(20)}) > 10
    assert len({augment.text(text, index=index, epoch=0, seed=0) for index in range(20)}) > 10
    assert len({augment.text(text, index=0, epoch=0, seed=seed) for seed in range(20)}) > 10


def test_nothing_asked_changes_nothing():
    assert Augment().text("  two  blanks ", index=0, epoch=0, seed=0) == "  two  blanks "


def test_drop_takes_its_share_and_leaves_one():
    text = " ".join(str(number) for number in range(1000))
    left = Augment(drop=0.3).text(text, index=0, epoch=0, seed=0).split()
    assert 640 < len(left) < 760 and left == sorted(left, key=int)
    assert len(Augment(drop=1.0).text(text, index=5, epoch=0, seed=0).split()) == 1


def test_swap_keeps_the_words_and_the_gaps():
    text = "a b  c\nd e"
    found = {Augment(swap=0.5).text(text, index=index, epoch=0, seed=0) for index in range(50)}
    assert all(sorted(each.split()) == ["a", "b", "c", "d", "e"] for each in found)
    assert all([letter for letter in each if letter.isspace()] == [" ", " ", " ", "\n", " "] for each in found)


def test_mask_hides_words_in_their_place():
    text = " ".join(str(number) for number in range(1000))
    left = Augment(mask=0.2, hidden="<mask>").text(text, index=0, epoch=0, seed=0).split()
    assert len(left) == 1000 and 150 < left.count("<mask>") < 250
    assert all(word in ("<mask>", str(number)) for number, word in enumerate(left))
    assert Augment(mask=1.0).text(CHINESE, index=0, epoch=0, seed=0).count("[MASK]") == 11


def test_only_what_is_asked_about_changes_in_a_row():
    row = {"source": ENGLISH, "target": CHINESE, "label": "x", "where": "a:1"}
    changed = Augment(drop=0.5)(row, index=1, epoch=2, seed=3)
    assert changed["source"] != ENGLISH
    assert {**changed, "source": ENGLISH} == row


def test_shares_beyond_one_are_refused():
    with pytest.raises(ConfigError, match="drop"):
        Augment(drop=1.5)
    with pytest.raises(ConfigError, match="hidden"):
        Augment(hidden=" ")
