"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regard.errors import BadFileError, RegardError
from regard.ops.random import Key
from regard.tasks.base import Batch, Task
from regard.tasks.scores import LOWER_IS_BETTER, Result
from regard.train import checkpoint, machine, optimizers, schedules
from regard.train.ema import Average
from regard.train.feed import Feed, Place
from regard.train.progress import Watch
from regard.train.recipe import TrainConfig
from regard.train.run import Metrics, Run, versions
from regard.train.stop import Interrupted, Stop


@dataclass(frozen=True)
class Job:
    """What is trained: `score` is asked for the held-out result, with a function to call now and then."""

    config: TrainConfig
    model: nn.Module
    task: Task
    feed: Feed
    score: Callable[[nn.Module, Callable[[int], None]], Result] | None = None


@dataclass(frozen=True)
class State:
    """Where a training is, in integers and the best score; with the tensors of a checkpoint, all there is to know."""

    step: int = 0  # updates made
    place: Place = field(default_factory=Place)
    scored: int = 0  # the step of the last scoring
    best: float | None = None
    best_step: int | None = None
    worse: int = 0  # scorings since the best


Outcome = Literal["finished", "early", "stopped"]


def fit(job: Job, run: Run, watch: Watch, stop: Stop) -> tuple[Outcome, State]:
    """Train until the recipe's last step, or until scores get no better, or until asked to stop; from the newest
    checkpoint of the run if it has one. The caller holds the run's lock.
    """
    with machine.settled(job.config.machine), machine.recomputed(job.model, job.config.machine.recompute):
        training = Training(job, run, watch, stop)
        watch.begin(training.state.step, job.config.steps)
        try:
            while True:
                if training.scoring_due:
                    training.score()
                if training.saving_due:
                    training.save()
                if training.over:
                    return training.over, training.state
                training.update()
        except Interrupted:
            training.save()
            return "stopped", training.state
        finally:
            training.metrics.close()


class Training:
    """The model, its optimisers and where they are."""

    def __init__(self, job: Job, run: Run, watch: Watch, stop: Stop):
        self.job, self.run, self.watch, self.stop, self.config = job, run, watch, stop, job.config
        self.device = machine.device(job.config.machine)
        self.model = job.model.to(self.device).train()
        freeze(self.model, self.config.freeze)
        self.optimizers = optimizers.build(self.model, self.config.optimizer)
        self.schedule = schedules.of(self.config.schedule, self.config.steps)
        self.average = Average(self.model, self.config.average) if self.config.average else None
        self.key = Key(self.config.seed)
        self.state = State()
        self.saved = -1
        self.resume()
        self.metrics = Metrics(run)

    def update(self) -> None:
        """One step: forward and backward of each micro-batch, then the update, unless it is not finite."""
        began, step = time.perf_counter(), self.state.step
        batches = self.batches()
        count = sum(batch.count for batch in batches)
        key, total = self.key.at(step), torch.zeros((), device=self.device)
        try:
            for micro, batch in enumerate(batches):
                self.stop.poll()
                with machine.precision(self.config.machine):
                    loss = self.job.task.loss(self.model, batch.to(self.device), key.at(micro)) / count
                loss.backward()
                total += loss.detach()
            self.stop.poll()
        except Interrupted:
            self.optimizers.zero()
            raise
        loss, norm = total.item(), clip(self.optimizers.parameters, self.config.optimizer.clip).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.refuse(batches, loss, norm)
        factor = self.schedule(step)
        self.optimizers.step(factor)
        if self.average:
            self.average.update(self.model, step + 1)
        self.state = replace(self.state, step=step + 1, place=self.job.feed.after(self.state.place))
        line = {"step": step + 1, "epoch": self.state.place.epoch, "loss": loss, "targets": count}
        line |= {"tokens": sum(sum(batch.lengths) + sum(batch.source_lengths) for batch in batches)}
        line |= {"rate": self.config.optimizer.rate * factor, "gradient": norm}
        line |= {"seconds": round(time.perf_counter() - began, 4)}
        self.metrics.add(line)
        self.watch.update(line)

    def batches(self) -> list[Batch]:
        """The micro-batches of the next update; a batch in which nothing carries loss is passed over."""
        while not (batches := self.job.feed.batches(self.state.place)):
            self.stop.poll()
            self.state = replace(self.state, place=self.job.feed.after(self.state.place))
        return batches

    def refuse(self, batches: Sequence[Batch], loss: float, norm: float) -> None:
        """Stop before an update that would spoil the weights, and say on which examples."""
        self.optimizers.zero()
        ids = [number for batch in batches for number in batch.ids]
        step = self.state.step + 1
        self.run.note("not_finite", step=step, loss=str(loss), gradient=str(norm), ids=ids)
        places = ", ".join(self.job.feed.where(ids[:5])) + (", …" if len(ids) > 5 else "")
        good = self.run.checkpoints / checkpoint.name(self.saved)
        raise NotFinite("train.not_finite", step=step, loss=loss, norm=norm, ids=ids, where=places, good=good)

    @property
    def scoring_due(self) -> bool:
        step, every = self.state.step, self.config.evaluate.every
        if self.job.score is None or step == self.state.scored:
            return False
        return step == self.config.steps or (every > 0 and step % every == 0)

    def score(self) -> None:
        """Score the held-out data with the weights that would be kept, and remember whether they are the best yet."""
        assert self.job.score is not None
        began, state = time.perf_counter(), self.state
        self.model.eval()
        with machine.precision(self.config.machine), self.average.worn(self.model) if self.average else nullcontext():
            result = self.job.score(self.model, lambda done: self.stop.poll())
        self.model.train()
        value, state = result.primary.value, replace(state, scored=state.step)
        if better(value, state.best, lower=result.primary.name in LOWER_IS_BETTER):
            self.state = replace(state, best=value, best_step=state.step, worse=0)
        else:
            self.state = replace(state, worse=state.worse + 1)
        line = {"step": state.step, "held_out": result.to_dict()["scores"]}
        line |= {"seconds": round(time.perf_counter() - began, 4)}
        self.metrics.add(line)
        self.watch.score(line)

    @property
    def over(self) -> Outcome | None:
        patience = self.config.evaluate.patience
        if self.state.step >= self.config.steps:
            return "finished"
        return "early" if patience is not None and self.state.worse >= patience else None

    @property
    def saving_due(self) -> bool:
        state = self.state
        best = self.config.evaluate.best and state.best_step == state.step
        due = state.step % self.config.keep.every == 0 or best or self.over is not None
        return due and state.step != self.saved

    def save(self) -> None:
        """Write a checkpoint, then delete what the recipe does not keep."""
        if self.state.step == self.saved:
            return
        self.metrics.flush()
        files = {"model": weights(self.model), "optimizer": self.optimizers.state()}
        if not all(tensor.isfinite().all() for tensor in files["model"].values()):
            good = self.run.checkpoints / checkpoint.name(self.saved)
            raise NotFinite("train.weights_not_finite", step=self.state.step, good=good)
        if self.average:
            files["average"] = self.average.weights
        state = {**vars(self.state), "place": vars(self.state.place), "seed": self.config.seed}
        state |= {"threads": torch.get_num_threads(), "device": str(self.device), "versions": versions()}
        checkpoint.write(self.run.checkpoints, self.state.step, files, state)
        self.saved = self.state.step
        best = {self.state.best_step} if self.config.evaluate.best and self.state.best_step is not None else set()
        checkpoint.retain(self.run.checkpoints, self.config.keep.newest, best, self.watch.damaged)

    def resume(self) -> None:
        """Take up the newest whole checkpoint, if there is one, and take back the log lines written after it."""
        checkpoint.sweep(self.run.checkpoints)
        found = checkpoint.newest(self.run.checkpoints, self.watch.damaged)
        if found is None and any(self.run.checkpoints.glob("step-*")):
            raise BadFileError("train.none_whole", folder=self.run.checkpoints)
        if found:
            values = dict(found.state)
            place, made = Place(**values.pop("place")), {key: values.pop(key) for key in MADE}
            self.state, self.saved = State(**values, place=place), found.step
            restore(self.model, found.tensors("model"))
            self.optimizers.load(found.tensors("optimizer"))
            if self.average:
                self.average.weights = {k: v.to(self.device, copy=True) for k, v in found.tensors("average").items()}
            self.warn_if_moved(made)
        self.run.cut_metrics(self.state.step, self.state.scored)

    def warn_if_moved(self, made: dict[str, Any]) -> None:
        """Say so where what the last bit depends on is not what it was."""
        now = {"threads": torch.get_num_threads(), "device": str(self.device), **versions()}
        then = {"threads": made["threads"], "device": made["device"], **made["versions"]}
        moved = [f"{key}: {then.get(key)} → {now[key]}" for key in now if then.get(key) != now[key]]
        if moved:
            self.watch.say("train.moved", what="; ".join(moved))


MADE = ("seed", "threads", "device", "versions")  # what a checkpoint's state holds beside State


class NotFinite(RegardError):
    """The loss or the gradient is not finite; the weights are those of before."""


def better(value: float, best: float | None, *, lower: bool) -> bool:
    if not math.isfinite(value):
        return False
    return best is None or (value < best if lower else value > best)


def clip(parameters: Sequence[Tensor], most: float | None) -> Tensor:
    """Scale the gradient down to norm `most` where it is larger (Pascanu et al. 2013); the norm that it had."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if most is not None and math.isfinite(norm):
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Keep the parameters whose name matches a pattern as they are; a pattern that matches none is refused."""
    for pattern in patterns:
        found = [p for name, p in model.named_parameters() if fnmatchcase(name, pattern)]
        if not found:
            raise RegardError("train.freeze_nothing", pattern=pattern, near=next(iter(dict(model.named_parameters()))))
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise RegardError("train.freeze_all")


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that are kept, under the model's own names; a shared one stands once."""
    kept = set(model.state_dict())
    found = dict(model.named_parameters()) | {k: v for k, v in model.named_buffers() if k in kept}
    return {name: tensor.detach() for name, tensor in found.items()}


@torch.no_grad()
def restore(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy what `weights` gave into a model of the same shape; every name must fit."""
    own = weights(model)
    if own.keys() != tensors.keys() or any(own[name].shape != tensors[name].shape for name in own):
        raise BadFileError("train.other_model")
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
