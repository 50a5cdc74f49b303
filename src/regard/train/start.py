"""Start a run, go on with one, and leave a finished model behind.

run = start(recipe, "runs/poems-1")
run = resume("runs/poems-1")
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from regard import bundle, limits
from regard.data import show
from regard.data.check import check
from regard.errors import BadFileError, RegardError
from regard.inputs import marks
from regard.inputs.absent import NoTokenizer
from regard.train import checkpoint
from regard.train.card import card
from regard.train.estimate import check_beforehand, laid_out, on_disk, sets
from regard.train.gauge import free_disk
from regard.train.loop import Job, Outcome, fit, restore
from regard.train.progress import Board, Silent, Watch
from regard.train.ranks import ALONE, Ranks
from regard.train.recipe import Recipe, differences, located
from regard.train.run import Run, versions
from regard.train.setup import Setup, prepare
from regard.train.stop import Interrupted, Stop


def start(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    watch: Watch | None = None,
    stop: Stop | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Run, Outcome]:
    """Train by a recipe in a new folder. A folder that holds anything is refused.

    Of many `ranks`, the first comes here; the others `follow` it (train/together.py).
    """
    run = Run(folder)
    run.refuse_taken()
    try:
        with run.locked():
            run = Run.create(folder, located(recipe))
            return run, train(run, watch or Silent(), stop or Stop(), ranks)
    except Exception:
        if not any(run.checkpoints.glob("step-*")):  # it never came to a first step: nothing is left behind
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


def resume(
    folder: str | os.PathLike[str],
    watch: Watch | None = None,
    stop: Stop | None = None,
    recipe: Recipe | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Run, Outcome]:
    """Go on with a run from its newest whole checkpoint. A `recipe` is compared with the run's, and refused if it is
    another one.
    """
    run = Run.open(folder)
    with run.locked():
        if recipe is not None:
            refuse_changes(run, recipe)
        return run, train(run, watch or Silent(), stop or Stop(), ranks)


def train(
    run: Run,
    watch: Watch,
    stop: Stop,
    ranks: Ranks = ALONE,
    began: Callable[[Setup, Job], None] | None = None,
) -> Outcome:
    """The whole of a training, from the recipe in the run's folder to its model. The caller holds the lock.

    `began` writes the first checkpoint where the training does not begin at its beginning.
    """
    fresh = began is None and not any(run.checkpoints.glob("step-*"))
    if run.recipe.train.machine.tensorboard:
        watch = Board(watch, run.events)
    try:
        recipe = shared(run.recipe, ranks, fresh=fresh or began is not None)
        setup = prepare(recipe, tokenizer=run.tokenizer, with_base=fresh, polled=stop.poll)
        job = make(setup, run, watch, stop, fresh=fresh)
        if began is not None:
            began(setup, job)
        run.note("resumed" if run.history() else "started", pid=os.getpid(), versions=versions())
        ranks.handed(job.feed.counts)  # from here on the others have all they need
        ranks.told(fresh)
        outcome, state = fit(job, run, watch, stop, ranks)
        export(run, setup, job.model)
        run.note(outcome, step=state.step, best=state.best, best_step=state.best_step)
    except Interrupted:  # before the first step: what was prepared is prepared again
        outcome = "stopped"
        run.note(outcome, step=0)
    finally:
        watch.end()
    return outcome


def shared(recipe: Recipe, ranks: Ranks, *, fresh: bool) -> Recipe:
    """The recipe with its batch cut so that all ranks can share it; a run that has begun keeps the cut that it has."""
    batch = ranks.fit(recipe.train.batch) if fresh else recipe.train.batch
    ranks.check(batch)
    return replace(recipe, train=replace(recipe.train, batch=batch))


def make(setup: Setup, run: Run, watch: Watch, stop: Stop, *, fresh: bool) -> Job:
    """The job, and everything about it that the run keeps for its reader."""
    watch.say("train.counting", rows=len(setup.train))
    feed = setup.feed(stop.poll)
    keep_data(setup, run, tokens=feed.tokens, samples=len(feed.size))
    run.save_recipe(setup.recipe)
    if not run.tokenizer.exists() and not isinstance(setup.tokenizer, NoTokenizer):
        beside = run.folder / f"tmp-tokenizer-{os.getpid()}"
        setup.tokenizer.save(beside)
        marks.save(beside, setup.marks)
        os.replace(beside, run.tokenizer)
    check_beforehand(setup, feed, watch)
    first = setup.first_batch(feed)
    limits.write(run.folder / "first_batch.txt", show.text(first))
    if fresh:
        watch.first(first)
    model, new = setup.build()
    if new and fresh:
        watch.say("train.new_head", names=", ".join(new))
    warn_of_space(setup, run, watch)
    watch.say("train.size", parameters=sum(p.numel() for p in model.parameters()), tokens=feed.tokens)
    return Job(setup.recipe.train, model, setup.task, feed, setup.score())


def keep_data(setup: Setup, run: Run, *, tokens: int, samples: int) -> None:
    """Write down what the data are, or refuse data that are not what the run began with."""
    held_out = setup.held_out
    sides = {"train": setup.train.fingerprint, "held_out": held_out.fingerprint if held_out else None}
    if run.data:
        for side, fingerprint in sides.items():
            if run.data["fingerprints"][side] != fingerprint:
                raise RegardError("train.data_changed", run=run.folder, spec=setup.recipe.data.train)
        return
    count = {"train": len(setup.train), "held_out": len(held_out) if held_out else 0}
    report = check(setup.train, held_out=held_out).plain()
    run.save_data(
        {"fingerprints": sides, "rows": count, "samples": samples, "tokens": tokens, "labels": list(setup.labels)}
        | {"report": report}
    )


def export(run: Run, setup: Setup, model: Any) -> None:
    """Write the model that the run came to, and its card: the best that was scored, else the newest."""
    found = checkpoint.newest(run.checkpoints, lambda error: None)
    if found is None:
        raise BadFileError("train.none_whole", folder=run.checkpoints)
    best = found.state["best_step"] if setup.recipe.train.evaluate.best else None
    if best is not None and best != found.step:
        found = checkpoint.verify(run.checkpoints / checkpoint.name(best))
    restore(model, found.tensors("model") | found.tensors("average"))
    beside, doomed = run.folder / f"tmp-model-{os.getpid()}", run.folder / f"tmp-old-model-{os.getpid()}"
    try:
        bundle.save(beside, setup.bundle(model.eval().cpu()))
        if run.model.exists():
            os.replace(run.model, doomed)
        os.replace(beside, run.model)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(doomed, ignore_errors=True)
    limits.write(run.folder / "README.md", card(run, found.step))


def refuse_changes(run: Run, recipe: Recipe) -> None:
    """A run keeps its recipe: what a changed one would have given cannot be known from the middle of another."""
    changed = list(differences(run.asked, located(recipe)))
    if changed:
        what = "; ".join(f"{key}: {old} → {new}" for key, old, new in changed)
        how = sets({key: str(new) for key, _, new in changed})
        raise RegardError("train.recipe_changed", run=run.folder, what=what, how=how)


def warn_of_space(setup: Setup, run: Run, watch: Watch) -> None:
    """Say at the start that the disk will not hold the checkpoints, not hours later."""
    want, free = on_disk(laid_out(setup), setup.recipe), free_disk(run.folder)
    if free < want:
        watch.say("train.little_space", free=free >> 20, want=want >> 20)
