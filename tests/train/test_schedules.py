"""Learning rates against values worked out by hand."""

from __future__ import annotations

import pytest

from regard.train import schedules
from regard.train.recipe import ScheduleConfig


def values(name: str, steps: int, **settings) -> list[float]:
    schedule = schedules.of(ScheduleConfig(name=name, **settings), steps)
    return [schedule(step) for step in range(steps)]


def test_constant():
    assert values("constant", 5, warmup=0.4) == [0.5, 1, 1, 1, 1]


def test_linear():
    # Two updates of warm-up, then from 1 in equal parts; the last update is one part, never nothing.
    assert values("linear", 6, warmup=1 / 3) == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])


def test_cosine():
    # No warm-up: cos at 0°, 60°, 120° mapped to (1 + cos) / 2, between a floor of 0.2 and 1.
    assert values("cosine", 3, warmup=0.0, floor=0.2) == pytest.approx([1.0, 0.2 + 0.8 * 0.75, 0.2 + 0.8 * 0.25])


def test_warmup_stable_decay():
    assert values("wsd", 8, warmup=0.25, decay=0.5) == pytest.approx([0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_inverse_square_root_is_the_paper_s():
    """Vaswani et al. 2017, eq. 3, at dim 7 and 4 warm-up steps."""
    dim, warmup, steps = 7, 4, 13
    paper = [dim**-0.5 * min(n**-0.5, n * warmup**-1.5) for n in range(1, steps + 1)]
    peak = (dim * warmup) ** -0.5
    ours = [peak * schedules.inverse_sqrt(step, warmup=warmup) for step in range(steps)]
    assert ours == pytest.approx(paper, rel=1e-12)
    assert max(paper) == pytest.approx(peak)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd", "inverse_sqrt"])
def test_no_update_is_without_effect(name):
    found = values(name, 17, warmup=0.2)
    assert all(0 < value <= 1 for value in found)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd", "inverse_sqrt"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_trainings_have_a_rate(name, steps):
    assert all(0 < value <= 1 for value in values(name, steps, warmup=0.5))
