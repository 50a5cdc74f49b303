"""Sections on a terminal: tables, a curve as one line of blocks, tokens shaded by a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text as Styled

from regard.report import sections as kinds
from regard.report.sections import Cell, Chapter, Label, Report, Section, finite, message, readable, spoken, visible
from regard.words import language

BLOCKS = "▁▂▃▄▅▆▇█"


def show(report: Report, console: Console) -> None:
    """Print the whole report."""
    console.print(Styled(_said(report.title), style="bold"))
    if report.about:
        console.print(_plain(report.about))
    for name, value in report.facts:
        console.print(Styled.assemble((f"{_said(name)}: ", "dim"), _cell(value)))
    for section in report.sections:
        console.print()
        console.print(rendered(section))


def rendered(section: Section | Chapter) -> RenderableType:
    """One section as something rich can print."""
    if isinstance(section, Chapter):
        head = [Styled(_said(section.title), style="bold underline")]
        return Group(*head, *([_plain(section.about)] if section.about else []), *map(rendered, section.sections))
    title, note = getattr(section, "title", ""), getattr(section, "note", "")
    above = [Styled(_said(title), style="bold")] if title else []
    below = [Styled(_said(note), style="dim")] if note else []
    return Group(*above, _RENDERED[type(section)](section), *below)


def sparkline(values: Any, width: int = 60) -> str:
    """A curve as `width` blocks at most, low to high; each block is the mean of its share; gaps are spaces."""
    numbers = finite(values)
    if not numbers.size or np.isnan(numbers).all():
        return ""
    shares = np.array_split(numbers, min(width, numbers.size))
    means = [float(np.nanmean(share)) if not np.isnan(share).all() else math.nan for share in shares]
    low, high = np.nanmin(means), np.nanmax(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if math.isnan(mean) else BLOCKS[round((mean - low) * scale)] for mean in means)


def shaded(tokens: Sequence[str], values: Any) -> Styled:
    """Tokens on a background by their value: red for, blue against, in shares of the largest."""
    numbers = np.nan_to_num(finite(values))
    most = float(np.abs(numbers).max()) if numbers.size else 0.0
    line = Styled()
    for token, value in zip(tokens, numbers, strict=True):
        share = float(value) / most if most else 0.0
        line.append(visible(token) or "·", style=_background(share))
        line.append(" ")
    return line


def _background(share: float) -> str:
    hue = (200, 69, 47) if share >= 0 else (47, 111, 181)
    mixed = [round(255 + (part - 255) * min(1.0, abs(share))) for part in hue]
    return f"black on rgb({mixed[0]},{mixed[1]},{mixed[2]})"


def _said(label: Label) -> str:
    return readable(str(spoken(label, language())))


def _plain(label: Label) -> Styled:
    return Styled(_said(label))


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    if isinstance(value, str | kinds.Message):
        return _said(value)
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    return f"{float(value):,.4g}" if abs(value) < 10000 else f"{float(value):,.0f}"


def _grid(columns: Sequence[Label], rows: Sequence[Sequence[Cell]], marked: Sequence[int] = ()) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for at, column in enumerate(columns):
        numeric = any(isinstance(row[at], int | float) for row in rows)
        grid.add_column(_plain(column), justify="right" if numeric else "left")
    for at, row in enumerate(rows):
        grid.add_row(*(Styled(_cell(value)) for value in row), style="bold" if at in marked else "")
    return grid


def _text(section: kinds.Text) -> RenderableType:
    return Group(*map(_plain, section.paragraphs))


def _note(section: kinds.Note) -> RenderableType:
    style = {"note": "", "caution": "yellow", "good": "green", "bad": "red"}[section.kind]
    return Styled(_said(section.text), style=style)


def _numbers(section: kinds.Numbers) -> RenderableType:
    rows = [(one.label, f"{_cell(one.value)} {_said(one.unit)}".strip(), one.about) for one in section.numbers]
    return _grid(("", "", ""), rows)


def _table(section: kinds.Table) -> RenderableType:
    return _grid(section.columns, section.rows, section.marked)


def _curves(section: kinds.Curves) -> RenderableType:
    rows: list[Sequence[Cell]] = []
    for one in section.curves:
        seen = finite(one.y)[~np.isnan(finite(one.y))]
        first, last = (float(seen[0]), float(seen[-1])) if seen.size else (None, None)
        rows.append((one.name, first, sparkline(one.y, 48), last))
    rows += [(level.name, None, "", float(level.value)) for level in section.levels]
    return _grid(("", "", section.y, ""), rows)


def _bars(section: kinds.Bars) -> RenderableType:
    most = max((abs(one.value) for one in section.bars if math.isfinite(one.value)), default=0.0)
    rows = [
        (one.name, "█" * (round(abs(one.value) / most * 40) if most and math.isfinite(one.value) else 0), one.value)
        for one in section.bars
    ]
    return _grid(("", section.unit, ""), rows, [at for at, one in enumerate(section.bars) if one.marked])


def _samples(section: kinds.Samples) -> RenderableType:
    parts: list[RenderableType] = []
    for one in section.samples:
        if one.given:
            parts.append(Styled(_said(one.given), style="dim"))
        parts.append(_plain(one.made))
        parts += [Styled(_said(text), style="dim") for text in (one.expected, one.remark) if text]
        parts.append(Styled(""))
    return Group(*parts[:-1])


def _attention(section: kinds.Attention) -> RenderableType:
    """The heads that matter most, by what switching them off does; without that, in their own order."""
    ranked = sorted(section.heads, key=lambda one: -abs(one.effect or 0.0))[:8]
    named = {one.name: one.label for one in section.patterns}
    rows = [
        (one.layer, one.head, named.get(one.pattern or "", "–"), one.scores.get(one.pattern or ""), one.effect)
        for one in ranked
    ]
    columns = (
        message("report.terminal.layer"),
        message("report.terminal.head"),
        message("report.terminal.pattern"),
        message("report.terminal.score"),
        message("report.terminal.effect"),
    )
    return _grid(columns, rows)


def _lens(section: kinds.Lens) -> RenderableType:
    column = section.chosen if section.chosen is not None else len(section.tokens) - 1
    probabilities = finite(section.probabilities)
    rows = []
    for at, layer in enumerate(section.layers):
        answers = zip(section.best[at][column][:4], probabilities[at, column], strict=False)
        rows.append((layer, "   ".join(f"{visible(answer)} {share:.4f}" for answer, share in answers)))
    return _grid(("", message("report.terminal.best")), rows)


def _saliency(section: kinds.Saliency) -> RenderableType:
    parts: list[RenderableType] = [_plain(section.answer)] if section.answer else []
    for one in section.methods:
        parts += [Styled(_said(one.name), style="dim"), shaded(section.tokens, one.values)]
    return Group(*parts)


_RENDERED: dict[type, Callable[[Any], RenderableType]] = {
    kinds.Text: _text,
    kinds.Note: _note,
    kinds.Numbers: _numbers,
    kinds.Table: _table,
    kinds.Curves: _curves,
    kinds.Bars: _bars,
    kinds.Samples: _samples,
    kinds.Attention: _attention,
    kinds.Lens: _lens,
    kinds.Saliency: _saliency,
}
