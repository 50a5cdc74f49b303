"""A recipe's model at work outside a run: a few real steps, to be timed or looked at. Nothing is kept."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from regard.ops.random import Key
from regard.tasks.base import Batch
from regard.train import gauge, machine, optimizers
from regard.train.feed import Feed, Place
from regard.train.ledger import Ledger
from regard.train.loop import clip, freeze
from regard.train.setup import Setup, some

PASS = 0.8  # seconds that a timed pass may take
PASSES = 6  # over unlike batches: the median of their times counts, and memory has grown as far as it does
ROWS = 8  # of the held-out data that are scored to see how long it takes


class Trial:
    """The model of a setup and its optimisers, ready for steps."""

    def __init__(self, setup: Setup):
        self.setup, self.config = setup, setup.recipe.train
        self.device = machine.device(self.config.machine)
        model, _ = setup.build()
        self.model = model.to(self.device).train()
        freeze(self.model, self.config.freeze)
        self.optimizers = optimizers.build(self.model, self.config.optimizer)
        self.key = Key(self.config.seed)

    def learn(self, batches: Sequence[Batch], step: int, factor: float) -> float:
        """One update at `factor` of the peak rate, as a training makes it; its loss."""
        count = sum(batch.count for batch in batches)
        loss = sum(self.forth_and_back(batch, count, self.key.at(step).at(i)) for i, batch in enumerate(batches))
        self.finish(factor)
        return loss

    def forth_and_back(self, batch: Batch, count: int, key: Key) -> float:
        """The passes of one micro-batch, whose gradients are added to those that there are; its part of the loss."""
        with machine.precision(self.config.machine):
            loss = self.setup.task.loss(self.model, batch.to(self.device), key) / count
        loss.backward()
        return loss.item()

    def finish(self, factor: float) -> None:
        clip(self.optimizers.parameters, self.config.optimizer.clip)
        self.optimizers.step(factor)

    def timed(self, work: Callable[[], object]) -> float:
        """Seconds until the device has done it."""
        began = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - began


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds of one operation of the passes, of what ends an update, of reading a batch, of a scoring.

    resident  bytes that the process holds once everything that a step wants is loaded
    grown     bytes that it held at most in the passes
    largest   the most that the ledger counts in one of them
    """

    operation: float
    finish: float
    reading: float
    scoring: float
    resident: int
    grown: int
    largest: int


def measure(setup: Setup, feed: Feed, count: Callable[[Batch], Ledger]) -> Measured:
    """Time a few passes, each over as much of a micro-batch as takes a moment. `count`: the ledger of one."""
    with machine.settled(setup.recipe.train.machine):
        trial = Trial(setup)
        with machine.recomputed(trial.model, trial.config.machine.recompute):
            key = trial.key.at(0)
            batches = some_of(feed, PASSES)
            first = part_of(feed, batches[0], 1)
            seconds = [trial.timed(lambda: trial.forth_and_back(first, first.count, key)) for _ in range(3)]
            trial.finish(0.0)
            resident = gauge.resident() or 0
            gauge.forget()
            room = PASS / max(min(seconds) / count(first).work, 1e-15)
            rates, ends, largest = [], [], 0
            for batch in batches:
                batch = fitting(feed, batch, room, count)
                ledger = count(batch)
                rates.append(
                    trial.timed(lambda batch=batch: trial.forth_and_back(batch, batch.count, key)) / ledger.work
                )
                ends.append(trial.timed(lambda: trial.finish(0.0)))
                largest = max(largest, ledger.peak)
            return Measured(
                operation=statistics.median(rates),
                finish=statistics.median(ends),
                reading=statistics.median(
                    trial.timed(lambda place=place: feed.batches(place)) for place in places(feed)
                ),
                scoring=_scoring(trial),
                resident=resident,
                grown=gauge.most() or 0,
                largest=largest,
            )


def some_of(feed: Feed, number: int) -> list[Batch]:
    """So many micro-batches, evenly out of the first epoch."""
    found = []
    for place in places(feed, number):
        cut_up = feed.batches(place)
        found += [cut_up[place.number % len(cut_up)]] if cut_up else []
    return found


def part_of(feed: Feed, batch: Batch, samples: int) -> Batch:
    """So many of a batch's samples, evenly out of it: long ones and short ones."""
    ids = [batch.ids[i * len(batch.ids) // samples] for i in range(samples)]
    found = [(number, feed.sample(number, 0)) for number in ids]
    present = [(number, sample) for number, sample in found if sample is not None]
    return feed.task.collate([sample for _, sample in present], [number for number, _ in present])


def fitting(feed: Feed, batch: Batch, room: float, count: Callable[[Batch], Ledger]) -> Batch:
    """As much of a batch as costs no more than `room`; at least one sample."""
    whole = count(batch).work
    return batch if whole <= room else part_of(feed, batch, max(math.floor(len(batch.ids) * room / whole), 1))


def places(feed: Feed, number: int = 3) -> list[Place]:
    """So many places of the first epoch."""
    total = len(feed.plan(0))
    return [Place(0, (2 * each + 1) * total // (2 * number)) for each in range(number)]


def _scoring(trial: Trial) -> float:
    """Seconds of one scoring: those of a few rows, times how many there are."""
    setup = trial.setup
    if setup.held_out is None:
        return 0.0
    chosen = some(setup.held_out, trial.config.evaluate.rows, setup.recipe.data.seed)
    count = min(ROWS, len(chosen))
    rows = [chosen[number * len(chosen) // count] for number in range(count)]
    trial.model.eval()
    seconds = trial.timed(lambda: setup.task.evaluate(trial.model, rows))
    trial.model.train()
    return seconds * len(chosen) / count
