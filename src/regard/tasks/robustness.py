"""What a model still gets right when its texts are slightly disturbed.

The disturbed text of a row is a pure function of (seed, the row's number, the kind of disturbance), so two models are
asked the same. Only tasks whose answer stays the same have a robustness: of a language model the text itself is the
answer, and a disturbed text is truly less likely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from regard.data.order import DISTURB, uniform
from regard.errors import RegardError
from regard.tasks.compare import Difference, common, difference
from regard.tasks.disturb import DISTURBANCES, Draws
from regard.tasks.scores import Result, Score

STRENGTH = 0.1
COLUMNS = {"classification": "text", "seq2seq": "source"}  # what is disturbed; the answers stay

Row = Mapping[str, Any]


class Scorer(Protocol):
    """A task, or anything that scores as one."""

    name: str

    def evaluate(self, model: Any, rows: Sequence[Row], *, progress: Callable[[int], None] | None = None) -> Result: ...


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """The primary score under one kind of disturbance; `drop` compares it with the undisturbed one, row by row.
    `changed` of the rows had something to disturb."""

    kind: str
    changed: int
    score: Score
    drop: Difference

    def to_dict(self) -> dict[str, Any]:
        score = {"value": self.score.value, "low": self.score.low, "high": self.score.high}
        return {"kind": self.kind, "changed": self.changed, "score": score, "drop": self.drop.to_dict()}


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """`strength` is the share of a text that is disturbed; `idle` are the kinds that found nothing to change."""

    strength: float
    seed: int
    column: str
    clean: Score
    disturbed: tuple[Disturbed, ...]
    idle: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "strength": self.strength,
            "seed": self.seed,
            "column": self.column,
            "disturbed": [one.to_dict() for one in self.disturbed],
            "idle": list(self.idle),
        }


def robustness(
    task: Scorer,
    model: Any,
    rows: Sequence[Row],
    clean: Result,
    *,
    strength: float = STRENGTH,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Robustness:
    """Score the rows under every kind of disturbance; `clean` is the result of the same rows as they are."""
    column = column_of(task)
    changed = {kind: disturb(rows, column, kind, strength, seed) for kind in DISTURBANCES}  # a lack is told at once
    found, idle = [], []
    for kind, after in changed.items():
        touched = sum(a[column] != b[column] for a, b in zip(rows, after, strict=True) if column in a)
        if not touched:
            idle.append(kind)
            continue
        result = task.evaluate(model, after, progress=progress)
        left, right = common(clean, result)
        drop = difference(clean.primary, result.primary, left, right, seed)
        found.append(Disturbed(kind=kind, changed=touched, score=result.primary, drop=drop))
    return Robustness(
        strength=strength, seed=seed, column=column, clean=clean.primary, disturbed=tuple(found), idle=tuple(idle)
    )


def column_of(task: Scorer) -> str:
    """The column that is disturbed, or an error for a task without robustness."""
    if task.name not in COLUMNS:
        raise RegardError("tasks.no_robustness", task=task.name, tasks=", ".join(COLUMNS))
    return COLUMNS[task.name]


def disturb(rows: Sequence[Row], column: str, kind: str, strength: float, seed: int) -> list[dict[str, Any]]:
    """The rows with one column disturbed."""
    stream = list(DISTURBANCES).index(kind)
    change = DISTURBANCES[kind]
    return [
        {**row, column: change(row[column], strength, draws(seed, stream, index, row[column]))}
        if isinstance(row.get(column), str)
        else dict(row)
        for index, row in enumerate(rows)
    ]


def draws(seed: int, kind: int, index: int, text: str) -> Draws:
    """Numbers in [0, 1) for one row and kind, as many as any disturbance of this text can ask for."""
    return iter(uniform(seed, kind, index, 4 * len(text) + 4, stream=DISTURB).tolist())
