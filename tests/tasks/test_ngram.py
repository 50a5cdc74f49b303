"""The n-gram baseline: worked by hand, summing to one, and scoring what a slow and plain form of the formula scores."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from regard.tasks.baselines.ngram import SCALARS, NGram, estimate_discounts

UNIFORM = 1 / (SCALARS + 1)


def test_bigram_by_hand():
    """Two documents, "ab" and "b", order 2, every discount 1/2.

    Bigrams: ^a, ab, b$, ^b, b$. Distinct left neighbours: a has ^; b has a and ^; $ has b. Four in all, three symbols.
    """
    model = NGram(["ab", "b"], order=2, discounts=(0.5, 0.5, 0.5))
    zero = {symbol: (count - 0.5) / 4 + 1.5 / 4 * UNIFORM for symbol, count in {"a": 1, "b": 2, "$": 1}.items()}
    after_start = {symbol: (1 - 0.5) / 2 + 1.0 / 2 * zero[symbol] for symbol in "ab"}
    after_a = (1 - 0.5) / 1 + 0.5 / 1 * zero["b"]
    after_b = (2 - 0.5) / 2 + 0.5 / 2 * zero["$"]

    known, end, unseen = model.distribution("")
    assert known == pytest.approx([after_start["a"], after_start["b"]])
    assert end == pytest.approx(1.0 / 2 * zero["$"])
    assert unseen == pytest.approx(1.0 / 2 * 1.5 / 4 * UNIFORM)
    assert model.nats(["ab"])[0] == pytest.approx(-math.log(after_start["a"] * after_a * after_b))
    # After a character never seen nothing is known but the frequencies.
    assert model.distribution("z")[1] == pytest.approx(zero["$"])


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_sums_to_one_over_all_of_unicode(order):
    draw = random.Random(order)
    texts = ["".join(draw.choices("abc月 ", k=draw.randrange(0, 11))) for _ in range(31)]
    model = NGram(texts, order)
    for context in ["", "a", "ab", "abcab", "zzz", "月z", "cab月a c"]:
        known, end, unseen = model.distribution(context)
        assert (known > 0).all() and end > 0 and unseen > 0
        assert known.sum() + end + unseen * (SCALARS - len(known)) == pytest.approx(1.0, abs=1e-12)


def plain(texts, order, discounts):
    """Interpolated Kneser-Ney as the paper writes it, with dictionaries; a beginning is one symbol, never predicted."""
    grams = [Counter() for _ in range(order + 1)]
    for text in texts:
        symbols = ["^", *text, "$"]
        for place in range(1, len(symbols)):
            for n in range(1, order + 1):
                if place - n + 1 >= 0:
                    grams[n][tuple(symbols[place - n + 1 : place + 1])] += 1
    counts = [None, *[defaultdict(int) for _ in range(order)]]
    for n in range(1, order + 1):
        for gram, count in grams[n].items():
            if n == order or gram[0] == "^":
                counts[n][gram] = count
        if n < order:
            for gram in grams[n + 1]:
                counts[n][gram[1:]] += 1

    def probability(context, symbol):
        if context is None:
            return UNIFORM
        n = len(context) + 1
        here = {gram[-1]: count for gram, count in counts[n].items() if gram[:-1] == context}
        shorter = probability(context[1:] if context else None, symbol)
        if not here:
            return shorter
        total = sum(here.values())
        freed = sum(discounts[min(count, 3) - 1] for count in here.values())
        own = here.get(symbol, 0)
        return (own - (discounts[min(own, 3) - 1] if own else 0)) / total + freed / total * shorter

    def nats(text):
        symbols = ["^", *text, "$"]
        places = range(1, len(symbols))
        return -sum(math.log(probability(tuple(symbols[max(0, i - order + 1) : i]), symbols[i])) for i in places)

    return nats


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_the_plain_form(order):
    draw = random.Random(order)
    texts = ["".join(draw.choices("abcd", weights=(5, 3, 2, 1), k=draw.randrange(0, 13))) for _ in range(23)]
    asked = ["", "abca", "dddd", "zab", "a" * 9, *texts[:3]]
    discounts = (0.4, 0.9, 1.3)
    slow = plain(texts, order, discounts)
    assert NGram(texts, order, discounts).nats(asked) == pytest.approx([slow(text) for text in asked])


def test_discounts_by_hand():
    # n1 = 4, n2 = 2, n3 = 1, n4 = 1: Y = 4 / 8.
    counts = np.asarray([1, 1, 1, 1, 2, 2, 3, 4, 9])
    assert estimate_discounts(counts) == pytest.approx((1 - 2 * 0.5 * 2 / 4, 2 - 3 * 0.5 * 1 / 2, 3 - 4 * 0.5 * 1 / 1))
    assert estimate_discounts(np.asarray([5, 5])) == (0.5, 1.0, 1.5)


def test_nothing_to_train_on_is_the_uniform_distribution():
    assert NGram([], 3).nats(["ab"])[0] == pytest.approx(-3 * math.log(UNIFORM))
    assert NGram([""], 3).distribution("")[1] > 0.4
