"""How the learning rate moves: pure functions of the step.

Each takes `step`, the number of updates already made (0 for the first), and gives the factor on the peak rate for
the next one. Warm-up and decay are counted in updates. No update is ever made at rate 0 unless `floor` is reached by
asking for more than `steps` updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from regard.train.recipe import ScheduleConfig


def of(config: ScheduleConfig, steps: int) -> Callable[[int], float]:
    """The schedule that a recipe asks for; its shares of the training become whole updates here."""
    warmup, decay = round(config.warmup * steps), round(config.decay * steps)
    shapes: dict[str, Callable[[int], float]] = {
        "constant": lambda step: constant(step, warmup=warmup),
        "linear": lambda step: linear(step, steps=steps, warmup=warmup, floor=config.floor),
        "cosine": lambda step: cosine(step, steps=steps, warmup=warmup, floor=config.floor),
        "wsd": lambda step: wsd(step, steps=steps, warmup=warmup, decay=decay, floor=config.floor),
        "inverse_sqrt": lambda step: inverse_sqrt(step, warmup=warmup),
    }
    return shapes[config.name]


def constant(step: int, *, warmup: int) -> float:
    return rise(step, warmup)


def linear(step: int, *, steps: int, warmup: int, floor: float = 0.0) -> float:
    return rise(step, warmup) * (floor + (1 - floor) * (1 - progress(step, warmup, steps)))


def cosine(step: int, *, steps: int, warmup: int, floor: float = 0.0) -> float:
    return rise(step, warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress(step, warmup, steps))))


def wsd(step: int, *, steps: int, warmup: int, decay: int, floor: float = 0.0) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, MiniCPM, §4), the decay a straight line over the last `decay` updates."""
    return rise(step, warmup) * (floor + (1 - floor) * (1 - progress(step, steps - decay, steps)))


def inverse_sqrt(step: int, *, warmup: int) -> float:
    """The schedule of Vaswani et al. 2017, §5.3, eq. 3, divided by its peak: the paper's own rate is this factor on
    a peak rate of (dim · warmup)^-0.5.
    """
    update, warmup = step + 1, max(warmup, 1)
    return min(update / warmup, (warmup / update) ** 0.5)


def rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def progress(step: int, start: int, end: int) -> float:
    """How far `step` is from `start` to `end`: 0 at `start` and before, 1 at `end` and after."""
    return min(1.0, max(0.0, (step - start) / max(end - start, 1)))
