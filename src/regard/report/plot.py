"""Curves on a terminal with axes, drawn in braille dots: two by four to a character."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rich.text import Text

from regard.report.sections import Curve, finite

COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a character


def chart(curves: Sequence[Curve], *, width: int = 76, height: int = 12) -> Text:
    """The curves over a common x, in at most `width` columns and `height` lines and one for the x axis.

    Points that fall into one column of dots are drawn as their mean, and faintly from the least to the largest, so that
    a spike is seen; a gap in the values is a gap in the line. A curve's `low` and `high` are drawn faintly. Empty where
    there is nothing finite to draw.
    """
    drawn = [_Points.of(one) for one in curves]
    everything = [one for one in drawn if one.x.size]
    if not everything:
        return Text()
    xs, ys = np.concatenate([one.x for one in everything]), np.concatenate([one.spread for one in everything])
    left, right = float(xs.min()), float(xs.max())
    low, high = _room(float(ys.min()), float(ys.max()))
    ticks = _ticks(low, high, max(2, height // 3))
    margin = max(len(name) for _, name in ticks)
    canvas = _Canvas(max(8, width - margin - 2), height, (left, right), (low, high))
    for points, colour in zip(drawn, _cycle(len(drawn)), strict=True):
        for edge in points.edges:
            canvas.line(points.x, edge, f"{colour} dim")
        canvas.ranges(points.x, points.y, f"{colour} dim")
    for points, colour in zip(drawn, _cycle(len(drawn)), strict=True):
        canvas.line(points.x, points.y, colour)
    return _framed(canvas, ticks, margin, (left, right))


def legend(curves: Sequence[Curve], names: Sequence[str]) -> Text:
    """A line that says which colour is which curve."""
    line = Text()
    for name, colour in zip(names, _cycle(len(curves)), strict=True):
        line.append("━━ ", style=colour)
        line.append(f"{name}   ")
    return line


class _Points:
    """The finite points of one curve, with NaN where a gap has to stay."""

    def __init__(self, x: np.ndarray, y: np.ndarray, edges: list[np.ndarray]) -> None:
        self.x, self.y, self.edges = x, y, edges

    @classmethod
    def of(cls, curve: Curve) -> _Points:
        x, y = finite(curve.x), finite(curve.y)
        edges = [finite(edge) for edge in (curve.low, curve.high) if edge is not None]
        placed = ~np.isnan(x) & np.any([~np.isnan(each) for each in (y, *edges)], axis=0)
        if not placed.any():
            return cls(x[:0], y[:0], [])
        first, last = np.flatnonzero(placed)[[0, -1]]
        kept = slice(int(first), int(last) + 1)
        return cls(x[kept], y[kept], [edge[kept] for edge in edges])

    @property
    def spread(self) -> np.ndarray:
        values = np.concatenate([self.y, *self.edges])
        return values[~np.isnan(values)]


class _Canvas:
    """Characters of dots with one colour each."""

    def __init__(self, width: int, height: int, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.width, self.height, self.x, self.y = width, height, x, y
        self.cells = np.zeros((height, width), dtype=np.int64)
        self.styles: dict[tuple[int, int], str] = {}

    def line(self, x: np.ndarray, y: np.ndarray, style: str) -> None:
        before: tuple[int, int] | None = None
        for column, inside in self._columns(x, y):
            here = None if not inside.size else (column, self._row(float(inside.mean())))
            if here is not None:
                self._stroke(before or here, here, style)
            before = here

    def ranges(self, x: np.ndarray, y: np.ndarray, style: str) -> None:
        for column, inside in self._columns(x, y):
            if inside.size > 1:
                self._stroke((column, self._row(float(inside.min()))), (column, self._row(float(inside.max()))), style)

    def rows(self) -> list[Text]:
        lines = []
        for at in range(self.height):
            line = Text()
            for column in range(self.width):
                dots = int(self.cells[at, column])
                line.append(chr(0x2800 + dots) if dots else " ", style=self.styles.get((at, column), ""))
            lines.append(line)
        return lines

    def _columns(self, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Each column of dots in turn with the finite values that fall into it."""
        columns = np.rint(_share(x, *self.x) * (2 * self.width - 1)).astype(np.int64)
        for column in np.unique(columns):
            inside = y[columns == column]
            yield int(column), inside[~np.isnan(inside)]

    def _row(self, value: float) -> int:
        return round((1 - float(_share(value, *self.y))) * (4 * self.height - 1))

    def _stroke(self, start: tuple[int, int], end: tuple[int, int], style: str) -> None:
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            column = round(start[0] + (end[0] - start[0]) * step / steps)
            row = round(start[1] + (end[1] - start[1]) * step / steps)
            self.cells[row // 4, column // 2] |= _DOTS[row % 4][column % 2]
            self.styles[row // 4, column // 2] = style


def _framed(canvas: _Canvas, ticks: list[tuple[float, str]], margin: int, x: tuple[float, float]) -> Text:
    low, high = canvas.y
    named = {round((1 - float(_share(value, low, high))) * (canvas.height - 1)): name for value, name in ticks}
    lines = []
    for at, row in enumerate(canvas.rows()):
        name = named.get(at, "")
        lines.append(Text.assemble((f"{name:>{margin}} ", "dim"), ("┤" if name else "│", "dim"), row))
    lines.append(Text(" " * (margin + 1) + "└" + "─" * canvas.width, style="dim"))
    whole = all(value == round(value) for value in x)
    middle = (x[0] + x[1]) / 2
    places = [f"{value:,.6g}" for value in (x[0], round(middle) if whole else middle, x[1])]
    if x[0] == x[1]:
        places = [places[0], "", ""]
    between = places[1].center(canvas.width - len(places[0]) - len(places[2]))
    lines.append(Text(" " * (margin + 2) + places[0] + between + places[2], style="dim"))
    return Text("\n").join(lines)


def _room(low: float, high: float) -> tuple[float, float]:
    if low == high:
        pad = abs(low) * 0.05 or 1.0
        return low - pad, high + pad
    return low, high


def _ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round values between the ends (1, 2 or 5 times a power of ten apart), and how they are written."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    values = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return [(value, f"{value:,.{places}f}" if places < 6 else f"{value:.3g}") for value in values]


def _share(values: np.ndarray | float, low: float, high: float) -> np.ndarray:
    return (np.asarray(values, dtype=np.float64) - low) / ((high - low) or 1.0)


def _cycle(count: int) -> list[str]:
    return [COLOURS[at % len(COLOURS)] for at in range(count)]
