"""Whether a difference is more than noise: two methods on the same examples, one recipe under several seeds.

    for found in compare(one, other):          # two Results of the same held-out rows
        found.value, found.low, found.high     # other minus one, with its paired 95 % interval
        found.p, found.real                    # chance of such a difference between methods that are equally good

Both tests work on the sums that scores are made of, so they serve figures of a whole corpus (chrF, bits per character)
as well as means. They speak of these two models on examples like these; what another training seed would do is asked
of `spread`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from regard.errors import RegardError
from regard.tasks.scores import LOWER_IS_BETTER, Result, Score, Sums, batches, draws, middle

SHUFFLES = 2000  # random exchanges of the two methods
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A score of two methods on the same `examples`: `value` is `other` minus `one`, with its 95 % interval."""

    name: str
    one: float
    other: float
    low: float
    high: float
    p: float
    examples: int

    @property
    def value(self) -> float:
        return self.other - self.one

    @property
    def real(self) -> bool:
        """More than noise: the interval leaves out 0 and the permutation test agrees."""
        return self.p < LEVEL and not self.low <= 0 <= self.high

    @property
    def gain(self) -> float:
        """How much better `other` is; negative where it is worse."""
        return -self.value if self.name in LOWER_IS_BETTER else self.value

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "difference": self.value, "more_than_noise": self.real}


def compare(one: Result, other: Result, seed: int = 0) -> list[Difference]:
    """The scores that both have, over the examples that both have, the primary one first."""
    left, right = common(one, other)
    theirs = {score.name: score for score in other.scores if score.sums is not None}
    return [
        difference(score, theirs[score.name], left, right, seed)
        for score in one.scores
        if score.sums is not None and score.name in theirs
    ]


def common(one: Result, other: Result) -> tuple[np.ndarray, np.ndarray]:
    """Where the examples that both scored stand among those of `one` and of `other`."""
    if one.outcome is not None and other.outcome is not None:
        _, left, right = np.intersect1d(one.outcome.rows, other.outcome.rows, return_indices=True)
    elif one.examples == other.examples:
        left = right = np.arange(one.examples)
    else:
        left = right = np.arange(0)
    if len(left) < 2:
        raise RegardError("tasks.nothing_to_compare")
    return left, right


def difference(one: Score, other: Score, left: np.ndarray, right: np.ndarray, seed: int = 0) -> Difference:
    """`left` and `right` number the same examples in both scores."""
    assert one.sums is not None and other.sums is not None
    a, b = one.sums.among(left), other.sums.among(right)
    low, high = paired_interval(a, b, seed)
    return Difference(
        name=one.name,
        one=a.total(),
        other=b.total(),
        low=low,
        high=high,
        p=permutation_p(a, b, seed),
        examples=len(left),
    )


def paired_interval(a: Sums, b: Sums, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of b - a, both resampled together (paired bootstrap: Koehn 2004)."""
    figures = [b.of(drawn @ b.values) - a.of(drawn @ a.values) for drawn in draws(len(a.values), seed)]
    return middle(np.concatenate(figures))


def permutation_p(a: Sums, b: Sums, seed: int = 0) -> float:
    """How often a difference at least as large arises where chance decides which method an example's sums belong to.

    The exchange of paired outcomes (Yeh 2000, "More accurate tests for the statistical significance of result
    differences"), two-sided; the observed pairing counts as one of the shuffles, so p is never 0 (Phipson and Smyth
    2010).
    """
    observed = abs(b.total() - a.total())
    apart, both = b.values - a.values, a.values.sum(0) + b.values.sum(0)
    generator = np.random.default_rng([seed, len(apart), 1])
    as_large = 0
    for rounds in batches(SHUFFLES, len(apart)):
        swapped = generator.integers(0, 2, size=(rounds, len(apart))).astype(np.float64)
        mixed = a.values.sum(0) + swapped @ apart
        figures = np.abs(b.of(both - mixed) - a.of(mixed))
        as_large += int((figures >= observed * (1 - 1e-9) - 1e-12).sum())
    return (1 + as_large) / (1 + SHUFFLES)


# ---------------------------------------------------------------------------------------------------------- many seeds


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A score over several trainings of one recipe: the mean, the standard deviation from run to run, and the 95 %
    interval of the mean (Student's t); deviation and interval are None for a single run."""

    name: str
    values: tuple[float, ...]
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def spread(name: str, values: Sequence[float]) -> Spread:
    """How a score varies with the seed."""
    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return Spread(name=name, values=tuple(values), mean=mean)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = student(count - 1) * deviation / math.sqrt(count)
    return Spread(name=name, values=tuple(values), mean=mean, deviation=deviation, low=mean - half, high=mean + half)


def student(freedom: int, share: float = 0.95) -> float:
    """The t between whose negative and itself lies this share of Student's distribution."""
    low, high = 0.0, 1e6
    for _ in range(200):
        half = (low + high) / 2
        low, high = (half, high) if _within(half, freedom) < share else (low, half)
    return high


def _within(t: float, freedom: int) -> float:
    """Share of Student's distribution between -t and t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(freedom // 2):
        total += term
        term *= cosine**2 * (2 * k + (2 if odd else 1)) / (2 * k + (3 if odd else 2))
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
