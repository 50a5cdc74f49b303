"""Classifiers, memories and gap fillers that stand beside the models."""

from __future__ import annotations

import numpy as np
import pytest

from regard.tasks.baselines.bag_of_words import LogisticRegression, NaiveBayes, features
from regard.tasks.baselines.gaps import Bigram, Unigram
from regard.tasks.baselines.majority import commonest
from regard.tasks.baselines.neighbour import Memory


def test_features_of_words_and_of_chinese():
    assert features("A bad, BAD film's end") == ["a", "bad", "bad", "film", "s", "end"]
    assert features("明月光, ok") == ["明", "月", "光", "明月", "月光", "ok"]
    assert features("") == []


def test_naive_bayes_by_hand():
    # Class 0: a a b; class 1: b c. Vocabulary of three.
    model = NaiveBayes(["a a", "b", "b c"], [0, 0, 1], 2)
    # "b": class 0 has 2/3 * (1 + 1)/(3 + 3), class 1 has 1/3 * (1 + 1)/(2 + 3).
    # "b c": 2/3 * 2/6 * 1/6 against 1/3 * 2/5 * 2/5.
    assert model.answer(["b", "b c", "unknown words"]).tolist() == [0, 1, 0]
    # With "b b b b" in class 0 too: 3/4 * 6/10 * 6/10 * 1/10 against 1/4 * 2/5 * 2/5 * 2/5, though c is new to class 0.
    assert NaiveBayes(["a a", "b", "b c", "b b b b"], [0, 0, 1, 0], 2).answer(["b b c"]).tolist() == [0]


def test_logistic_regression_is_at_its_optimum():
    """At the optimum of a convex objective its gradient is zero; here with numbers of this test's own making."""
    texts, classes = ["good good film", "good", "bad film", "bad bad"], [0, 0, 1, 1]
    model = LogisticRegression(texts, classes, 2, strength=2.0)
    assert model.answer(["good good", "bad film"]).tolist() == [0, 1]
    names = {"good": 0, "film": 1, "bad": 2}
    rows = np.zeros((4, 3))
    for row, text in enumerate(texts):
        for word in set(text.split()):
            times = text.split().count(word)
            seen = sum(word in other.split() for other in texts)
            rows[row, names[word]] = (1 + np.log(times)) * (1 + np.log(5 / (1 + seen)))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weight, bias = model._weight.detach().numpy(), model._bias.detach().numpy()
    logits = rows @ weight + bias
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = shares - np.eye(2)[classes]
    assert 2.0 * rows.T @ wrong + weight == pytest.approx(np.zeros((3, 2)), abs=1e-3)
    assert wrong.sum(0) == pytest.approx(np.zeros(2), abs=1e-3)


def test_classifiers_take_texts_without_any_known_word():
    for kind in (NaiveBayes, LogisticRegression):
        assert kind(["", "…"], [1, 1], 2).answer(["x", ""]).tolist() == [1, 1]


def test_majority_is_the_commonest():
    assert commonest(["b", "a", "a", "b", "c", "a"]) == "a"


def test_memory_answers_with_the_nearest_source():
    memory = Memory(["open file", "close file", "print"], ["打开文件", "关闭文件", "打印"])
    assert memory.answer("close the file") == "关闭文件"
    assert memory.answer("print it") == "打印"
    # Nothing in common with anything: the first.
    assert memory.answer("月") == "打开文件"


def test_memory_counts_each_gram_as_often_as_it_occurs():
    # Dice on multisets: "aaaa" has 4 + 3 + 2 grams in common with itself, only 1 with "a".
    assert Memory(["a", "aaaa"], ["one", "four"]).answer("aaaa") == "four"


def test_gap_fillers_by_hand():
    texts = [np.asarray(text) for text in ([3, 4, 7], [3, 4, 7], [3, 4, 7], [3, 6, 5], [8, 8, 8, 8, 8])]
    hidden = np.asarray([3, 0, 5, 0])
    assert Unigram(texts, 9).fill(hidden, np.asarray([1, 3])).tolist() == [8, 8]
    bigram = Bigram(texts, 9)
    # After 3 stands 4 three times of four, but of the two only 6 is ever followed by 5.
    assert bigram.fill(hidden, np.asarray([1])).tolist() == [6]
    assert bigram.fill(np.asarray([3, 0]), np.asarray([1])).tolist() == [4]
    assert bigram.fill(np.asarray([0, 7]), np.asarray([0])).tolist() == [4]
    # Where a neighbour is hidden or new, it says nothing.
    assert bigram.fill(np.asarray([0, 1, 2]), np.asarray([1])).tolist() == [8]
    assert Bigram([], 9).fill(np.asarray([0]), np.asarray([0])).tolist() == [0]
