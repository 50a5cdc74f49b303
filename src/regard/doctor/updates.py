"""One real update of a copy, by the training loop and the recipe's own optimiser."""

from __future__ import annotations

import copy
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from regard import models
from regard.doctor import surroundings
from regard.doctor.finding import Verdict, bad, doubtful, good
from regard.doctor.masks import REINSTALL
from regard.doctor.subject import Subject
from regard.ops.random import Key
from regard.tasks.base import Batch, Task
from regard.train.feed import Feed
from regard.train.loop import Job, Training
from regard.train.progress import Silent
from regard.train.recipe import BatchConfig, OptimizerConfig
from regard.train.run import Run
from regard.train.stop import Stop

ALIKE = 1e-6  # of the gradient's norm: what summing in another order changes
FAR = 1e-4
COPIES = 5  # of the weights: the copy, its gradient, two moments, and what is compared


def moved(subject: Subject) -> Verdict:
    """After one update every tensor that trains is another, and every frozen one the same to the bit."""
    if (full := _too_large(subject)) is not None:
        return full
    model = copy.deepcopy(subject.model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    patterns = subject.recipe.train.freeze
    family = models.empty(subject.model.config)
    fixed = {name for name, parameter in family.named_parameters() if not parameter.requires_grad}
    with _training(subject, model) as training:
        training.update()
    after = {name: parameter.detach().cpu() for name, parameter in training.model.named_parameters()}
    frozen = {name for name in before if name in fixed or any(fnmatchcase(name, pattern) for pattern in patterns)}
    still = [name for name in before if torch.equal(before[name].cpu(), after[name])]
    melted = sorted(frozen - set(still))
    stuck = [name for name in still if name not in frozen and not _ignored_by_softmax(name)]
    if melted:
        return bad("doctor.moved.frozen", REINSTALL, names=_some(melted), count=len(melted))
    if stuck and len(stuck) == len(before) - len(frozen):
        return bad("doctor.moved.none", f"{subject.again} --set train.optimizer.rate=1e-3")
    if felt := [name for name in stuck if _used(subject, name)]:
        return bad("doctor.moved.stuck", REINSTALL, names=_some(felt), count=len(felt), of=len(before))
    if stuck:
        command = f"{subject.again} --set {shlex.quote('train.freeze=' + ','.join(stuck))}"
        return doubtful("doctor.moved.unused", command, names=_some(stuck), count=len(stuck), of=len(before))
    return good("doctor.moved.ok", count=len(before) - len(frozen), frozen=len(frozen))


def accumulated(subject: Subject) -> Verdict:
    """The gradient of a batch is the same whole and cut into micro-batches of uneven size."""
    if (full := _too_large(subject)) is not None:
        return full
    parts = min(3, len(subject.rows))
    whole, cut = (_gradient(subject, count) for count in (1, parts))
    norm = max(float(torch.cat([g.flatten() for g in whole.values()]).norm()), 1e-12)
    apart = max(float((whole[name] - cut[name]).norm()) for name in whole) / norm
    if not apart <= FAR:
        return bad("doctor.accumulated.bad", REINSTALL, apart=apart, parts=parts)
    if apart > ALIKE * 10:
        again = f"regard doctor {subject.quoted} --device cpu --threads 1"
        return doubtful("doctor.numbers.rounding", again, apart=apart, usual=ALIKE)
    return good("doctor.accumulated.ok", apart=apart, parts=parts)


@dataclass
class Kept:
    """Stands where the optimisers stand and keeps the gradient that they would have had."""

    names: dict[Tensor, str]

    def __post_init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.names)

    def step(self, factor: float) -> None:
        self.gradients = {name: p.grad.detach().cpu() for p, name in self.names.items() if p.grad is not None}
        self.zero()

    def zero(self) -> None:
        for parameter in self.names:
            parameter.grad = None


class Undropped:
    """The task with nothing dropped, so that what is compared does not hang on how a batch is cut."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def loss(self, model: Any, batch: Batch, key: Key | None) -> Tensor:
        return self._task.loss(model, batch, None)


def _gradient(subject: Subject, parts: int) -> dict[str, Tensor]:
    assert subject.task is not None
    still: Any = Undropped(subject.task)
    with _training(replace(subject, task=still), copy.deepcopy(subject.model), parts) as training:
        training.model.eval()
        kept = Kept({p: name for name, p in training.model.named_parameters() if p.requires_grad})
        training.optimizers = kept  # type: ignore[assignment]
        training.update()
    return kept.gradients


@contextmanager
def _training(subject: Subject, model: Any, parts: int = 1) -> Iterator[Training]:
    """The recipe's training of `model` on the short rows, all in one batch cut into `parts`, in a folder that goes."""
    assert subject.task is not None
    batch = BatchConfig(tokens=sum(sample.size for sample in subject.samples) + 1, accumulate=parts)
    optimizer = subject.recipe.train.optimizer if subject.kind != "model" else OptimizerConfig()
    machine = replace(subject.recipe.train.machine, device=str(subject.device), tensorboard=False)
    config = replace(subject.recipe.train, batch=batch, optimizer=optimizer, machine=machine)
    feed = Feed(subject.task, subject.rows, batch, seed=config.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(f"{folder}/run", subject.recipe)
        training = Training(Job(config, model, subject.task, feed), run, Silent(), Stop())
        try:
            yield training
        finally:
            training.metrics.close()


def _too_large(subject: Subject) -> Verdict | None:
    size = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    free = surroundings.memory()
    if free is not None and size * COPIES > free and subject.device.type == "cpu":
        command = f"{subject.again} --set train.machine.recompute=true --set train.batch.accumulate=4"
        return doubtful("doctor.moved.memory", command, need=size * COPIES >> 20, free=free >> 20)
    return None


@torch.no_grad()
def _used(subject: Subject, name: str) -> bool:
    """Whether the loss changes with the parameter."""
    assert subject.task is not None
    parameter = subject.model.get_parameter(name)
    kept, before = parameter.clone(), float(subject.task.loss(subject.model, subject.batch, None))
    try:
        # Drawn, for a norm before it takes away what all its inputs have alike.
        noise = torch.empty_like(parameter).normal_(generator=Key(1).generator(parameter.device))
        parameter.add_(noise)
        return float(subject.task.loss(subject.model, subject.batch, None)) != before
    finally:
        parameter.copy_(kept)


def _ignored_by_softmax(name: str) -> bool:
    """A bias of the keys adds the same to all scores of a query, and a softmax takes that away: its gradient is 0."""
    return name.endswith("attention.k.bias")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
