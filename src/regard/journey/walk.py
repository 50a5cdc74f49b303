"""What every step of the demo is given, and how it has something trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from regard import bundle, config, tasks
from regard.bundle import Bundle
from regard.data import sources
from regard.data.sources import Row
from regard.journey.folder import Folder
from regard.journey.plan import Budget, Plan
from regard.journey.screen import Follow, Screen, Stage
from regard.journey.until import Until
from regard.tasks.base import Task
from regard.train import recipe as recipes
from regard.train.loop import Outcome
from regard.train.recipe import DataConfig, MachineConfig, Recipe
from regard.train.run import Run
from regard.train.start import resume, start
from regard.train.stop import Stop

POINTS = 400  # of a curve that are kept


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """One demo on its way."""

    folder: Folder
    plan: Plan
    budget: Budget
    screen: Screen
    stop: Stop
    prompt: str
    machine: MachineConfig

    def stage(self, part: str, what: str) -> Stage:
        """A part begins, with `what`."""
        self.stop.poll()
        return Stage(self.screen, self.budget, part, what)

    def recipe(self, name: str) -> Recipe:
        """A built-in recipe for this machine, in the size of the plan."""
        found = config.override(recipes.load(recipes.BUILT_IN / f"{name}.toml"), self.plan.sizes.get(name, {}))
        return replace(found, train=replace(found.train, machine=self.machine))

    def rows(self, name: str) -> list[Row]:
        """The rows of a file that the first step wrote."""
        return list(sources.open(self.folder.data(name)))

    def trained(self, name: str) -> bool:
        """Whether a training is behind us."""
        run = Run(self.folder.run(name))
        return run.exists and run.status in ("finished", "early") and run.model.is_dir()

    def train(self, name: str, recipe: Recipe, data: str, stage: Stage) -> Run:
        """A finished run of this recipe on data of the first step, with as many updates as there is time for."""
        path = self.folder.run(name)
        if self.trained(name):
            return Run.open(path)
        if Run(path).exists:
            until = Until(self.stop, self.budget.deadline(name))
            run, outcome = resume(path, Follow(stage, until), until)
        else:
            files = {side: str(self.folder.data(f"{data}-{side}")) for side in ("train", "held-out")}
            recipe = replace(recipe, data=DataConfig(train=files["train"], held_out=files["held-out"]))
            run, outcome = self._start(name, recipe, stage)
        self.stop.poll()
        updates = run.updates()
        self.budget.trained(name, len(updates), sum(line["seconds"] for line in updates))
        if outcome == "stopped":
            self.screen.say("journey.cut_short", steps=len(updates), of=run.recipe.train.steps)
        # A finished training needs no checkpoint, and here they would come to most of a gigabyte.
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        return run

    def _start(self, name: str, recipe: Recipe, stage: Stage) -> tuple[Run, Outcome]:
        """A new run; begun a second time where the first updates show that its pace was measured at a bad moment."""
        path, budget = self.folder.run(name), self.budget
        for expected in (budget.pace[name] * budget.drift, None):
            steps = budget.steps(name)
            until = Until(self.stop, budget.deadline(name), expected=expected, steps=steps, most=budget.most[name])
            run, outcome = start(fitted(recipe, steps, self.plan.curve), path, Follow(stage, until), until)
            self.stop.poll()
            if until.wrong is None:
                break
            budget.measured(name, until.wrong / budget.drift, budget.most[name])
            shutil.rmtree(path)
        return run, outcome

    def bundle(self, name: str) -> Bundle:
        """The model of a run."""
        return bundle.load(self.folder.run(name), device=self.machine.device)

    def score(self, name: str, rows: Sequence[Row], stage: Stage) -> tuple[Bundle, Task, dict[str, Any]]:
        """The model of a run, its task, and its scores on `rows` with how it came to be."""
        found, run = self.bundle(name), Run.open(self.folder.run(name))
        task = tasks.of(found, run.recipe.task_settings)

        def poll(done: int) -> None:
            self.stop.poll()
            stage.at()

        result = task.evaluate(found.model, rows, progress=poll)
        return found, task, {"result": result.to_dict(), **story(run, found)}


def fitted(recipe: Recipe, steps: int, curve: int) -> Recipe:
    """The same with this number of updates, scored about `curve` times on the way."""
    evaluate = replace(recipe.train.evaluate, every=-(-steps // curve))
    return replace(recipe, train=replace(recipe.train, steps=steps, evaluate=evaluate))


def story(run: Run, found: Bundle) -> dict[str, Any]:
    """How a run went: its size, its time, its curves."""
    updates, scores = run.updates(), run.scores()
    every = -(-len(updates) // POINTS)
    primary = next(iter(scores[-1]["held_out"])) if scores else ""
    return {
        "family": found.family,
        "parameters": sum(each.numel() for each in found.model.parameters()),
        "steps": len(updates),
        "asked": run.recipe.train.steps,
        "seconds": sum(line["seconds"] for line in updates),
        "tokens": sum(line["tokens"] for line in updates),
        "loss": [[line["step"], line["loss"]] for line in updates[::every]],
        "scores": [[line["step"], line["held_out"][primary]["value"]] for line in scores],
    }
