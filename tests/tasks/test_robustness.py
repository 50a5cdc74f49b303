"""Disturbed texts: what may change, what may not, and what it costs a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import RegardError
from regard.tasks import robustness
from regard.tasks.disturb import DISTURBANCES
from regard.tasks.scores import Outcome, Result, is_han
from regard.tasks.scores import class_scores as scores_of

ENGLISH = "A truly good film, and I would watch it again with the whole family tomorrow evening."
CHINESE = "这部电影真的很好看，我明天晚上还想和全家人一起再看一遍。"


def disturbed(text, kind, strength=0.2, seed=0, index=0):
    return robustness.disturb([{"text": ""}] * index + [{"text": text}], "text", kind, strength, seed)[index]["text"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("typos", ENGLISH),
        ("case", ENGLISH),
        ("spacing", ENGLISH),
        ("spacing", CHINESE),
        ("lookalikes", ENGLISH),
        ("lookalikes", CHINESE),
        ("homophones", CHINESE),
        ("order", ENGLISH),
        ("order", CHINESE),
    ],
)
def test_a_disturbance_is_a_pure_function_of_seed_and_index(kind, text):
    assert disturbed(text, kind, index=3) == disturbed(text, kind, index=3) != text
    others = {disturbed(text, kind, index=index) for index in range(8)}
    assert len(others) > 1 and {disturbed(text, kind, seed=seed) for seed in range(8)} != {disturbed(text, kind)}
    alone = robustness.disturb([{"text": text}], "text", kind, 0.2, 0)[0]["text"]
    assert alone == disturbed(text, kind, index=0), "the rows around it do not matter"


def test_what_each_kind_leaves_alone():
    assert sorted(disturbed(ENGLISH, "order").split()) == sorted(ENGLISH.split()) != ENGLISH.split()
    assert sorted(disturbed(CHINESE, "order")) == sorted(CHINESE)
    assert disturbed(ENGLISH, "case").lower() == ENGLISH.lower()
    assert disturbed(ENGLISH, "spacing").replace(" ", "") == ENGLISH.replace(" ", "")
    assert disturbed(CHINESE, "spacing").replace(" ", "") == CHINESE
    for kind in ("lookalikes", "homophones"):
        assert len(disturbed(CHINESE, kind)) == len(CHINESE)
    assert disturbed(CHINESE, "typos") == CHINESE == disturbed(CHINESE, "case")
    assert disturbed(ENGLISH, "homophones") == ENGLISH
    for one, before in zip(disturbed(ENGLISH, "typos", 1.0).split(), ENGLISH.split(), strict=True):
        assert one[0] == before[0], "the first letter carries the word"


def test_homophones_sound_alike():
    import pypinyin

    after = disturbed(CHINESE, "homophones", 1.0)
    said = [set(one) for one in pypinyin.pinyin(list(CHINESE), pypinyin.NORMAL, heteronym=True)]
    heard = [set(one) for one in pypinyin.pinyin(list(after), pypinyin.NORMAL, heteronym=True)]
    changed = [at for at, (a, b) in enumerate(zip(CHINESE, after, strict=True)) if a != b]
    assert len(changed) > 20 and all(said[at] & heard[at] and is_han(after[at]) for at in changed)


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_strength_is_the_share_that_changes(kind):
    text = (CHINESE if kind == "homophones" else ENGLISH) * 30
    if kind in ("typos", "lookalikes", "homophones", "case"):
        low, high = (sum(a != b for a, b in zip(text, disturbed(text, kind, s), strict=False)) for s in (0.02, 0.9))
        assert 0 < low < high
    shares = []
    for strength in (0.1, 0.4):
        draws = iter(np.random.default_rng(0).random(200_000).tolist())
        from regard.tasks.disturb import _chosen

        shares.append(len(_chosen(20_000, strength, draws)) / 20_000)
    assert shares == pytest.approx([0.1, 0.4], abs=0.01)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.floats(0.01, 1.0), st.integers(0, 5))
def test_any_text_can_be_disturbed(text, strength, seed):
    for kind in DISTURBANCES:
        after = disturbed(text, kind, strength, seed)
        assert isinstance(after, str) and (bool(after.strip()) or not text.strip())


class Letters:
    """Says "good" where the text has the word good in it, untouched."""

    name = "classification"

    def evaluate(self, model, rows, *, progress=None):
        truth = np.asarray([int(row["label"] == "good") for row in rows])
        said = np.asarray([int("good" in row["text"].split()) for row in rows])
        return Result(
            name="model",
            scores=scores_of(truth, said, 2),
            examples=len(rows),
            outcome=Outcome(rows=np.arange(len(rows))),
        )


def test_a_drop_is_measured_row_against_row():
    rows = [{"text": "good", "label": "good"}, {"text": "evil", "label": "bad"}] * 40
    task = Letters()
    found = robustness.robustness(task, None, rows, task.evaluate(None, rows))
    kinds = {one.kind: one for one in found.disturbed}
    assert found.clean.value == 1.0 and set(found.idle) == {"spacing", "homophones", "order"}
    for kind in ("typos", "case", "lookalikes"):
        assert kinds[kind].changed == 80 and kinds[kind].score.value == 0.5
        assert kinds[kind].drop.value == -0.5 and kinds[kind].drop.real
    assert found.to_dict()["strength"] == robustness.STRENGTH


def test_a_text_that_is_its_own_answer_has_no_robustness():
    task = Letters()
    task.name = "causal-lm"
    with pytest.raises(RegardError, match="causal-lm"):
        robustness.robustness(task, None, [], None)
