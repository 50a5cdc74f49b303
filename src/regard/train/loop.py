"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regard.errors import BadFileError, RegardError
from regard.ops.random import Key
from regard.tasks.base import Task
from regard.tasks.scores import LOWER_IS_BETTER, Result
from regard.train import checkpoint, engine, machine, optimizers, schedules
from regard.train.ema import Average
from regard.train.feed import Feed, Parts, Place, ahead
from regard.train.pieces import full, mine, put
from regard.train.progress import Watch
from regard.train.ranks import ALONE, Ranks
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


def fit(job: Job, run: Run, watch: Watch, stop: Stop, ranks: Ranks = ALONE) -> tuple[Outcome, State]:
    """Train until the recipe's last step, or until scores get no better, or until asked to stop; from the newest
    checkpoint of the run if it has one. Every rank comes here with the like job; the first holds the run's lock, and
    it alone writes, but for the parts of a checkpoint.
    """
    settings = job.config.machine
    with machine.settled(settings):
        training = Training(job, run, watch, stop, ranks)
        recomputed, data = machine.recomputed(training.model, settings.recompute), training.data(settings.workers)
        with recomputed, data as training.fetch:
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

    def __init__(self, job: Job, run: Run, watch: Watch, stop: Stop, ranks: Ranks = ALONE):
        self.job, self.run, self.watch, self.stop, self.config = job, run, watch, stop, job.config
        self.ranks, self.parts = ranks, ranks.share(self.config.batch.accumulate)
        ranks.check(self.config.batch)
        self.device = machine.device(job.config.machine)
        freeze(job.model.train(), self.config.freeze)
        self.engine = engine.build(job.model, job.task, self.config.machine, ranks)
        self.model = self.engine.model
        self.optimizers = optimizers.build(self.model, self.config.optimizer)
        self.schedule = schedules.of(self.config.schedule, self.config.steps)
        self.average = Average(self.model, self.config.average) if self.config.average else None
        self.key = Key(self.config.seed)
        self.state = State()
        self.saved = -1
        self.resume()
        self.metrics = Metrics(run) if ranks.leads else Unwritten()
        self.fetch: Callable[[Place], Parts] = lambda place: job.feed.parts(place, self.parts)

    def data(self, workers: int) -> AbstractContextManager[Callable[[Place], Parts]]:
        """What `fetch` may be replaced by: the same, encoded by so many threads ahead of time."""
        return ahead(self.job.feed, self.parts, workers)

    def update(self) -> None:
        """One step: forward and backward of each micro-batch, then the update, unless it is not finite."""
        began, step = time.perf_counter(), self.state.step
        parts, count, tokens = self.batch()
        key, total = self.key.at(step), torch.zeros((), device=self.device)
        try:
            for number, batch, weight in self.engine.rounds(parts, lambda: self.job.feed.some(self.state.place)):
                self.poll()
                with machine.precision(self.config.machine):
                    loss = self.engine.loss(batch.to(self.device), key.at(number)) / count * weight
                loss.backward()
                total += loss.detach()
            self.poll()
        except Interrupted:
            self.optimizers.zero()
            raise
        (loss,) = self.ranks.sum(total.item())
        norm = clip(self.optimizers.parameters, self.config.optimizer.clip).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.refuse(loss, norm)
        factor = self.schedule(step)
        self.optimizers.step(factor)
        if self.average:
            self.average.update(self.model, step + 1)
        self.state = replace(self.state, step=step + 1, place=self.job.feed.after(self.state.place))
        line = {"step": step + 1, "epoch": self.state.place.epoch, "loss": loss, "targets": count}
        line |= {"tokens": tokens, "rate": self.config.optimizer.rate * factor, "gradient": norm}
        line |= {"seconds": round(time.perf_counter() - began, 4)}
        self.metrics.add(line)
        self.watch.update(line)

    def batch(self) -> tuple[Parts, int, int]:
        """This rank's micro-batches of the next update, and the targets and tokens in the whole of it.

        A batch in which nothing carries loss is passed over.
        """
        while True:
            parts = self.fetch(self.state.place)
            here = [batch for _, batch in parts if batch is not None]
            sizes = [sum(batch.lengths) + sum(batch.source_lengths) for batch in here]
            count, tokens = self.ranks.sum(sum(batch.count for batch in here), sum(sizes))
            if count:
                return parts, int(count), int(tokens)
            self.poll()
            self.state = replace(self.state, place=self.job.feed.after(self.state.place))

    def poll(self) -> None:
        """Stop here, on every rank, if one was asked to."""
        if self.ranks.any(self.stop.asked):
            raise Interrupted

    def refuse(self, loss: float, norm: float) -> None:
        """Stop before an update that would spoil the weights, and say on which examples."""
        self.optimizers.zero()
        ids = [number for batch in self.job.feed.batches(self.state.place) for number in batch.ids]
        step = self.state.step + 1
        if self.ranks.leads:
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
        began, state, found = time.perf_counter(), self.state, []

        def ask() -> float:
            assert self.job.score is not None
            found.append(self.job.score(whole.eval(), lambda done: self.stop.poll()))
            return found[0].primary.value

        self.model.eval()
        with machine.precision(self.config.machine), self.average.worn(self.model) if self.average else nullcontext():
            whole = self.engine.whole()
            value = self.ranks.led(ask)
        self.model.train()
        state = replace(state, scored=state.step)
        if better(value, state.best, lower=self.job.task.primary in LOWER_IS_BETTER):
            self.state = replace(state, best=value, best_step=state.step, worse=0)
        else:
            self.state = replace(state, worse=state.worse + 1)
        for result in found:  # on the rank that scored
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
        self.engine.check()
        self.metrics.flush()
        files = {"model": weights(self.model), "optimizer": self.optimizers.state()}
        if self.ranks.any(not all(mine(tensor).isfinite().all() for tensor in files["model"].values())):
            good = self.run.checkpoints / checkpoint.name(self.saved)
            raise NotFinite("train.weights_not_finite", step=self.state.step, good=good)
        if self.average:
            files["average"] = self.average.weights
        state = {**vars(self.state), "place": vars(self.state.place), "seed": self.config.seed, **self.made()}
        if self.engine.writers:
            checkpoint.write(self.run.checkpoints, self.state.step, files, state, self.engine.writers)
        self.saved = self.state.step
        best = {self.state.best_step} if self.config.evaluate.best and self.state.best_step is not None else set()
        if self.ranks.leads:
            checkpoint.retain(self.run.checkpoints, self.config.keep.newest, best, self.watch.damaged)

    def resume(self) -> None:
        """Take up the newest whole checkpoint, if there is one, and take back the log lines written after it."""
        if found := self.newest():
            values = dict(found.state)
            place, then = Place(**values.pop("place")), {key: values.pop(key, None) for key in MADE}
            self.state, self.saved = State(**values, place=place), found.step
            restore(self.model, found.tensors("model"))
            self.optimizers.load(found.tensors("optimizer"))
            if self.average:
                self.average.load(found.tensors("average"))
            self.warn_if_moved(then)
        if self.ranks.leads:
            self.run.cut_metrics(self.state.step, self.state.scored)

    def newest(self) -> checkpoint.Checkpoint | None:
        """The newest whole checkpoint: what the first rank finds to be it, compared with its manifest on every rank."""
        folder, seen = self.run.checkpoints, []

        def look() -> float:
            checkpoint.sweep(folder)
            seen.append(checkpoint.newest(folder, self.watch.damaged))
            if seen[0] is None and any(folder.glob("step-*")):
                raise BadFileError("train.none_whole", folder=folder)
            return seen[0].step if seen[0] else -1

        step = int(self.ranks.led(look))
        return seen[0] if seen else checkpoint.verify(folder / checkpoint.name(step)) if step >= 0 else None

    def made(self) -> dict[str, Any]:
        """What the last bit of a training depends on beside its recipe and data."""
        found = {"threads": torch.get_num_threads(), "device": str(self.device), "versions": versions()}
        return {**found, "ranks": self.ranks.count}

    def warn_if_moved(self, then: dict[str, Any]) -> None:
        """Say so where what the last bit depends on is not what it was."""
        made = self.made()
        now = {**made.pop("versions"), **made}
        then = {**then["versions"], **then, "ranks": then["ranks"] or 1}
        moved = [f"{key}: {then.get(key)} → {now[key]}" for key in now if then.get(key) != now[key]]
        if moved:
            self.watch.say("train.moved", what="; ".join(moved))


MADE = ("seed", "threads", "device", "versions", "ranks")  # what a checkpoint's state holds beside State


class Unwritten(Metrics):
    """The log of the ranks that write none."""

    def __init__(self) -> None:
        pass

    def add(self, line: dict[str, Any]) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class NotFinite(RegardError):
    """The loss or the gradient is not finite; the weights are those of before."""


def better(value: float, best: float | None, *, lower: bool) -> bool:
    if not math.isfinite(value):
        return False
    return best is None or (value < best if lower else value > best)


def clip(parameters: Sequence[Tensor], most: float | None) -> Tensor:
    """Scale the gradient down to norm `most` where it is larger (Pascanu et al. 2013); the norm that it had."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = full(torch.nn.utils.get_total_norm(gradients))
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
        put(own[name], tensor)
