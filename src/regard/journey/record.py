"""Records what the demo cannot compute while somebody waits: step 3 over several seeds.

    python -m regard.journey.record             # writes recorded.json into the package, for a commit
    python -m regard.journey.record there.json

The data, and what is held out, are the demo's and the same for every seed; a seed decides the new weights, the order
of the reviews and the dropout.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from regard import bundle, config, limits, tasks
from regard.data import samples, sources
from regard.errors import RegardError
from regard.journey import data, encoder, reviews
from regard.journey.folder import Folder
from regard.train import recipe as recipes
from regard.train.recipe import DataConfig, MachineConfig, Recipe
from regard.train.run import versions
from regard.train.start import start

COMMAND = "python -m regard.journey.record"
SEEDS = (0, 1, 2, 3, 4)


def record(seeds: Iterable[int] = SEEDS) -> dict[str, Any]:
    """The accuracies of each seed, with all that they depend on."""
    recipe = recipes.load(recipes.BUILT_IN / f"{reviews.NAME}.toml")
    if encoder.locate(str(recipe.base)) is None:
        raise RegardError("journey.reviews.no_encoder")
    found: dict[str, Any] = {"command": COMMAND, "seeds": list(seeds), "recipe": essence(recipe)}
    found["versions"] = versions()
    found["accuracy"] = {name: [] for name in (reviews.NAME, reviews.SCRATCH)}
    with TemporaryDirectory(prefix="regard-", ignore_cleanup_errors=True) as place:
        folder = Folder(place)
        found["data"] = data.prepare(folder, reviews.DATA, samples.open(reviews.DATA))
        for seed in found["seeds"]:
            for name, one in ((reviews.NAME, recipe), (reviews.SCRATCH, reviews.from_random(recipe))):
                value = accuracy(folder, f"{name}-{seed}", one, seed)
                found["accuracy"][name].append(value)
                print(f"{name} {seed}: {value:.3f}", file=sys.stderr, flush=True)
    return found


def accuracy(folder: Folder, name: str, recipe: Recipe, seed: int) -> float:
    """What a training with this seed comes to on all that is held out."""
    known, held_out = (folder.data(f"{reviews.DATA}-{side}") for side in ("train", "held-out"))
    recipe = replace(
        recipe,
        data=DataConfig(train=str(known), share=0.0),
        train=replace(recipe.train, seed=seed, machine=MachineConfig(tensorboard=False)),
    )
    run, _ = start(recipe, folder.run(name))
    made = bundle.load(run.folder)
    return tasks.of(made, run.recipe.task_settings).evaluate(made.model, list(sources.open(held_out))).primary.value


def essence(recipe: Recipe) -> Mapping[str, Any]:
    """What of a recipe the result depends on: a recording of another one is out of date."""
    plain = config.to_dict(recipe)
    settings = {key: plain["train"][key] for key in ("steps", "batch", "optimizer", "schedule", "average", "freeze")}
    return {"base": plain["base"], "task": plain["task"], "train": json.loads(json.dumps(settings))}


def main(arguments: list[str]) -> None:
    path = Path(arguments[0]) if arguments else Path(__file__).parent / reviews.RECORDED
    limits.write(path, json.dumps(record(), ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
