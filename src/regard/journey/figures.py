"""What several steps show alike: a table of scores, curves of a training with the marks to beat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from regard.report.sections import Cell, Curve, Curves, Label, Level, Number, Numbers, Section, Table, message

DIGITS = {"bits_per_character": 3, "accuracy": 3, "exact_match": 3, "chrf": 1}


def scores(results: Sequence[Mapping[str, Any]], names: Sequence[str], note: Label = "") -> Table:
    """A row for each result, a column for each score with its interval; the last row is the one to look at."""
    columns: list[Label] = [message("journey.score.method")]
    for name in names:
        columns += [message(f"journey.score.{name}"), message("journey.score.interval")]
    rows: list[list[Cell]] = []
    for one in results:
        cells: list[Cell] = [message(f"journey.method.{one['name']}")]
        for name in names:
            score = one["scores"].get(name)
            cells += written(score, name) if score else ["–", ""]
        rows.append(cells)
    return Table(columns=columns, rows=rows, note=note, marked=[len(rows) - 1])


def written(score: Mapping[str, Any], name: str) -> list[Cell]:
    """A score and its interval, in as many digits as mean something."""
    digits = DIGITS[name]
    if score["low"] is None:
        return [f"{score['value']:.{digits}f}", ""]
    return [f"{score['value']:.{digits}f}", f"{score['low']:.{digits}f} – {score['high']:.{digits}f}"]


def curve(key: str, model: Mapping[str, Any], levels: Mapping[str, Mapping[str, Any]], unit: Label) -> Section:
    """The held-out score over the updates, and those of the baselines as levels."""
    steps, values = points(model["scores"])
    return Curves(
        title=message(key),
        curves=[Curve(name=message("journey.curve.held_out"), x=steps, y=values)],
        levels=[Level(name=message(f"journey.method.{name}"), value=primary(one)) for name, one in levels.items()],
        x=message("journey.curve.updates"),
        y=unit,
        note=message("journey.curve.held_out_note"),
    )


def loss(models: Mapping[str, Mapping[str, Any]]) -> Section:
    """The training loss of each of these models."""
    curves = []
    for name, model in models.items():
        steps, values = points(model["loss"])
        curves.append(Curve(name=message(f"journey.method.{name}"), x=steps, y=values))
    x, y = message("journey.curve.updates"), message("journey.curve.nats")
    return Curves(title=message("journey.curve.loss"), curves=curves, x=x, y=y)


def story(model: Mapping[str, Any]) -> Section:
    """How a training went, in four figures."""
    speed = model["tokens"] / max(model["seconds"], 1e-9)
    return Numbers(
        numbers=[
            Number(label=message("journey.story.parameters"), value=model["parameters"], about=model["family"]),
            Number(label=message("journey.story.updates"), value=model["steps"], about=_asked(model)),
            Number(label=message("journey.story.tokens"), value=model["tokens"]),
            Number(label=message("journey.story.speed"), value=round(speed), unit=message("journey.story.per_second")),
        ]
    )


def primary(result: Mapping[str, Any]) -> float:
    """The first of a result's scores."""
    return next(iter(result["scores"].values()))["value"]


def points(pairs: Iterable[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Steps and values, without what is not finite."""
    good = [(step, value) for step, value in pairs if value is not None and math.isfinite(value)]
    return [float(step) for step, _ in good], [float(value) for _, value in good]


def _asked(model: Mapping[str, Any]) -> Label:
    return "" if model["steps"] == model["asked"] else message("journey.story.asked", asked=model["asked"])
