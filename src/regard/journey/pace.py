"""How fast this machine trains: a few real updates of each model, before anything is promised."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from regard import limits
from regard.data import samples
from regard.data.sources import Row
from regard.journey import encoder
from regard.journey.plan import TRAININGS
from regard.journey.walk import Walk
from regard.train import machine
from regard.train.loop import Job, Training
from regard.train.progress import Silent
from regard.train.recipe import DataConfig, Recipe, located
from regard.train.run import Run
from regard.train.setup import prepare
from regard.train.stop import Stop

SAMPLE = {"poems": "tang-poems", "reviews": "film-reviews", "office-help": "office-help"}
ROWS = {"poems": 400, "reviews": 150, "office-help": 600}  # enough for a few batches
PATIENCE = 5.0  # seconds after which the updates so far must do


def measure(walk: Walk) -> None:
    """Tell the budget the pace of every training that is still to be done here."""
    for name in TRAININGS:
        recipe = walk.recipe(name.removesuffix("-scratch"))
        if walk.trained(name) or (recipe.base and encoder.locate(recipe.base) is None):
            continue
        sample = name.removesuffix("-scratch")
        if sample != name and sample in walk.budget.pace:  # the same model, whatever its weights
            walk.budget.measured(name, walk.budget.pace[sample], recipe.train.steps)
            continue
        rows = samples.open(SAMPLE[sample])[: ROWS[sample]]
        walk.budget.measured(name, pace(recipe, rows, walk.plan.probe, walk.stop), recipe.train.steps)


def pace(recipe: Recipe, rows: Sequence[Row], updates: int, stop: Stop) -> float:
    """Seconds an update of this recipe takes: the fastest of some, since all else that runs can only slow one down."""
    with TemporaryDirectory(prefix="regard-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "rows.jsonl"
        limits.write(data, "".join(json.dumps({**row, "where": ""}, ensure_ascii=False) + "\n" for row in rows))
        recipe = replace(recipe, data=DataConfig(train=str(data), share=0.0))
        if recipe.base is None:  # the vocabulary of so few rows would be smaller than the real one
            recipe = replace(recipe, model={**recipe.model, "vocab": recipe.tokenizer.vocab})
        run = Run.create(Path(folder) / "run", located(recipe))
        setup = prepare(recipe)
        model, _ = setup.build()
        with machine.settled(setup.recipe.train.machine):
            training = Training(Job(setup.recipe.train, model, setup.task, setup.feed()), run, Silent(), stop)
            began = time.monotonic()
            while training.state.step <= updates and time.monotonic() - began < PATIENCE:
                training.update()
            training.metrics.close()
        seconds = [line["seconds"] for line in run.updates()]
        return min(seconds)
