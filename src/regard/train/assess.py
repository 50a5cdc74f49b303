"""Models to be scored beside each other: each with its task, and the rows that all of them held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regard import bundle, tasks
from regard.bundle import Bundle
from regard.data import content, sources
from regard.data.sources import Source
from regard.errors import RegardError
from regard.tasks.base import Task
from regard.train import setup
from regard.train.run import Run

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to be scored; `run` is None for one that was not trained here."""

    path: str
    run: Run | None
    bundle: Bundle
    task: Task


def subject(path: str, asked: Callable[[Bundle], Bundle] = lambda loaded: loaded, **machine: Any) -> Subject:
    """The model of a run or of a model folder, as it was `asked` for; `machine` as `bundle.load` takes it."""
    run = Run(path) if Run(path).exists else None
    loaded = asked(bundle.load(path, **machine))
    return Subject(path, run, loaded, tasks.of(loaded, run.recipe.task_settings if run else None))


def refuse_unlike(subjects: Sequence[Subject]) -> None:
    """Raise where the models do not answer the same question."""
    asked = [(one.task.name, tuple(one.task.labels)) for one in subjects]
    if len(set(asked)) > 1:
        told = "; ".join(
            f"{one.path}: {name} {', '.join(labels)}".strip()
            for one, (name, labels) in zip(subjects, asked, strict=True)
        )
        raise RegardError("assess.unlike", tasks=told)


def held_out(
    subjects: Sequence[Subject], data: str | None, columns: Mapping[str, str | None]
) -> tuple[Source | Rows, str]:
    """The rows to score on, and their name: `data`, or what all the runs among `subjects` held out.

    Runs that divided their data otherwise than each other are scored on the rows that stand in what each held out.
    """
    given = {name: value for name, value in columns.items() if value is not None}
    runs = [one.run for one in subjects if one.run is not None]
    if data is not None:
        found = sources.open(data, **{**(runs[0].recipe.data.reading if runs else {}), **given})
        return found, found.name
    if not runs:
        raise RegardError("assess.no_data")
    parts = [setup.rows(run.recipe.data)[1] for run in runs]
    kept = [part for part in parts if part is not None]
    if len(kept) < len(parts):
        raise RegardError("assess.nothing_held_out", run=runs[parts.index(None)].folder)
    if all(run.recipe.data == runs[0].recipe.data for run in runs):
        return kept[0], kept[0].name
    others = [keys(part) for part in kept[1:]]
    shared = [row for row in kept[0] if all(key(row) in other for other in others)]
    if not shared:
        raise RegardError("assess.nothing_shared")
    return shared, kept[0].name


def learnt(one: Subject, rows: Rows) -> int:
    """How many of the rows also stand in what a run was trained on; 0 for a model of which that is not known."""
    if one.run is None:
        return 0
    known = keys(setup.rows(one.run.recipe.data)[0])
    return sum(key(row) in known for row in rows)


def same_tokens(one: Subject, other: Subject, rows: Rows) -> bool:
    """Whether both see the rows as the same tokens, so that figures per token can be compared."""
    texts = [text for row in rows for text in content.parts(row)]
    return all(one.bundle.tokenizer.encode(text) == other.bundle.tokenizer.encode(text) for text in texts)


def per_token(task: Task, score: str) -> bool:
    """Whether a score of this task depends on how texts are cut into tokens."""
    return score in ("perplexity", "nats_per_token") or task.name == "masked-lm"


def keys(rows: Source | Rows) -> set[bytes]:
    return {key(rows[number]) for number in range(len(rows))}


def key(row: Mapping[str, Any]) -> bytes:
    """What makes two rows the same: everything to read in them, and the label."""
    return content.key(*content.parts(row), str(row.get("label", "")))
