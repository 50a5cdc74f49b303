"""Whether a classifier is right as often as it says: reliability curve, expected calibration error, Brier score.

The confidence of an answer is the probability of the likeliest class (Guo et al. 2017, "On Calibration of Modern Neural
Networks"). An expected calibration error is above zero even for a perfect model, by chance alone; so what a perfectly
calibrated model of the same confidences would show on as many examples stands beside it (consistency resampling,
Bröcker and Smith 2007).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from regard.errors import RegardError
from regard.tasks.scores import ROUNDS, Outcome, Score, Sums, batches, bootstrap, middle, resampled

BINS = 15  # of Guo et al.


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Answers of like confidence, from `low` to `high`: `confidence` is their mean, `accuracy` the share that was right
    with Wilson's 95 % interval."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """`width` and `mass`: the expected calibration error over bins of equal width and of equal count, each with its
    interval and with what a perfectly calibrated model stays below in 95 % of samples (`width_chance`, `mass_chance`).

    `gap` is mean confidence minus accuracy: above zero over-confident. `brier` is the sum over classes of the squared
    error of the probabilities, from 0 to 2. `curve` are the bins of equal count, those of equal width are `bars`.
    """

    examples: int
    width: Score
    width_chance: float
    mass: Score
    mass_chance: float
    gap: Score
    brier: Score
    curve: tuple[Bin, ...]
    bars: tuple[Bin, ...]

    @property
    def real(self) -> bool:
        """Whether the model is off by more than chance explains."""
        return self.mass.value > self.mass_chance

    def to_dict(self) -> dict[str, Any]:
        scores = {"ece_width": self.width, "ece_mass": self.mass, "gap": self.gap, "brier": self.brier}
        return {
            "examples": self.examples,
            **{name: {"value": one.value, "low": one.low, "high": one.high} for name, one in scores.items()},
            "ece_width_by_chance": self.width_chance,
            "ece_mass_by_chance": self.mass_chance,
            "more_than_chance": self.real,
            "curve": [asdict(one) for one in self.curve],
            "bars": [asdict(one) for one in self.bars],
        }


def calibration(outcome: Outcome | None, seed: int = 0) -> Calibration:
    """From the probabilities of a classification; an error for any other task."""
    if outcome is None or outcome.chances is None or outcome.truth is None:
        raise RegardError("tasks.no_chances")
    chances, truth = outcome.chances, outcome.truth
    confidence = chances.max(1)
    right = (chances.argmax(1) == truth).astype(np.float64)
    one = np.ones(len(right))
    errors = ((chances - np.eye(chances.shape[1])[truth]) ** 2).sum(1)
    width, mass = by_width(confidence), by_mass(confidence)
    width_chance, mass_chance = by_chance(confidence, width, seed), by_chance(confidence, mass, seed)
    return Calibration(
        examples=len(right),
        width=expected_error("ece_width", confidence, right, width, width_chance, seed),
        width_chance=width_chance,
        mass=expected_error("ece_mass", confidence, right, mass, mass_chance, seed),
        mass_chance=mass_chance,
        gap=bootstrap("gap", np.stack([confidence - right, one], 1), lambda total: total[:, 0] / total[:, 1], seed),
        brier=bootstrap("brier", np.stack([errors, one], 1), lambda total: total[:, 0] / total[:, 1], seed),
        curve=_bins(confidence, right, mass),
        bars=_bins(confidence, right, width),
    )


def by_width(confidence: np.ndarray) -> np.ndarray:
    """(N,) the bin of each answer, BINS of equal width over 0 to 1."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def by_mass(confidence: np.ndarray) -> np.ndarray:
    """(N,) the bin of each answer, of equal count; answers of the very same confidence share one."""
    count = min(BINS, len(confidence))
    _, first = np.unique(np.sort(confidence), return_index=True)
    ranks = first[np.searchsorted(np.unique(confidence), confidence)]
    return ranks * count // max(1, len(confidence))


def expected_error(
    name: str, confidence: np.ndarray, right: np.ndarray, bins: np.ndarray, chance: float, seed: int = 0
) -> Score:
    """The mean over answers of how far their bin's confidence is from its accuracy.

    Resampling adds to an error that cannot be negative, so the interval is the basic one (twice the value minus the
    ends of the resampled), and it begins at 0 where the value is not above `chance`. What remains of the bias makes it
    hold the true error rather nine times out of ten than nineteen out of twenty.
    """
    sums = Sums(np.concatenate([_in_bins(bins) * (right - confidence)[:, None], np.ones((len(bins), 1))], 1), _error)
    value = sums.total()
    if len(bins) < 2:
        return Score(name=name, value=value, sums=sums)
    low, high = middle(resampled(sums, seed))
    low, high = (max(0.0, 2 * value - high) if value > chance else 0.0), max(value, 2 * value - low)
    return Score(name=name, value=value, low=low, high=high, sums=sums)


def by_chance(confidence: np.ndarray, bins: np.ndarray, seed: int = 0) -> float:
    """The error that a perfectly calibrated model of these confidences stays below in 95 % of samples of this size."""
    generator = np.random.default_rng([seed, len(bins), 2])
    inside, found = _in_bins(bins), []
    for rounds in batches(ROUNDS, len(bins)):
        right = (generator.random((rounds, len(bins))) < confidence).astype(np.float64)
        found.append(np.abs((right - confidence) @ inside).sum(1) / len(bins))
    return float(np.quantile(np.concatenate(found), 0.95))


def wilson(right: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); of none of zero, everything."""
    if not count:
        return 0.0, 1.0
    z2, share = 1.959964**2, right / count
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(share * (1 - share) * z2 / count + z2 * z2 / (4 * count * count)) / (1 + z2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def _error(total: np.ndarray) -> np.ndarray:
    return np.abs(total[:, :-1]).sum(1) / total[:, -1]


def _in_bins(bins: np.ndarray) -> np.ndarray:
    return np.eye(int(bins.max()) + 1)[bins]


def _bins(confidence: np.ndarray, right: np.ndarray, bins: np.ndarray) -> tuple[Bin, ...]:
    found = []
    for number in np.unique(bins):
        inside = bins == number
        count, hits = int(inside.sum()), float(right[inside].sum())
        low, high = wilson(hits, count)
        found.append(
            Bin(
                low=float(confidence[inside].min()),
                high=float(confidence[inside].max()),
                count=count,
                confidence=float(confidence[inside].mean()),
                accuracy=hits / count,
                accuracy_low=low,
                accuracy_high=high,
            )
        )
    return tuple(found)
