"""Curves on a terminal."""

from __future__ import annotations

import numpy as np

from regard.report.plot import chart
from regard.report.sections import Curve


def drawn(y, x=None, **more):
    curve = Curve(name="y", x=np.arange(len(y)) if x is None else x, y=y)
    return chart([curve], **{"width": 30, "height": 5, **more}).plain.split("\n")


def dots(line):
    return [at for at, letter in enumerate(line) if "⠀" < letter <= "⣿"]


def test_a_falling_line_falls_from_the_first_corner_to_the_last():
    *lines, axis, places = drawn([4.0, 3.0, 2.0, 1.0, 0.0])
    assert all(len(line) <= 30 for line in [*lines, axis, places])
    first, last = dots(lines[0]), dots(lines[-1])
    assert first[0] == lines[0].index("┤") + 1 and last[-1] == max(max(dots(line)) for line in lines)
    assert max(first) < min(last), "every later point is lower"
    assert lines[0].startswith("4") and lines[-1].startswith("0") and "└─" in axis
    assert places.split() == ["0", "2", "4"]


def test_a_gap_stays_a_gap():
    *lines, _, _ = drawn([1.0] * 10 + [np.nan] * 10 + [1.0] * 10)
    (line,) = [line for line in lines if dots(line)]
    missing = set(range(min(dots(line)), max(dots(line)))) - set(dots(line))
    assert len(missing) > 5


def test_a_spike_among_many_points_is_seen():
    y = np.zeros(1000)
    y[500] = 10
    assert any(dots(line) for line in drawn(y)[:3])


def test_band_and_constant_and_nothing():
    curve = Curve(name="y", x=[1, 2], y=[1.0, 1.0], low=[0.0, 0.0], high=[2.0, 2.0])
    assert sum(bool(dots(line)) for line in chart([curve], width=30, height=5).plain.split("\n")) == 3
    assert drawn([2.0])[0] and dots("".join(drawn([2.0])))
    assert chart([Curve(name="y", x=[1, 2], y=[np.nan, np.nan])]).plain == ""
    assert chart([]).plain == ""
