"""A new run that goes on from a checkpoint of another one, with other settings. The other run is not touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard import config, limits
from regard.errors import BadFileError, RegardError
from regard.train import checkpoint, optimizers
from regard.train.checkpoint import Checkpoint
from regard.train.loop import Job, Outcome, freeze, weights
from regard.train.progress import Silent, Watch
from regard.train.ranks import ALONE, Ranks
from regard.train.recipe import Recipe, differences, located
from regard.train.run import Run
from regard.train.setup import Setup, inherit
from regard.train.start import train
from regard.train.stop import Stop

SETTLED = ("task.name", "tokenizer.", "base")  # what weights mean hangs on these
DATA = ("data.", "task.", "model.context", "train.seed", "train.batch.tokens", "train.batch.bucket")
REMEMBERED = {True: {"momentum"}, False: {"step", "exp_avg", "exp_avg_sq"}}  # Muon's, AdamW's


def fork(
    origin: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    recipe: Recipe,
    *,
    step: int | None = None,
    watch: Watch | None = None,
    stop: Stop | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Run, Outcome]:
    """Train in a new folder by `recipe` from the checkpoint of `step` (None: the newest) of the run `origin`.

    Weights are taken over; so are the optimisers' memory, where the new ones keep such, and the place in the data,
    where these and their order are the same. Scores begin anew. `recipe` is the other run's with changes.
    """
    old, run, watch = Run.open(origin), Run(folder), watch or Silent()
    changed = list(differences(old.asked, located(recipe)))
    for key, before, after in changed:
        if key.startswith(SETTLED):
            raise RegardError("train.fork_settled", run=old.folder, key=key, old=before, new=after)
    found = chosen(old, step, watch)
    if recipe.train.steps <= found.step:
        raise RegardError("train.fork_done", step=found.step, steps=recipe.train.steps)
    run.refuse_taken()
    try:
        with run.locked():
            run = Run.create(folder, located(recipe))
            run.save_recipe(applied(old.recipe, changed))
            shutil.copytree(old.tokenizer, run.tokenizer)
            began = _grafting(old, run, found, changed)
            return run, train(run, watch, stop or Stop(), ranks, began)
    except Exception:
        if not any(run.checkpoints.glob("step-*")):
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


def chosen(run: Run, step: int | None, watch: Watch) -> Checkpoint:
    """The checkpoint of a step, or the newest whole one."""
    if step is None:
        found = checkpoint.newest(run.checkpoints, watch.damaged)
        if found is None:
            raise BadFileError("train.none_whole", folder=run.checkpoints)
        return found
    folder = run.checkpoints / checkpoint.name(step)
    if not folder.is_dir():
        there = sorted(int(path.name[5:]) for path in run.checkpoints.glob("step-*") if path.name[5:].isdecimal())
        raise RegardError("train.no_step", run=run.folder, step=step, there=", ".join(map(str, there)) or "-")
    return checkpoint.verify(folder)


def applied(recipe: Recipe, changed: list[tuple[str, Any, Any]]) -> Recipe:
    """A recipe in which everything is settled, with these changes."""
    data = config.to_dict(recipe)
    for key, _, value in changed:
        *path, last = key.split(".")
        section = data
        for name in path:
            section = section.setdefault(name, {})
        if value is None and path and path[0] in ("model", "task"):
            section.pop(last, None)
        else:
            section[last] = value
    return config.from_dict(Recipe, data)


def _grafting(
    old: Run, run: Run, found: Checkpoint, changed: list[tuple[str, Any, Any]]
) -> Callable[[Setup, Job], None]:
    """Writes the new run's first checkpoint once its model is there."""

    def write(setup: Setup, job: Job) -> None:
        if list(setup.labels) != old.data["labels"]:
            raise RegardError("train.fork_labels", run=old.folder, old=old.data["labels"], new=list(setup.labels))
        new, files = taken_over(job, found)
        same = run.data["fingerprints"]["train"] == old.data["fingerprints"]["train"]
        same = same and not any(key.startswith(DATA) and not key.startswith("data.augment") for key, *_ in changed)
        place = found.state["place"] if same else {"epoch": found.state["place"]["epoch"] + 1, "number": 0}
        state = {**found.state, "place": place, "scored": 0, "best": None, "best_step": None, "worse": 0}
        lines = [line for line in old.updates() if line["step"] <= found.step]
        limits.write(run.metrics, "".join(json.dumps(line) + "\n" for line in lines))
        run.note(
            "forked",
            run=str(Path(old.folder).resolve()),
            step=found.step,
            changed=[f"{key}: {before} → {after}" for key, before, after in changed],
            new=new,
            data="same place" if same else "next epoch",
        )
        checkpoint.write(run.checkpoints, found.step, files, {**state, "seed": job.config.seed})

    return write


def taken_over(job: Job, found: Checkpoint) -> tuple[list[str], dict[str, dict[str, Tensor]]]:
    """What of a checkpoint a model of perhaps another shape can use: names that are new, and the files of its own."""
    kept = found.tensors("model")
    new = inherit(job.model, kept)
    freeze(job.model, job.config.freeze)
    owners = {
        name: REMEMBERED[part.matrices]
        for part in optimizers.sort(job.model, job.config.optimizer)
        for name in part.names
    }
    shapes = {name: parameter.shape for name, parameter in job.model.named_parameters()}
    memory = {}
    for key, value in found.tensors("optimizer").items():
        name, _, what = key.rpartition("/")
        if name in owners and what in owners[name] and value.shape in (shapes[name], torch.Size()):
            memory[key] = value
    files = {"model": weights(job.model), "optimizer": memory}
    if job.config.average is not None:
        files["average"] = _averaged(job.model, found.tensors("average"))
    return list(new), files


def _averaged(model: nn.Module, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """The running average so far, of the weights as they are where there was none."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            old = before.get(name)
            found[name] = old if old is not None and old.shape == parameter.shape else parameter.detach()
    return found
