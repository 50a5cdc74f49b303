"""Step 4: the Transformer of 2017 on a real task of sequence to sequence, beside a memory that looks the answer up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from regard.journey import figures
from regard.journey.walk import Walk
from regard.report.sections import Example, Note, Samples, Section, Table, message
from regard.tasks.scores import translation_scores
from regard.words import say

NAME = DATA = "office-help"
EXAMPLES = 60  # held-out pairs that examples are taken from, the first by hash
VERDICTS: dict[str, Literal["", "good", "bad"]] = {"best": "good", "middle": "", "worst": "bad"}
EACH = 2  # of the best, the middle and the worst of them


def work(walk: Walk) -> dict[str, Any]:
    """Everything about the translation, as plain values."""
    stage = walk.stage(NAME, say("journey.translation.training"))
    held_out = walk.rows(f"{DATA}-held-out")[: walk.plan.pairs_scored]
    walk.train(NAME, walk.recipe(NAME), DATA, stage)
    stage.at(say("journey.translation.scoring"))
    _, task, model = walk.score(NAME, held_out, stage)
    answers = model["result"].pop("answers")
    stage.at(say("journey.translation.baselines"))
    copy, memory = (each.to_dict() for each in task.baselines(walk.rows(f"{DATA}-train"), held_out))
    remembered = memory.pop("answers")
    copy.pop("answers")
    return {
        "baselines": [copy, memory],
        "model": model,
        "examples": examples(held_out[:EXAMPLES], answers, remembered),
        "held_out": len(held_out),
    }


def examples(
    rows: Sequence[Mapping[str, str]], answers: Sequence[str], remembered: Sequence[str]
) -> list[dict[str, Any]]:
    """Of these rows the ones that were answered best, middling and worst by chrF; of equal ones the first."""
    judged = []
    for row, made, other in zip(rows, answers, remembered, strict=False):
        mine, memory = (translation_scores([text], [row["target"]])[0].value for text in (made, other))
        one = {"source": row["source"], "target": row["target"], "made": made, "memory": other}
        judged.append({**one, "chrf": mine, "memory_chrf": memory})
    judged.sort(key=lambda one: -one["chrf"])
    middle = max(len(judged) // 2 - EACH // 2, 0)
    chosen = {"best": judged[:EACH], "middle": judged[middle : middle + EACH], "worst": judged[-EACH:]}
    return [{**one, "kind": kind} for kind, some in chosen.items() for one in some]


def sections(found: dict[str, Any]) -> list[Section]:
    """For the page."""
    levels = {one["name"]: one for one in found["baselines"]}
    held_out = figures.curve("journey.translation.curve", found["model"], levels, message("journey.score.chrf"))
    return [
        figures.story(found["model"]),
        held_out,
        figures.loss({"transformer": found["model"]}),
        *brief(found)[:-1],
        _samples(found["examples"]),
    ]


def brief(found: dict[str, Any]) -> list[Section]:
    """For the screen."""
    results = [*found["baselines"], {**found["model"]["result"], "name": "transformer"}]
    note = message("journey.translation.about", examples=found["held_out"])
    return [figures.scores(results, ("chrf", "exact_match"), note), _verdict(found), _lines(found["examples"])]


def _verdict(found: dict[str, Any]) -> Section:
    model, memory = (one["scores"]["chrf"]["value"] for one in (found["model"]["result"], found["baselines"][-1]))
    key = "journey.translation.above" if model > memory else "journey.translation.below"
    text = message(key, model=f"{model:.1f}", memory=f"{memory:.1f}")
    return Note(text=text, kind="good" if model > memory else "caution")


def _lines(found: Sequence[Mapping[str, Any]]) -> Section:
    """The examples as a terminal has room for them."""
    columns = ("", message("journey.translation.source"), message("journey.method.transformer"))
    columns += (message("journey.translation.reference"), message("journey.score.chrf"))
    rows = [
        (message(f"journey.kind.{one['kind']}"), one["source"], one["made"], one["target"], f"{one['chrf']:.0f}")
        for one in found
    ]
    return Table(
        columns=columns,
        rows=rows,
        title=message("journey.translation.examples"),
        note=message("journey.translation.rule", count=EXAMPLES, each=EACH),
    )


def _samples(found: Sequence[Mapping[str, Any]]) -> Section:
    return Samples(
        samples=[
            Example(
                given=one["source"],
                made=one["made"],
                expected=one["target"],
                remark=message(
                    f"journey.translation.{one['kind']}",
                    chrf=f"{one['chrf']:.0f}", memory=one["memory"], memory_chrf=f"{one['memory_chrf']:.0f}",
                ),
                verdict=VERDICTS[one["kind"]],
            )
            for one in found
        ],
        title=message("journey.translation.examples"),
        note=message("journey.translation.rule", count=EXAMPLES, each=EACH),
    )  # fmt: skip
