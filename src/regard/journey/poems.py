"""Step 2: a tokenizer and a small GPT on poems; how well it predicts poems it never saw, and what it writes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from regard import tasks
from regard.bundle import Bundle
from regard.errors import RegardError
from regard.generate import Settings, generate
from regard.inputs.tokenizer import Tokenizer
from regard.journey import figures
from regard.journey.screen import Stage
from regard.journey.walk import Walk
from regard.report.sections import Example, Note, Samples, Section, message, visible
from regard.tasks.scores import longest_copied
from regard.train.recipe import Recipe, TokenizerConfig
from regard.words import say

NAME, DATA = "poems", "tang-poems"
MOST_PROMPT = 64  # characters; a Tang poem of eight lines has about as many
DECODING = Settings(temperature=0.8, top_p=0.95, max_tokens=96)


def check_prompt(prompt: str) -> str:
    """The prompt as it is used, or an error at the very beginning, not after the training."""
    text = prompt.strip()
    if len(text) > MOST_PROMPT:
        raise RegardError("journey.poems.long_prompt", length=len(text), most=MOST_PROMPT)
    bad = next((one for one in text if not one.isprintable() and one != "\n"), None)
    if bad is not None:
        raise RegardError("journey.poems.bad_prompt", code=f"U+{ord(bad):04X}")
    return text


def work(walk: Walk) -> dict[str, Any]:
    """Everything about the poems, as plain values."""
    stage = walk.stage(NAME, say("journey.poems.tokenizer"))
    recipe = walk.recipe(NAME)
    known = [row["text"] for row in walk.rows(f"{DATA}-train")]
    held_out = walk.rows(f"{DATA}-held-out")[: walk.plan.poems_scored]
    tokenizer = _tokenizer(walk, recipe, known)
    stage.at(say("journey.poems.baselines"))
    task = tasks.get("causal-lm", {}, tokenizer, context=MOST_PROMPT)
    marks = [each.to_dict() for each in task.baselines([{"text": text} for text in known], held_out)]
    stage.at(say("journey.poems.training"))
    walk.train(NAME, replace(recipe, tokenizer=TokenizerConfig(load=str(walk.folder.tokenizer))), DATA, stage)
    stage.at(say("journey.poems.scoring"))
    bundle, _, model = walk.score(NAME, held_out, stage)
    stage.at(say("journey.poems.writing"))
    found = {"tokenizer": {"size": tokenizer.size, "characters": len(set("".join(known)))}, "baselines": marks}
    human = [row["text"] for row in held_out]
    return {**found, "model": model, **_verses(walk, bundle, known, human, stage), "prompt": walk.prompt}


def _tokenizer(walk: Walk, recipe: Recipe, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer of the recipe, trained on the texts of the training side alone."""
    if walk.folder.tokenizer.exists():
        return Tokenizer.load(walk.folder.tokenizer)
    made = Tokenizer.train(recipe.tokenizer.kind, texts, recipe.tokenizer.vocab)
    made.save(walk.folder.tokenizer)
    return made


def _verses(walk: Walk, bundle: Bundle, known: list[str], human: list[str], stage: Stage) -> dict[str, Any]:
    """Poems from the prompt, and the longest run of each that stands in a training poem, the prompt not counted.

    What that means only real poems can say: the same is measured on as many held-out ones, cut to the same lengths.
    """
    written = generate(bundle, [walk.prompt], replace(DECODING, samples=walk.plan.verses))
    texts = [each.text for each in written]
    copied, copied_human = [], []
    for text, other in zip(texts, human, strict=False):
        walk.stop.poll()
        stage.at()
        copied.append(longest_copied(text, known))
        copied_human.append(longest_copied(other[: len(text)], known).length)
    seen = set("".join(known))
    return {
        "verses": [walk.prompt + text for text in texts[: walk.plan.verses_shown]],
        "copied": [{"length": one.length, "run": one.run} for one in copied],
        "copied_human": copied_human,
        "unseen": sorted({one for one in walk.prompt if one not in seen and not one.isspace()}),
    }


def sections(found: dict[str, Any]) -> list[Section]:
    """For the page: curves, scores, verses."""
    levels = {one["name"]: one for one in found["baselines"]}
    held_out = figures.curve("journey.poems.curve", found["model"], levels, message("journey.score.bits_per_character"))
    return [figures.story(found["model"]), held_out, figures.loss({"model": found["model"]}), *brief(found)]


def brief(found: dict[str, Any]) -> list[Section]:
    """For the screen."""
    results = [*found["baselines"], {**found["model"]["result"], "name": "gpt"}]
    table = figures.scores(results, ("bits_per_character",), message("journey.poems.scores_note"))
    return [table, _verdict(found), _samples(found), *_unseen(found)]


def _verdict(found: dict[str, Any]) -> Section:
    """Whether the model is below the 5-gram, in a sentence."""
    model = found["model"]["result"]["scores"]["bits_per_character"]["value"]
    mark = found["baselines"][-1]["scores"]["bits_per_character"]["value"]
    key = "journey.poems.below" if model < mark else "journey.poems.above"
    return Note(
        text=message(key, model=f"{model:.2f}", mark=f"{mark:.2f}", difference=f"{abs(model - mark):.2f}"),
        kind="good" if model < mark else "caution",
    )


def _samples(found: dict[str, Any]) -> Section:
    given = found["prompt"] or message("journey.poems.nothing")
    samples = [
        Example(made=verse, remark=message("journey.poems.copied", length=one["length"], run=visible(one["run"])))
        for verse, one in zip(found["verses"], found["copied"], strict=False)
    ]
    mine, human = [one["length"] for one in found["copied"]], found["copied_human"]
    note = message(
        "journey.poems.copied_note",
        count=len(mine), middle=f"{statistics.median(mine):g}", most=max(mine),
        human=f"{statistics.median(human):g}", human_most=max(human), human_count=len(human),
    )  # fmt: skip
    return Samples(samples=samples, title=message("journey.poems.verses", prompt=given), note=note)


def _unseen(found: dict[str, Any]) -> list[Section]:
    if not found["unseen"]:
        return []
    return [Note(text=message("journey.poems.unseen", characters=visible("".join(found["unseen"]))), kind="caution")]
