"""What was found of the attentions that may take the exact one's place, as tables and curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from regard.explain.swap import EXACT, METHODS, Comparison, Spent
from regard.report.sections import (
    Bar,
    Bars,
    Cell,
    Chapter,
    Curve,
    Curves,
    Label,
    Note,
    Report,
    Table,
    Text,
    message,
)
from regard.words import say

_MEGA = 1e6
_SETTINGS = {
    "window": ("window",),
    "blocks": ("block", "random"),
    "lsh": ("cluster", "rounds"),
    "favor": ("features",),
}  # which of the settings are whose


def report(found: Comparison, facts: Sequence[tuple[Label, Cell]]) -> Report:
    """Tables first, then the curves that they are taken from, then what was left out and why."""
    whole = [_costs(found, found.whole, "seconds", "swap.whole_seconds")]
    layer = [
        _costs(found, found.layer, "seconds", "swap.layer_seconds"),
        _costs(found, found.layer, "peak", "swap.layer_memory"),
        _curves(found.layer, "seconds", "swap.seconds"),
        _curves(found.layer, "peak", "swap.megabytes"),
    ]
    sections = [
        Chapter(title=message("swap.changes"), about=_about(found), sections=[_changes(found), *_errors(found)]),
        Chapter(title=message("swap.whole", layers=found.layers), sections=_kept(whole)),
        Chapter(title=message("swap.layer"), about=message("swap.layer_about"), sections=_kept(layer)),
        *_left_out(found),
    ]
    kept = [one for one in sections if not isinstance(one, Chapter) or one.sections]
    return Report(title=message("swap.title"), sections=kept, facts=facts)


def document(found: Comparison) -> dict[str, Any]:
    """The same as plain values; bytes and seconds."""
    return {
        "settings": asdict(found.settings),
        "layers": found.layers,
        "swapped": found.swapped,
        "error_length": found.error_length,
        "errors": found.errors,
        "cannot": {name: _said(why) for name, why in found.cannot.items()},
        "whole": [_spent(one) for one in found.whole],
        "layer": [_spent(one) for one in found.layer],
        "growth": {
            part: {name: {what: found.growth(spent, name, what) for what in ("seconds", "peak")} for name in _in(spent)}
            for part, spent in (("whole", found.whole), ("layer", found.layer))
        },
    }


def name(method: str) -> Label:
    """A method's name."""
    return message(f"swap.method.{method}")


def _about(found: Comparison) -> Label:
    more = {"swapped": found.swapped, "layers": found.layers, "length": found.error_length}
    return message("swap.changes_about", **more)


def _changes(found: Comparison) -> Table:
    """For each method what the text costs a token, beside the exact attention at the longest length that both read."""
    exact = {one.length: one.loss for one in found.whole if one.method == EXACT and one.loss is not None}
    rows: list[Sequence[Cell]] = []
    for method in [one for one in METHODS if one in found.errors or one in _in(found.whole)]:
        own = {one.length: one.loss for one in found.whole if one.method == method and one.loss is not None}
        length = max(set(own) & set(exact), default=None) if exact else max(own, default=None)
        loss = None if length is None else own[length]
        change = None if length is None or loss is None or length not in exact else loss - exact[length]
        errors = found.errors.get(method)
        spread = (None, None) if not errors else (_short(median(errors)), _short(max(errors)))
        looks = message(
            f"swap.looks.{method}", **{one: getattr(found.settings, one) for one in _SETTINGS.get(method, ())}
        )
        perplexity = None if loss is None or loss > 20 else _short(math.exp(loss))
        rows.append((name(method), length, _short(loss), _short(change), perplexity, *spread, looks))
    columns = ("method", "tokens", "loss", "change", "perplexity", "median_error", "worst_error", "sees")
    return Table(columns=[message(f"swap.column.{one}") for one in columns], rows=rows)


def _errors(found: Comparison) -> list[Any]:
    """By layer, and what the loss becomes."""
    made: list[Any] = []
    if found.errors and max(map(len, found.errors.values())) > 1:
        curves = [Curve(name=name(one), x=range(len(each)), y=each) for one, each in found.errors.items()]
        made.append(
            Curves(curves=curves, title=message("swap.by_layer"), x=message("swap.a_layer"), y=message("swap.error"))
        )
    bars = []
    exact = {one.length: one.loss for one in found.whole if one.method == EXACT and one.loss is not None}
    for method in _in(found.whole):
        known = [one for one in found.whole if one.method == method and one.loss is not None and one.length in exact]
        if method != EXACT and known:
            bars.append(Bar(name=name(method), value=(known[-1].loss or 0.0) - (exact[known[-1].length] or 0.0)))
    if bars:
        made.append(Bars(bars=bars, title=message("swap.change"), unit=message("swap.nats")))
    return made


def _costs(found: Comparison, spent: Sequence[Spent], what: str, title: str) -> Table:
    """Methods down, lengths across, and by which power of the length the last of them grow."""
    lengths = sorted({one.length for one in spent})
    value = _seconds if what == "seconds" else _megabytes
    rows: list[Sequence[Cell]] = []
    for method in _in(spent):
        own = {one.length: getattr(one, what) for one in spent if one.method == method}
        power = found.growth(spent, method, what)
        grows = "–" if power is None else f"n^{power:.2f}"
        rows.append((name(method), *(value(own.get(length)) for length in lengths), grows))
    columns: list[Label] = [
        message("swap.column.method"),
        *(f"{one:,}" for one in lengths),
        message("swap.column.growth"),
    ]
    return Table(columns=columns, rows=rows, title=message(title))


def _curves(spent: Sequence[Spent], what: str, unit: str) -> Curves:
    share = _MEGA if what == "peak" else 1.0
    curves = []
    for method in sorted(
        _in(spent), key=lambda one: one == EXACT
    ):  # last, so that the others' colours are always theirs
        known = [(one.length, getattr(one, what)) for one in spent if one.method == method]
        points = [(length, value / share) for length, value in known if value is not None]
        if points:
            curves.append(Curve(name=name(method), x=[at for at, _ in points], y=[value for _, value in points]))
    title = message("swap.curve_seconds" if what == "seconds" else "swap.curve_memory")
    return Curves(curves=curves, title=title, x=message("swap.column.tokens"), y=message(unit))


def _left_out(found: Comparison) -> Iterable[Any]:
    """One line for each method and reason, with the lengths that it concerns."""
    lines: dict[tuple[str, str, str], list[int]] = {}
    for part, spent in (("whole", found.whole), ("layer", found.layer)):
        for one in spent:
            if one.skipped is not None:
                lines.setdefault((part, one.method, _said(one.skipped)), []).append(one.length)
    said = [
        message(
            f"swap.left_out.{part}",
            method=name(method),
            lengths=", ".join(f"{length:,}" for length in lengths),
            why=next(one.skipped for one in _all(found) if one.skipped is not None and _said(one.skipped) == why),
        )
        for (part, method, why), lengths in lines.items()
    ]
    said += [message("swap.left_out.method", method=name(method), why=why) for method, why in found.cannot.items()]
    if said:
        yield Chapter(title=message("swap.left"), sections=[Text(paragraphs=said)])
    if found.swapped < found.layers:
        yield Note(text=message("swap.some", swapped=found.swapped, layers=found.layers))


def _all(found: Comparison) -> list[Spent]:
    return [*found.whole, *found.layer]


def _in(spent: Sequence[Spent]) -> list[str]:
    """The methods that were measured, or tried, in their usual order."""
    return [method for method in METHODS if any(one.method == method for one in spent)]


def _kept(sections: Sequence[Any]) -> list[Any]:
    return [one for one in sections if (one.rows if isinstance(one, Table) else one.curves)]


def _seconds(value: float | None) -> Cell:
    return None if value is None else _short(value)


def _megabytes(value: int | None) -> Cell:
    return None if value is None else round(value / _MEGA)


def _short(value: float | None) -> Cell:
    """Three digits, and a zero for what is lost in the noise of single precision."""
    return None if value is None else 0.0 if abs(value) < 5e-5 else float(f"{value:.3g}")


def _spent(one: Spent) -> dict[str, Any]:
    return {**asdict(one), "skipped": None if one.skipped is None else _said(one.skipped)}


def _said(text: Any) -> str:
    return say(text.key, **text.values)
