"""Where a model is weak: the primary score over parts of the held-out rows, the worst first.

One of twenty parts looks bad by chance. So each is held against the rows outside it by a permutation test, the level is
divided as Holm (1979) does, and a part of fewer than ENOUGH rows is not judged at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from regard.data import scripts
from regard.tasks.compare import LEVEL, SHUFFLES
from regard.tasks.scores import LOWER_IS_BETTER, Result, Score, Sums, batches, bootstrap

ENOUGH = 30  # examples, below which a part is not judged
LENGTHS = 4  # bins of equal count
MOST = 20  # values of one kind that get a part of their own

Verdict = Literal["worse", "better", "same", "small"]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One part: the rows whose `kind` (length, label, file, language) is `value`. `p` is that of the difference to the
    other rows, None where it was not judged."""

    kind: str
    value: str
    examples: int
    score: Score
    p: float | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        score = {"value": self.score.value, "low": self.score.low, "high": self.score.high}
        head = {"kind": self.kind, "value": self.value, "examples": self.examples}
        return {**head, "score": score, "p": self.p, "verdict": self.verdict}


def slices(result: Result, rows: Sequence[Row], seed: int = 0) -> tuple[Slice, ...]:
    """The parts of the scored rows, the worst first, those too small to judge last."""
    assert result.outcome is not None and result.primary.sums is not None
    scored = [rows[number] for number in result.outcome.rows.tolist()]
    sums, name = result.primary.sums, result.primary.name
    found = []
    for kind, values in _kinds(scored).items():
        for value in dict.fromkeys(values):
            inside = np.asarray([one == value for one in values])
            if not inside.all():
                score = bootstrap(name, sums.values[inside], sums.figure, seed)
                found.append((kind, value, inside, score))
    judged = {at: apart_p(sums, one[2], seed) for at, one in enumerate(found) if one[2].sum() >= ENOUGH}
    real = holm(judged)
    lower = name in LOWER_IS_BETTER
    made = []
    for at, (kind, value, inside, score) in enumerate(found):
        verdict: Verdict = "small" if at not in judged else "same"
        if real.get(at):
            verdict = "worse" if (score.value > sums.among(~inside).total()) == lower else "better"
        made.append(
            Slice(kind=kind, value=value, examples=int(inside.sum()), score=score, p=judged.get(at), verdict=verdict)
        )
    worst = sorted(made, key=lambda one: -one.score.value if lower else one.score.value)
    return tuple(sorted(worst, key=lambda one: one.verdict == "small"))


def apart_p(sums: Sums, inside: np.ndarray, seed: int = 0) -> float:
    """How often parts of this size, drawn at random, are at least as far from the rest as this one is."""
    examples, size = len(inside), int(inside.sum())
    everything = sums.values.sum(0)
    observed = abs(sums.among(inside).total() - sums.among(~inside).total())
    generator = np.random.default_rng([seed, examples, size])
    as_far = 0
    for rounds in batches(SHUFFLES, examples):
        order = generator.random((rounds, examples)).argpartition(size - 1, axis=1)[:, :size]
        drawn = np.zeros((rounds, examples))
        np.put_along_axis(drawn, order, 1.0, axis=1)
        totals = drawn @ sums.values
        far = np.abs(sums.of(totals) - sums.of(everything - totals))
        as_far += int((far >= observed * (1 - 1e-9) - 1e-12).sum())
    return (1 + as_far) / (1 + SHUFFLES)


def holm(p: Mapping[int, float]) -> dict[int, bool]:
    """Which of these hold at LEVEL together (Holm 1979): the smallest must pass LEVEL / m, the next LEVEL / (m - 1)."""
    held, going = {}, True
    for rank, (key, value) in enumerate(sorted(p.items(), key=lambda one: one[1])):
        going = going and value <= LEVEL / (len(p) - rank)
        held[key] = going
    return held


def _kinds(rows: Sequence[Row]) -> dict[str, list[str]]:
    """For each kind of part the value of every row; a kind that has one value, or too many, is left out."""
    texts = [str(row.get("text", row.get("source", ""))) for row in rows]
    kinds: dict[str, Callable[[], list[str]]] = {
        "length": lambda: lengths([len(text) for text in texts]),
        "label": lambda: [str(row.get("label", "")) for row in rows],
        "file": lambda: [str(row.get("where", "")).rpartition(":")[0] for row in rows],
        "language": lambda: [scripts.language(*pair) for pair in zip(texts, scripts.counts(texts), strict=True)],
    }
    found = {kind: values() for kind, values in kinds.items()}
    return {kind: values for kind, values in found.items() if 1 < len(set(values)) <= MOST}


def lengths(sizes: Sequence[int]) -> list[str]:
    """Each length as the bin that it falls into, of LENGTHS bins of about equal count: "12-40"."""
    edges = sorted({int(edge) for edge in np.quantile(sizes, np.arange(1, LENGTHS) / LENGTHS)} | {max(sizes)})
    bins = np.searchsorted(edges, sizes)
    names = {}
    for number in np.unique(bins):
        inside = [size for size, one in zip(sizes, bins, strict=True) if one == number]
        names[number] = f"{min(inside)}–{max(inside)}"
    return [names[number] for number in bins]
