"""What a head does, measured: the share of its attention that goes where a simple rule would send it.

Each score is a mean over the queries that the rule applies to. A head is given a pattern's name when its score is at
least half way from what even attention over the visible keys would score to 1; where several are, the one that applies
to most queries names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regard.report.sections import Pattern, message

HALF_WAY = 0.5
EVEN = 0.95  # share of the largest possible entropy above which a head attends evenly

PATTERNS = (
    Pattern(
        name="previous", label=message("explain.pattern.previous"), about=message("explain.pattern.previous_about")
    ),
    Pattern(
        name="diagonal", label=message("explain.pattern.diagonal"), about=message("explain.pattern.diagonal_about")
    ),
    Pattern(name="first", label=message("explain.pattern.first"), about=message("explain.pattern.first_about")),
    Pattern(name="same", label=message("explain.pattern.same"), about=message("explain.pattern.same_about")),
    Pattern(
        name="induction", label=message("explain.pattern.induction"), about=message("explain.pattern.induction_about")
    ),
    Pattern(
        name="separator", label=message("explain.pattern.separator"), about=message("explain.pattern.separator_about")
    ),
    Pattern(name="uniform", label=message("explain.pattern.uniform"), about=message("explain.pattern.uniform_about")),
)


@dataclass(frozen=True, eq=False)
class Measured:
    """Of one head: `scores` by pattern, those that apply to the text, and the `pattern` that fits, if one does."""

    scores: dict[str, float]
    pattern: str | None


def measure(
    weights: np.ndarray, queries: Sequence[int], keys: Sequence[int], separators: Sequence[int], *, crosses: bool
) -> list[Measured]:
    """The heads of one layer. weights (H, T, S); the tokens' ids; positions of separators among the keys; whether the
    queries are another text than the keys, where positions say nothing."""
    visible = np.any(weights > 0, axis=0)  # by any head: a single one may round a small weight to 0
    even = visible / np.maximum(visible.sum(-1, keepdims=True), 1)
    targets = _targets(np.asarray(queries), np.asarray(keys), separators, crosses, visible)
    shares = {name: _share(weights, target) for name, target in targets.items()}
    chances = {name: float(_share(even[None], target)[0]) for name, target in targets.items()}
    reach = {name: int(target.any(-1).sum()) for name, target in targets.items()}
    evenness = _evenness(weights, visible)
    return [
        _measured({name: float(share[head]) for name, share in shares.items()}, chances, reach, float(evenness[head]))
        for head in range(len(weights))
    ]


def _targets(
    queries: np.ndarray, keys: np.ndarray, separators: Sequence[int], crosses: bool, visible: np.ndarray
) -> dict[str, np.ndarray]:
    """For each pattern the cells (T, S) that it would attend to. A rule that holds for no query, or leaves no choice,
    is left out."""
    T, S = visible.shape
    same = queries[:, None] == keys[None, :]
    first = np.zeros((T, S), dtype=bool)
    first[:, 0] = True
    marks = np.zeros((T, S), dtype=bool)
    marks[:, [at for at in separators if at > 0]] = True
    found = {"first": first, "separator": marks}
    if crosses:
        found["same"] = same
    else:
        found["previous"] = np.eye(T, S, k=-1, dtype=bool)
        found["diagonal"] = np.eye(T, S, dtype=bool)
        found["same"] = same & ~np.eye(T, S, dtype=bool)
        # The token after an earlier one like the query's, where what repeats goes on as before (Olsson et al. 2022).
        after = np.zeros((T, S), dtype=bool)
        after[:, 1:] = same[:, :-1]
        found["induction"] = after & np.tri(T, S, dtype=bool)
    choice = visible.sum(-1) > 1  # a query that sees one key has no choice
    kept = {name: target & visible & choice[:, None] for name, target in found.items()}
    return {name: target for name, target in kept.items() if target.any()}


def _share(weights: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(H,) mean weight on the target cells, over the queries that have one."""
    asked = target.any(-1)
    return (weights[:, asked] * target[asked]).sum(-1).mean(-1)


def _evenness(weights: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """(H,) entropy as a share of the largest possible, over the queries with a choice; NaN where there is none."""
    count = visible.sum(-1)
    asked = count > 1
    if not asked.any():
        return np.full(len(weights), np.nan)
    chosen = weights[:, asked]
    entropy = -(chosen * np.log(np.where(chosen > 0, chosen, 1.0))).sum(-1)
    return (entropy / np.log(count[asked])).mean(-1)


def _measured(scores: dict[str, float], chances: dict[str, float], reach: dict[str, int], evenness: float) -> Measured:
    above = {name: (score - chances[name]) / max(1.0 - chances[name], 1e-9) for name, score in scores.items()}
    fitting = [name for name in above if above[name] >= HALF_WAY]
    pattern = max(fitting, key=lambda name: (reach[name], above[name]), default=None)
    if not np.isnan(evenness):
        scores = {**scores, "uniform": evenness}
        pattern = "uniform" if pattern is None and evenness >= EVEN else pattern
    return Measured(scores, pattern)
