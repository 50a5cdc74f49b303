"""Settings found by trying: the micro-batch that a machine holds and likes best, and the learning rate. No run's folder
is touched.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from regard import config, limits
from regard.errors import RegardError
from regard.tasks.base import Batch
from regard.train import gauge, machine
from regard.train.estimate import needs, under
from regard.train.feed import Feed, Place
from regard.train.recipe import located
from regard.train.setup import Setup
from regard.train.stop import Stop
from regard.train.trial import Trial

# ------------------------------------------------------------------------------------------------------ the micro-batch

SECONDS = 90.0  # that the search may take, but for the size that is being tried
SLOWER = 0.9  # two sizes in a row below this share of the fastest end it
ALIKE = 0.97  # of two sizes that are about as fast the smaller is taken: it needs less memory


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A micro-batch of at most `tokens` tokens: tokens a second and the process's memory; None where it did not fit."""

    tokens: int
    speed: float | None
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class BatchFound:
    tried: tuple[Tried, ...]
    fastest: Tried
    largest: Tried
    accumulate: int  # micro-batches under which the recipe's batch is cut into ones of the fastest size


def find_batch(
    setup: Setup,
    feed: Feed,
    *,
    available: int | None = None,
    stop: Stop | None = None,
    tell: Callable[[Tried], None] = lambda tried: None,
) -> BatchFound:
    """Try micro-batches of growing size with real steps in another process, so that one too large ends only that.

    `available`: bytes of memory to be content with, None for what the machine has left.
    """
    recipe, most = setup.recipe, available or gauge.available(setup.recipe.train.machine.device)
    found, began = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for tried in _probed(setup, sizes(setup, feed, most), Path(folder), most, stop or Stop()):
            found.append(tried)
            tell(tried)
            if tried.speed is None or _slower(found) or time.monotonic() - began > SECONDS:
                break
    fitting = [tried for tried in found if tried.speed is not None]
    if not fitting:
        raise RegardError("train.nothing_fits", tokens=found[0].tokens if found else 0)
    best = max(tried.speed or 0.0 for tried in fitting)
    fastest = next(tried for tried in fitting if (tried.speed or 0.0) >= ALIKE * best)
    return BatchFound(
        tried=tuple(found),
        fastest=fastest,
        largest=fitting[-1],
        accumulate=max(math.ceil(recipe.train.batch.tokens / fastest.tokens), 1),
    )


def sizes(setup: Setup, feed: Feed, available: int | None) -> list[int]:
    """Doubling from the longest sample to all the data, as far as closed forms do not rule it out."""
    size, found = 2 ** math.ceil(math.log2(max(int(feed.size.max()), 64))), []
    while size < 2 * feed.tokens or not found:
        if available is not None and found:
            batch = replace(setup.recipe.train.batch, tokens=size, accumulate=1)
            if needs(setup, under(feed, batch), 0, 0.0).total > available:
                break
        found.append(size)
        size *= 2
    return found


def _probed(setup: Setup, wanted: list[int], folder: Path, most: int | None, stop: Stop) -> Iterator[Tried]:
    """What a process of its own finds for each size; the size at which it died is one that does not fit."""
    recipe = replace(located(setup.recipe), base=None)
    limits.write(folder / "recipe.toml", config.to_toml(recipe))
    setup.tokenizer.save(folder / "tokenizer")
    arguments = [str(folder), str(most or 0), *map(str, wanted)]
    process = subprocess.Popen(
        [sys.executable, "-m", "regard.train.probe", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout is not None
    try:
        for size in wanted:
            line = process.stdout.readline()
            stop.poll()
            yield Tried(**json.loads(line)) if line.strip() else Tried(tokens=size, speed=None, memory=None)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _slower(found: list[Tried]) -> bool:
    speeds = [tried.speed or 0.0 for tried in found]
    return len(speeds) > 2 and max(speeds[-2:]) < SLOWER * max(speeds)


# ---------------------------------------------------------------------------------------------------- the learning rate

UPDATES = 100
RATES = 1e-6, 1.0
SMOOTHING = 0.9
DIVERGED = 4.0  # times the lowest loss
STEPS_BELOW = 10.0  # the rate that is suggested lies so many times below that of the lowest loss


@dataclass(frozen=True, kw_only=True)
class RateFound:
    """The loss at each rate, and smoothed. `steepest`: where it fell fastest; `lowest`: where it was least."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    lowest: float
    suggested: float


def find_lr(
    setup: Setup,
    feed: Feed,
    *,
    updates: int = UPDATES,
    stop: Stop | None = None,
    tell: Callable[[int, float, float], None] = lambda step, rate, loss: None,
) -> RateFound:
    """Train from the recipe's start while the rate grows, until the loss leaves (Smith 2017, section 3.3).

    What is suggested is a tenth of the rate at which the smoothed loss was lowest: there it begins to leave.
    """
    low, high = RATES
    rates = [low * (high / low) ** (step / (updates - 1)) for step in range(updates)]
    losses, smoothed, average = [], [], 0.0
    train = replace(setup.recipe.train, optimizer=replace(setup.recipe.train.optimizer, rate=1.0))
    with machine.settled(train.machine):
        trial = Trial(replace(setup, recipe=replace(setup.recipe, train=train)))
        with machine.recomputed(trial.model, train.machine.recompute):
            for step, batches in zip(range(updates), _batches(feed), strict=False):
                (stop or Stop()).poll()
                loss = trial.learn(batches, step, rates[step])
                average = SMOOTHING * average + (1 - SMOOTHING) * loss
                losses.append(loss)
                smoothed.append(average / (1 - SMOOTHING ** (step + 1)))
                tell(step + 1, rates[step], loss)
                if not math.isfinite(loss) or smoothed[-1] > DIVERGED * min(smoothed):
                    break
    return judged(rates[: len(losses)], losses, smoothed)


def judged(rates: list[float], losses: list[float], smoothed: list[float]) -> RateFound:
    """What the curve says."""
    sound = [value for value in smoothed if math.isfinite(value)]
    if len(sound) < 5:
        raise RegardError("train.no_rate", rate=rates[0])
    least = int(np.argmin(sound))
    slopes = np.gradient(sound[: max(least + 1, 3)], np.log(rates[: max(least + 1, 3)]))
    lowest = rates[least]
    return RateFound(
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        steepest=rates[int(np.argmin(slopes))],
        lowest=lowest,
        suggested=float(f"{lowest / STEPS_BELOW:.1g}"),
    )


def _batches(feed: Feed) -> Iterator[list[Batch]]:
    """The batches of a training, without end."""
    place = Place()
    while True:
        batches = feed.batches(place)
        place = feed.after(place)
        if batches:
            yield batches
