"""Comparisons, seeds, slices: statistics on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from regard.errors import RegardError
from regard.tasks import compare, slices
from regard.tasks.scores import Outcome, Result, Sums, bootstrap, translation_scores

MEAN = lambda total: total[:, 0] / total[:, 1]  # noqa: E731


def mean_of(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def result(values, rows=None, name="accuracy"):
    rows = np.arange(len(values)) if rows is None else np.asarray(rows)
    score = bootstrap(name, mean_of(np.asarray(values, dtype=float)), MEAN)
    return Result(name="model", scores=(score,), examples=len(values), outcome=Outcome(rows=rows))


def covered(share, low=0.92, high=0.98):
    assert low <= share <= high, share


def test_bootstrap_interval_holds_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(5)
    hits = 0
    for turn in range(400):
        sizes = draw.integers(1, 20, 80)
        nats = sizes * 2.0 + draw.normal(0, 3, 80)  # a ratio of sums, as bits per character are
        score = bootstrap("x", np.stack([nats, sizes], axis=1), MEAN, seed=turn)
        hits += score.low <= 2.0 <= score.high
    covered(hits / 400)


def test_paired_interval_holds_the_difference_and_is_narrow_where_both_fail_alike():
    draw = np.random.default_rng(6)
    hits, narrower = 0, 0
    for turn in range(300):
        hard = draw.normal(0, 1, 60)  # what makes an example hard for both
        one, other = hard + draw.normal(0, 0.2, 60), hard + 0.1 + draw.normal(0, 0.2, 60)
        a, b = Sums(mean_of(one), MEAN), Sums(mean_of(other), MEAN)
        low, high = compare.paired_interval(a, b, seed=turn)
        hits += low <= 0.1 <= high
        alone = bootstrap("x", mean_of(one), MEAN)
        narrower += high - low < 0.5 * (alone.high - alone.low)
    covered(hits / 300, 0.9)
    assert narrower == 300


def test_p_is_uniform_where_there_is_no_difference():
    draw = np.random.default_rng(7)
    found = []
    for turn in range(400):
        hard = draw.normal(0, 1, 40)
        one, other = hard + draw.normal(0, 1, 40), hard + draw.normal(0, 1, 40)
        found.append(compare.permutation_p(Sums(mean_of(one), MEAN), Sums(mean_of(other), MEAN), seed=turn))
    ranks = np.sort(found)
    apart = np.abs(ranks - (np.arange(400) + 0.5) / 400).max()
    assert apart < 1.63 / np.sqrt(400), "Kolmogorov and Smirnov, level 0.01"


def test_p_by_hand():
    # Three examples won by the same: of the eight ways to deal them out two are as far apart.
    a, b = Sums(mean_of(np.zeros(3)), MEAN), Sums(mean_of(np.ones(3)), MEAN)
    assert compare.permutation_p(a, b) == pytest.approx(0.25, abs=0.03)
    assert compare.permutation_p(a, a) == 1.0


def test_p_is_never_zero():
    a, b = Sums(mean_of(np.zeros(99)), MEAN), Sums(mean_of(np.ones(99)), MEAN)
    assert compare.permutation_p(a, b) == 1 / (1 + compare.SHUFFLES)


def test_a_real_difference_and_noise_are_told_apart():
    draw = np.random.default_rng(8)
    one = draw.random(400) < 0.7
    (found,) = compare.compare(result(one), result(one | (draw.random(400) < 0.3)))
    assert found.real and found.gain == found.value > 0
    (found,) = compare.compare(result(one), result(draw.permutation(one)))
    assert not found.real and found.value == pytest.approx(0)


def test_lower_is_better_for_bits():
    draw = np.random.default_rng(9)
    one = draw.normal(3, 0.1, 50)
    (found,) = compare.compare(result(one, name="bits_per_character"), result(one - 0.5, name="bits_per_character"))
    assert found.real and found.value == pytest.approx(-0.5) and found.gain == pytest.approx(0.5)


def test_only_the_examples_that_both_scored_count():
    one, other = result([1, 1, 0, 1], rows=[0, 2, 4, 6]), result([0, 1, 1], rows=[6, 0, 2])
    (found,) = compare.compare(one, other)
    assert found.examples == 3 and found.one == 1.0 and found.other == pytest.approx(2 / 3)
    with pytest.raises(RegardError, match=r"in common|共有"):
        compare.compare(result([1, 1], rows=[0, 1]), result([1, 1], rows=[2, 3]))


def test_scores_of_a_whole_corpus_are_resampled_as_a_whole():
    true = ["the cat sat on the mat", "a dog ran off", "it rains again", "hello there my friend"] * 5
    worse = [text[::-1] for text in true[:10]] + true[10:]
    one = Result(name="x", scores=translation_scores(worse, true), examples=20)
    other = Result(name="y", scores=translation_scores(true, true), examples=20)
    found = {each.name: each for each in compare.compare(one, other)}
    assert found["chrf"].other == pytest.approx(100) and found["chrf"].real and found["chrf"].low > 0


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423)]
)
def test_student_against_the_tables(freedom, t):
    assert compare.student(freedom) == pytest.approx(t, abs=1e-4)


def test_seeds_by_hand_and_by_coverage():
    found = compare.spread("accuracy", [0.7, 0.8, 0.9])
    assert found.mean == pytest.approx(0.8) and found.deviation == pytest.approx(0.1)
    assert found.high - found.mean == pytest.approx(4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert compare.spread("accuracy", [0.7]).low is None
    draw = np.random.default_rng(3)
    spreads = [compare.spread("x", draw.normal(5, 2, 4).tolist()) for _ in range(600)]
    covered(np.mean([one.low <= 5 <= one.high for one in spreads]), 0.93, 0.97)


def rows_of(count, **columns):
    return [{key: values[i] for key, values in columns.items()} | {"where": f"f.csv:{i}"} for i in range(count)]


def test_the_weak_slice_comes_first_and_small_ones_last():
    draw = np.random.default_rng(4)
    labels = ["good"] * 120 + ["bad"] * 120 + ["rare"] * 5
    right = np.concatenate([draw.random(120) < 0.9, draw.random(120) < 0.5, np.zeros(5)])
    rows = rows_of(245, label=labels, text=["x" * (1 + i % 40) for i in range(245)])
    found = slices.slices(result(right), rows)
    first, last = found[0], found[-1]
    assert (first.kind, first.value, first.verdict, first.examples) == ("label", "bad", "worse", 120)
    assert (last.value, last.verdict, last.p) == ("rare", "small", None)
    assert next(one for one in found if one.value == "good").verdict == "better"
    assert {one.kind for one in found} == {"label", "length"}, "one file and one language divide nothing"
    values = [one.score.value for one in found if one.verdict != "small"]
    assert values == sorted(values)


def test_slices_of_a_lower_is_better_score_are_worst_first():
    draw = np.random.default_rng(4)
    bits = np.concatenate([draw.normal(3, 0.1, 50), draw.normal(4, 0.1, 50)])
    rows = rows_of(100, label=["easy"] * 50 + ["hard"] * 50)
    found = slices.slices(result(bits, name="bits_per_character"), [{**row, "text": "ab"} for row in rows])
    assert [(one.value, one.verdict) for one in found] == [("hard", "worse"), ("easy", "better")]


def test_by_chance_no_slice_is_called_worse_much_more_often_than_one_time_in_twenty():
    draw = np.random.default_rng(2)
    called = 0
    for turn in range(60):
        rows = rows_of(200, label=[f"l{n}" for n in draw.integers(0, 5, 200)], text=["ab"] * 200)
        found = slices.slices(result(draw.random(200) < 0.7), rows, seed=turn)
        called += any(one.verdict in ("worse", "better") for one in found)
    assert called / 60 <= 0.15


def test_holm_by_hand():
    assert slices.holm({0: 0.04, 1: 0.01, 2: 0.03}) == {1: True, 2: False, 0: False}
    assert slices.holm({0: 0.04, 1: 0.01, 2: 0.02}) == {1: True, 2: True, 0: True}


def test_lengths_are_bins_of_like_count():
    names = slices.lengths([1, 2, 3, 4, 5, 6, 7, 8])
    assert names[0] == names[1] == "1–2" and names[-1] == "7–8" and len(set(names)) == 4
    assert slices.lengths([3, 3, 3]) == ["3–3"] * 3
