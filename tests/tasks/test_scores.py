"""Scores against hand-worked values and against the packages that define them."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from regard.errors import RegardError
from regard.tasks import scores
from regard.tasks.scores import Result, Score, longest_copied


def by_name(found):
    return {score.name: score for score in found}


def test_bits_per_character_by_hand():
    # 4 nats over two characters and three tokens, 2 nats over one character and two tokens.
    found = by_name(scores.language_scores([4.0, 2.0], [2, 1], [3, 2]))
    assert found["bits_per_character"].value == pytest.approx(6 / 3 / math.log(2))
    assert found["nats_per_token"].value == pytest.approx(6 / 5)
    assert found["perplexity"].value == pytest.approx(math.exp(6 / 5))


def test_accuracy_and_macro_f1_by_hand():
    truth, answers = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1]
    found = by_name(scores.class_scores(truth, answers, 4))
    assert found["accuracy"].value == pytest.approx(3 / 6)
    # Class 0: 2 right of 3 true and 3 said; class 1: 1 right of 2 and 3; class 2: none; class 3 does not occur.
    assert found["macro_f1"].value == pytest.approx((2 * 2 / 6 + 2 * 1 / 5 + 0) / 3)


def test_confusion_rows_are_the_truth():
    assert scores.confusion([0, 0, 1], [0, 1, 1], 2).tolist() == [[1, 1], [0, 1]]


def test_interval_of_a_share_is_the_binomial_one():
    truth = [0] * 400
    answers = [0] * 300 + [1] * 100
    score = by_name(scores.class_scores(truth, answers, 2))["accuracy"]
    width = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert score.low == pytest.approx(0.75 - width, abs=0.01)
    assert score.high == pytest.approx(0.75 + width, abs=0.01)


def test_interval_is_the_same_each_time_and_absent_for_one_example():
    sums = np.asarray([[1.0, 2.0], [3.0, 5.0], [0.0, 7.0]])
    ratio = lambda total: total[:, 0] / total[:, 1]  # noqa: E731
    assert scores.bootstrap("x", sums, ratio) == scores.bootstrap("x", sums, ratio)
    assert scores.bootstrap("x", sums[:1], ratio) == Score(name="x", value=0.5)


ANSWERS = ["the cat sat on the mat", "hello there world", "a b"]
TRUE = ["the cat sat on a mat", "hello world", "a b"]


def test_translation_scores_are_sacrebleus():
    from sacrebleu.metrics import BLEU, CHRF

    found = by_name(scores.translation_scores(ANSWERS, TRUE))
    assert found["chrf"].value == pytest.approx(CHRF().corpus_score(ANSWERS, [TRUE]).score)
    assert found["bleu"].value == pytest.approx(BLEU().corpus_score(ANSWERS, [TRUE]).score)
    assert found["exact_match"].value == pytest.approx(1 / 3)
    assert found["chrf"].low <= found["chrf"].value <= found["chrf"].high


def test_bleu_splits_chinese_into_characters():
    from sacrebleu.metrics import BLEU

    answers, true = ["今天天气很好。", "请打开文件"], ["今天天气不错。", "请打开文件"]
    found = by_name(scores.translation_scores(answers, true))
    assert found["bleu"].value == pytest.approx(BLEU(tokenize="zh").corpus_score(answers, [true]).score)


def test_nothing_to_score_is_said():
    for call in (
        lambda: scores.class_scores([], [], 2),
        lambda: scores.language_scores([0.0], [0], [0]),
        lambda: scores.translation_scores([], []),
    ):
        with pytest.raises(RegardError, match=r"nothing to score|没有可评分"):
            call()


def test_better_follows_the_direction_of_the_score():
    def result(name, value):
        return Result(name="x", scores=(Score(name=name, value=value),), examples=1)

    assert result("bits_per_character", 3.0).better_than(result("bits_per_character", 4.0))
    assert result("accuracy", 0.9).better_than(result("accuracy", 0.8))
    assert not result("accuracy", 0.8).better_than(result("accuracy", 0.8))
    with pytest.raises(ValueError, match=r"cannot be compared"):
        result("accuracy", 1.0).better_than(result("chrf", 1.0))


def brute_force(text, corpus):
    best = ""
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            if end - start > len(best) and any(text[start:end] in document for document in corpus):
                best = text[start:end]
    return best


def test_longest_copied_against_brute_force():
    draw = random.Random(5)
    for _ in range(60):
        corpus = ["".join(draw.choices("ab月", k=draw.randrange(0, 23))) for _ in range(7)]
        text = "".join(draw.choices("ab月c", k=17))
        found = longest_copied(text, corpus)
        assert found.run == brute_force(text, corpus)
        assert found.run == text[found.start : found.start + found.length]


def test_longest_copied_does_not_cross_documents():
    assert longest_copied("abcd", ["xab", "cdx"]).length == 2
    assert longest_copied("b\x00c", ["ab", "cd"]).length == 1
    assert longest_copied("", ["abc"]).length == 0
    assert longest_copied("abc", []).length == 0


def test_longest_copied_over_several_blocks(monkeypatch):
    monkeypatch.setattr(scores, "_BLOCK", 3)
    assert longest_copied("hello world", ["hel", "lo w", "orld", " worl"]).run == " worl"
