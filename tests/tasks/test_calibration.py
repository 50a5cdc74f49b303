"""Calibration on generators whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest

from regard.errors import RegardError
from regard.tasks import calibration
from regard.tasks.scores import Outcome


def outcome(confidence, right):
    """Two classes, the first answered with this confidence, true where `right`."""
    chances = np.stack([confidence, 1 - confidence], axis=1)
    return Outcome(rows=np.arange(len(right)), truth=np.where(right, 0, 1), chances=chances)


def generated(count, shift, seed):
    """Answers that are right by `shift` less often than they say."""
    draw = np.random.default_rng(seed)
    confidence = draw.uniform(0.6, 0.99, count)
    return outcome(confidence, draw.random(count) < confidence - shift)


def test_a_perfectly_calibrated_generator_has_an_error_near_zero():
    found = calibration.calibration(generated(5000, 0.0, 12))
    assert found.mass.value < 0.03 and found.width.value < 0.03 and found.mass.low == 0.0
    assert not found.real and found.gap.low < 0 < found.gap.high


def test_an_over_confident_one_has_the_error_that_it_was_given():
    found = calibration.calibration(generated(5000, 0.1, 2))
    for score in (found.mass, found.width):
        assert score.value == pytest.approx(0.1, abs=0.015) and score.low < 0.1 < score.high
    assert found.gap.value == pytest.approx(0.1, abs=0.015) and found.real


def test_an_under_confident_one_has_a_gap_below_zero():
    found = calibration.calibration(generated(2000, -0.05, 3))
    assert found.gap.value < 0
    sure = outcome(np.full(500, 0.6), np.ones(500, dtype=bool))
    found = calibration.calibration(sure)
    assert found.gap.value == pytest.approx(-0.4) and found.mass.value == pytest.approx(0.4) and found.real


def test_brier_by_hand():
    found = calibration.calibration(outcome(np.array([0.8, 0.6]), np.array([True, False])))
    assert found.brier.value == pytest.approx(((0.2**2) * 2 + (0.6**2) * 2) / 2)


def test_error_by_hand():
    # Two bins of two: 0.9 said and 0.5 right, 0.6 said and 1.0 right.
    confidence, right = np.array([0.9, 0.9, 0.6, 0.6]), np.array([1.0, 0.0, 1.0, 1.0])
    score = calibration.expected_error("x", confidence, right, np.array([1, 1, 0, 0]), chance=0.0)
    assert score.value == pytest.approx(0.4)


def test_bins_of_equal_count_and_of_equal_width():
    confidence = np.linspace(0.5, 1.0, 150)
    assert np.bincount(calibration.by_mass(confidence)).tolist() == [10] * 15
    assert calibration.by_width(np.array([0.0, 0.5, 0.999, 1.0])).tolist() == [0, 7, 14, 14]
    assert len(set(calibration.by_mass(np.full(40, 0.7)).tolist())) == 1, "the same confidence stands in one bin"


def mass_error(shift, seed):
    """(the score, what chance explains) of 400 answers in bins of equal count."""
    made = generated(400, shift, seed)
    confidence, right = made.chances[:, 0], (made.truth == 0).astype(float)
    bins = calibration.by_mass(confidence)
    chance = calibration.by_chance(confidence, bins)
    return calibration.expected_error("x", confidence, right, bins, chance), chance


def test_of_calibrated_models_one_in_twenty_is_called_off():
    found = [mass_error(0.0, seed) for seed in range(200)]
    assert 0.015 <= np.mean([score.value > chance for score, chance in found]) <= 0.09


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.12])
def test_interval_holds_the_true_error(shift):
    found = [mass_error(shift, 1000 + seed)[0] for seed in range(150)]
    assert np.mean([score.low <= shift <= score.high for score in found]) >= 0.82


def test_curve_holds_every_answer_once():
    found = calibration.calibration(generated(500, 0.1, 4))
    for bins in (found.curve, found.bars):
        assert sum(one.count for one in bins) == 500
        assert all(one.low <= one.confidence <= one.high for one in bins)
        assert all(one.accuracy_low <= one.accuracy <= one.accuracy_high for one in bins)


def test_wilson_by_hand():
    low, high = calibration.wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert calibration.wilson(0, 0) == (0.0, 1.0)


def test_what_gives_no_probabilities_is_refused():
    with pytest.raises(RegardError, match=r"classifier|分类"):
        calibration.calibration(Outcome(rows=np.arange(3)))
