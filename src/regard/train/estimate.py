"""What a training will need, said before its first step: memory, time and disk, and what would make it fit.

Weights, gradients and the optimisers' memory are counted from the model's shapes. Activations, and the operations that
a step takes, are counted by running the step on tensors without content (train/ledger.py). One small step on real ones
then tells what an operation costs on this machine, and what the process holds beside its tensors.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from regard import config, models
from regard.errors import RegardError
from regard.tasks.base import Batch
from regard.train import gauge, machine, optimizers, trial
from regard.train.feed import Feed, Place
from regard.train.ledger import Blank, Ledger
from regard.train.loop import freeze
from regard.train.progress import Watch
from regard.train.recipe import BatchConfig, Recipe, TrainConfig
from regard.train.setup import Setup
from regard.words import say

LOOK = 3  # batches whose operations are counted; a training's mean is near theirs
HEAP = 0.4  # of a step's new tensors: what a CPU's allocator is taken to lose on top, where it was not measured


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes at the moment of a step when most are held. `process` is what it holds beside its tensors; `heap` what
    its allocator holds between them.
    """

    process: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    heap: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())

    @property
    def fixed(self) -> int:
        """What no smaller batch makes smaller."""
        return self.total - self.activations - self.heap


@dataclass(frozen=True, kw_only=True)
class Time:
    """Seconds: of one update, of all, of all scorings of held-out data, of all saves. `tokens` in an update."""

    step: float
    steps: float
    scoring: float
    saving: float
    tokens: float

    @property
    def total(self) -> float:
        return self.steps + self.scoring + self.saving

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.step


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Settings under which it would fit: `memory` in bytes, and what a token then costs, 1.2 = a fifth more time."""

    changes: dict[str, str]
    memory: int
    cost: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """`available` memory is None where the system does not tell."""

    parameters: int
    trained: int
    memory: Memory
    available: int | None
    time: Time
    disk: int
    free: int
    remedies: tuple[Remedy, ...] = ()

    @property
    def fits(self) -> bool:
        return self.available is None or self.memory.total <= self.available

    @property
    def saves(self) -> bool:
        """Whether the disk holds what is kept."""
        return self.disk <= self.free


def estimate(setup: Setup, feed: Feed, folder: Path, available: int | None = None) -> Estimate:
    """The whole of it. `folder` is where the run will be; `available`: of a machine with so much memory instead."""
    settings, train = setup.recipe, setup.recipe.train
    model, prepared = laid_out(setup), gauge.most() or 0
    rates = calibrate(setup, feed, model)
    memory = needs(setup, feed, rates.process, rates.heap)
    if train.machine.device == "cpu":  # what reading the data and training a tokenizer took may have been more
        memory = replace(memory, process=memory.process + max(prepared - memory.total, 0))
    updates = typical(feed)
    works = [passes(model, setup, batches, train).work for batches in updates]
    tokens = statistics.mean(map(_tokens, updates))
    step = statistics.mean(works) * rates.operation + rates.rest
    disk = on_disk(model, settings)
    saves = train.steps // train.keep.every + 2
    found = Estimate(
        parameters=count(model),
        trained=trained(model),
        memory=memory,
        available=gauge.available(train.machine.device) if available is None else available,
        time=Time(
            step=step,
            steps=step * train.steps,
            scoring=rates.scoring * scorings(train),
            saving=saves * one_checkpoint(model, train) / gauge.disk_speed(folder),
            tokens=tokens,
        ),
        disk=disk,
        free=gauge.free_disk(folder),
    )
    if found.fits:
        return found
    assert found.available is not None
    return replace(found, remedies=tuple(remedies(setup, feed, found.available, rates.process, rates.heap)))


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What was measured. `process`: bytes held beside tensors. `heap`: what is lost between them, as a share of a
    step's. `operation`: seconds of one; `rest`: of an update beside its passes, the optimisers' step and the reading
    of its data; `scoring`: of one scoring.
    """

    process: int
    heap: float
    operation: float
    rest: float
    scoring: float


def calibrate(setup: Setup, feed: Feed, model: nn.Module) -> Rates:
    """What small steps of this model take here, or of a shallower one where the whole would be too large."""
    train, small = setup.recipe.train, shallow(setup, model)
    part = laid_out(small)
    measured = trial.measure(small, feed, lambda batch: passes(part, small, [batch], train))
    process = measured.resident - 4 * (count(part) + remembered(part, train))
    return Rates(
        process=max(process, 0),
        heap=max(measured.grown - measured.resident - measured.largest, 0) / measured.largest,
        operation=measured.operation,
        rest=measured.finish * trained(model) / trained(part) + measured.reading,
        scoring=measured.scoring * count(model) / count(part),
    )


def shallow(setup: Setup, model: nn.Module) -> Setup:
    """The same with fewer layers if the whole model would take more than a quarter of the memory."""
    room = gauge.available(setup.recipe.train.machine.device)
    if room is None or 16 * count(model) < room / 4 or not hasattr(setup.model, "depth"):
        return setup
    return replace(setup, model=replace(setup.model, depth=1), base=None)


# --------------------------------------------------------------------------------------------------------- closed forms


def laid_out(setup: Setup) -> nn.Module:
    """The model without content, its frozen parameters frozen."""
    model = models.empty(setup.model).train()
    freeze(model, setup.recipe.train.freeze)
    return model


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def trained(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def remembered(model: nn.Module, train: TrainConfig) -> int:
    """Numbers that the optimisers keep: two for each parameter of AdamW's, one for each of Muon's."""
    found = 0
    for part in optimizers.sort(model, train.optimizer):
        found += (1 if part.matrices else 2) * sum(model.get_parameter(name).numel() for name in part.names)
    return found


def needs(setup: Setup, feed: Feed, process: int, heap: float = HEAP) -> Memory:
    """What a step takes at most, on the heaviest batches of an epoch."""
    model, train = laid_out(setup), setup.recipe.train
    gradients = 4 * trained(model)
    most = max(passes(model, setup, batches, train).peak for batches in heaviest(feed))
    most = max(most, gradients + muon_peak(model, train))
    return Memory(
        process=process,
        weights=4 * count(model),
        gradients=gradients,
        optimizer=4 * remembered(model, train),
        average=4 * trained(model) if train.average is not None else 0,
        activations=max(most - gradients, 0),
        heap=round(heap * most) if train.machine.device == "cpu" else 0,
    )


def one_checkpoint(model: nn.Module, train: TrainConfig) -> int:
    average = trained(model) if train.average is not None else 0
    return 4 * (count(model) + remembered(model, train) + average)


def on_disk(model: nn.Module, recipe: Recipe) -> int:
    """The checkpoints that are kept, the one being written beside them, and the finished model."""
    best = recipe.train.evaluate.best and bool(recipe.data.held_out or recipe.data.share)
    return (recipe.train.keep.newest + best + 1) * one_checkpoint(model, recipe.train) + 4 * count(model)


def scorings(train: TrainConfig) -> int:
    every = train.evaluate.every
    return train.steps // every + (train.steps % every > 0) if every else 1


# -------------------------------------------------------------------------------------------------------- counted steps


def passes(model: nn.Module, setup: Setup, batches: Sequence[Batch], train: TrainConfig) -> Ledger:
    """The ledger of the forward and backward passes of one update of a model without content."""
    targets = sum(batch.count for batch in batches)
    with machine.recomputed(model, train.machine.recompute), Ledger() as ledger:
        for batch in batches:
            loss = setup.task.loss(model, batch.to("meta"), Blank(0)) / targets
            loss.backward()
            del loss
    model.zero_grad(set_to_none=True)
    if train.machine.precision == "bfloat16":  # what the products take is half as wide; each weight has a narrow copy
        gradients = 4 * trained(model)
        ledger.peak = gradients + max(ledger.peak - gradients, 0) // 2 + 2 * count(model)
    return ledger


def muon_peak(model: nn.Module, train: TrainConfig) -> int:
    """Bytes of Muon's intermediate results, beside the gradients and its memory."""
    names = [name for part in optimizers.sort(model, train.optimizer) if part.matrices for name in part.names]
    if not names:
        return 0
    matrices = [model.get_parameter(name) for name in names]
    muon = optimizers.Muon([{"params": matrices, "weight_decay": 0.0}], momentum=train.optimizer.momentum)
    for matrix in matrices:
        muon.state[matrix]["momentum"] = torch.empty_like(matrix)
        matrix.grad = torch.empty_like(matrix)
    with Ledger() as ledger:
        muon.step()
    model.zero_grad(set_to_none=True)
    return ledger.peak


def under(feed: Feed, config: BatchConfig) -> Feed:
    """The same data in other batches."""
    return Feed(feed.task, feed.rows, config, seed=feed.seed, augment=feed.augment, counts=feed.counts)


def typical(feed: Feed) -> list[list[Batch]]:
    """A few updates, evenly out of an epoch."""
    total = len(feed.plan(0))
    few = min(LOOK, total)
    found = [feed.batches(Place(0, (2 * number + 1) * total // (2 * few))) for number in range(few)]
    return [batches for batches in found if batches]


def heaviest(feed: Feed) -> Iterator[list[Batch]]:
    """The micro-batches of an epoch that may need the most memory: those of most tokens, and of the longest samples.

    Twice each where there are several: the second then meets the gradients of the first, as in an update.
    """
    plan = feed.plan(0)
    for power in (1, 2):
        weights = [int((feed.size[ids] ** power).sum()) for ids in plan]
        cut_up = feed.batches(Place(0, weights.index(max(weights))))
        if cut_up:
            most = max(cut_up, key=lambda batch: int((feed.size[list(batch.ids)] ** power).sum()))
            yield [most] * min(len(cut_up), 2)


def _tokens(batches: Sequence[Batch]) -> int:
    return sum(sum(batch.lengths) + sum(batch.source_lengths) for batch in batches)


# ----------------------------------------------------------------------------------------------- what would make it fit


def remedies(setup: Setup, feed: Feed, available: int, process: int, heap: float = HEAP) -> list[Remedy]:
    """Of each kind of setting that saves memory the mildest value under which the training fits, cheapest first."""
    before, found = _cost(setup, feed), []
    for ladder in _ladders(setup.recipe, most=len(feed.plan(0)[0])):
        for changes in ladder:
            changed = replace(setup, recipe=config.override(setup.recipe, changes))
            other = under(feed, changed.recipe.train.batch)
            memory = needs(changed, other, process, heap).total
            if memory <= available:
                found.append(Remedy(changes=changes, memory=memory, cost=_cost(changed, other) / before))
                break
    return sorted(found, key=lambda remedy: remedy.cost)


def _ladders(recipe: Recipe, most: int) -> Iterator[list[dict[str, str]]]:
    """For each kind of setting its values, each saving more memory than the one before."""
    train, twice = recipe.train, {"train.machine.recompute": "true"}
    parts = [train.batch.accumulate * 2**power for power in range(1, 12) if train.batch.accumulate * 2**power <= most]
    accumulate = [{"train.batch.accumulate": str(count)} for count in parts]
    yield accumulate
    if not train.machine.recompute:
        yield [twice, *({**twice, **changes} for changes in accumulate)]
    tokens = [train.batch.tokens >> power for power in range(1, 12)]
    yield [{"train.batch.tokens": str(size)} for size in tokens if size >= 64]
    if train.machine.precision == "float32" and machine.has_bfloat16(machine.device(train.machine)):
        yield [{"train.machine.precision": "bfloat16"}]


def _cost(setup: Setup, feed: Feed) -> float:
    """Work for a token."""
    batches = typical(feed)[0]
    return passes(laid_out(setup), setup, batches, setup.recipe.train).work / _tokens(batches)


def check_beforehand(setup: Setup, feed: Feed, watch: Watch) -> None:
    """At the start of a training: refuse one for which no batch is small enough, warn of one that will not fit."""
    process, device = gauge.resident(), setup.recipe.train.machine.device
    available = gauge.available(device)
    if process is None or available is None:
        return
    try:
        memory = needs(setup, feed, process if device == "cpu" else 0)
    except (RuntimeError, NotImplementedError) as error:  # an operation that is unknown for tensors without content
        watch.say("train.not_estimated", why=str(error).split("\n")[0])
        return
    if memory.total <= available:
        return
    sizes = {"want": size(memory.total), "have": size(available)}
    if memory.fixed > available + gauge.swap():
        raise RegardError("train.too_large", fixed=size(memory.fixed), have=sizes["have"])
    found = remedies(setup, feed, available, memory.process)
    changes = say("train.or").join(sets(remedy.changes) for remedy in found)
    watch.say("train.little_memory" if found else "train.little_memory_model", **sizes, changes=changes)


def sets(changes: dict[str, str]) -> str:
    """Settings as they are typed."""
    return " ".join(f"--set {key}={value}" for key, value in changes.items())


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
