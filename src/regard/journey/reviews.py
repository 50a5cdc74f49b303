"""Step 3: what pretraining is worth: an encoder fine-tuned on a few reviews, beside itself from random weights."""

from __future__ import annotations

import statistics
from dataclasses import replace
from importlib import resources
from typing import Any

from regard import bundle, config, limits, tasks
from regard.inputs.tokenizer import Tokenizer
from regard.journey import encoder, figures
from regard.journey.walk import Walk
from regard.report.sections import Bar, Bars, Note, Section, message
from regard.train.recipe import Recipe, TokenizerConfig
from regard.words import say

NAME, SCRATCH, DATA = "reviews", "reviews-scratch", "film-reviews"
RECORDED = "recorded.json"


def work(walk: Walk) -> dict[str, Any]:
    """Everything about the reviews, as plain values; without the encoder only what needs none."""
    recipe = walk.recipe(NAME)
    folder = encoder.locate(str(recipe.base))
    stage = walk.stage(NAME, say("journey.reviews.baselines"))
    known, held_out = walk.rows(f"{DATA}-train"), walk.rows(f"{DATA}-held-out")[: walk.plan.reviews_scored]
    words = Tokenizer.train("bytes", [], 300) if folder is None else Tokenizer.load(folder)
    task = tasks.get("classification", {}, words, context=128, labels=sorted({row["label"] for row in known}))
    found: dict[str, Any] = {"known": len(known), "examples": [row["text"] for row in held_out[:1]]}
    found["baselines"] = [each.to_dict() for each in task.baselines(known, held_out)]
    if folder is None:
        return found | {"encoder": None}
    found["encoder"] = encoder.NAME
    for name, one in ((SCRATCH, from_random(recipe)), (NAME, recipe)):
        stage = walk.stage(name, say(f"journey.reviews.training.{name}"))
        walk.train(name, one, DATA, stage)
        found[name] = walk.score(name, held_out, stage)[2]
        walk.budget.done(name)
    return found


def from_random(recipe: Recipe) -> Recipe:
    """The same architecture and tokenizer, the same training, but nothing learned before."""
    base = bundle.load(str(recipe.base))
    sizes = {key: value for key, value in config.to_dict(base.model.config).items() if key not in ("head", "labels")}
    model = {"family": base.family, **sizes}
    return replace(recipe, base=None, model=model, tokenizer=TokenizerConfig(load=str(base.folder)))


def sections(found: dict[str, Any]) -> list[Section]:
    """For the page."""
    if found["encoder"] is None:
        return brief(found)
    models = {SCRATCH: found[SCRATCH], NAME: found[NAME]}
    return [figures.story(found[NAME]), _bars(found), figures.loss(models), *brief(found)]


def brief(found: dict[str, Any]) -> list[Section]:
    """For the screen."""
    results = [*found["baselines"]]
    if found["encoder"] is None:
        note = Note(text=message("journey.reviews.no_encoder"), kind="caution")
        return [note, figures.scores(results, ("accuracy",), _about(found))]
    results += [{**found[name]["result"], "name": name} for name in (SCRATCH, NAME)]
    return [figures.scores(results, ("accuracy",), _about(found)), _worth(found), _spread()]


def _about(found: dict[str, Any]) -> Any:
    return message("journey.reviews.about", known=found["known"], examples=found["baselines"][0]["examples"])


def _worth(found: dict[str, Any]) -> Section:
    """What pretraining added here, in a sentence; the intervals decide how it is said."""
    mine, other = (found[name]["result"]["scores"]["accuracy"] for name in (NAME, SCRATCH))
    clear = mine["low"] > other["high"]
    points = f"{100 * (mine['value'] - other['value']):+.1f}"
    key = "journey.reviews.worth" if clear else "journey.reviews.not_clear"
    return Note(text=message(key, points=points), kind="good" if clear else "caution")


def _bars(found: dict[str, Any]) -> Section:
    results = [*found["baselines"], *({**found[name]["result"], "name": name} for name in (SCRATCH, NAME))]
    bars = [
        Bar(name=message(f"journey.method.{one['name']}"), marked=one["name"] == NAME, **one["scores"]["accuracy"])
        for one in results
    ]
    return Bars(title=message("journey.reviews.bars"), bars=bars, unit=message("journey.score.accuracy"))


def _spread() -> Section:
    """The spread over seeds, from a recorded run: it would take too long here, and says so."""
    found = recorded()
    if found is None:
        return Note(text=message("journey.reviews.not_recorded"))
    said = {name.replace("-", "_"): _range(found["accuracy"][name]) for name in (NAME, SCRATCH)}
    text = message("journey.reviews.recorded", seeds=len(found["seeds"]), command=found["command"], **said)
    return Note(text=text)


def recorded() -> dict[str, Any] | None:
    """What `python -m regard.journey.record` wrote down, if it comes with this package."""
    path = resources.files("regard") / "journey" / RECORDED
    if not path.is_file():
        return None
    return limits.parse_json(path.read_bytes(), RECORDED)


def _range(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} – {max(values):.3f})"
