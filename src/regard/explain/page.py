"""An explanation as a report and as JSON."""

from __future__ import annotations

import math
from typing import Any

from regard.explain.explanation import Explanation
from regard.report.sections import (
    Attention,
    Bar,
    Bars,
    Cell,
    Chapter,
    Head,
    Label,
    Note,
    Number,
    Numbers,
    Report,
    Section,
    Table,
    finite,
    message,
    spoken,
)


def report(found: Explanation) -> Report:
    """What the model answered, what it looked at, and what each part was worth."""
    remark: list[Section] = [] if found.remark is None else [Note(text=found.remark)]
    chapters: list[Section | Chapter] = [
        Chapter(
            title=message("explain.page.answer"),
            about=_TASKS[found.task],
            sections=[*remark, _given(found), *_answer(found)],
        ),
        Chapter(
            title=message("explain.page.input"), about=message("explain.page.input_about"), sections=found.saliency
        ),
        Chapter(
            title=message("explain.page.layers"), about=message("explain.page.layers_about"), sections=[found.lens]
        ),
        Chapter(
            title=message("explain.page.attention"),
            about=message("explain.page.attention_about"),
            sections=[
                Note(text=message("explain.page.not_importance"), kind="caution"),
                *_kept(found),
                *found.attention.values(),
            ],
        ),
    ]
    facts: list[tuple[Label, Cell]] = [
        (message("explain.page.model"), found.family),
        (message("explain.page.task"), found.task),
        (message("explain.page.parameters"), found.parameters),
        (message("explain.page.tokens"), len(found.tokens) + len(found.source or ())),
    ]
    return Report(title=message("explain.page.title"), about=_headline(found), facts=facts, sections=chapters)


def summary(found: Explanation) -> Report:
    """The same in as few lines as a terminal has."""
    sections: list[Section | Chapter] = [] if found.remark is None else [Note(text=found.remark)]
    sections += [*_answer(found), *found.saliency, found.lens, *found.attention.values()]
    return Report(title=message("explain.page.title"), about=_headline(found), sections=sections)


_TASKS: dict[str, Label] = {
    "causal-lm": message("explain.task.causal"),
    "masked-lm": message("explain.task.masked"),
    "classification": message("explain.task.classification"),
    "seq2seq": message("explain.task.seq2seq"),
}


def _headline(found: Explanation) -> Label:
    if len(found.answers) == 1:
        one = found.answers[0]
        return message("explain.answer", answer=one.answer, probability=f"{one.probability:.4f}", rank=one.rank)
    text = "".join(one.answer for one in found.answers)
    return message("explain.answers", answer=text, count=len(found.answers), nats=f"{-_log_probability(found):.4f}")


def _given(found: Explanation) -> Section:
    target = [] if found.target is None else [(message("explain.page.target"), found.target)]
    return Table(columns=("", ""), rows=[(message("explain.page.text"), found.text), *target])


def _log_probability(found: Explanation) -> float:
    return sum(math.log(max(one.probability, 1e-300)) for one in found.answers)


def _answer(found: Explanation) -> list[Section]:
    if len(found.answers) == 1:
        one = found.answers[0]
        bars = [Bar(name=name, value=share, marked=name == one.answer) for name, share in one.best]
        if one.rank > len(one.best):
            bars.append(Bar(name=one.answer, value=one.probability, marked=True))
        return [Bars(title=message("explain.page.candidates"), bars=bars, unit=message("explain.page.probability"))]
    columns = [
        message("explain.page.after"),
        message("explain.page.answer_column"),
        message("explain.page.probability"),
        message("explain.page.rank"),
        message("explain.page.best"),
        message("explain.page.best_probability"),
    ]
    rows = [(one.after, one.answer, one.probability, one.rank, *one.best[0]) for one in found.answers]
    mean = math.exp(_log_probability(found) / len(found.answers))
    number = Number(
        label=message("explain.page.mean_probability"), value=mean, about=message("explain.page.mean_probability_about")
    )
    return [Numbers(numbers=[number]), Table(title=message("explain.page.candidates"), columns=columns, rows=rows)]


def _kept(found: Explanation) -> list[Section]:
    """A note where not every head has its map in the page."""
    heads = [head for each in found.attention.values() for head in each.heads]
    kept = sum(head.weights is not None for head in heads)
    return [] if kept == len(heads) else [Note(text=message("explain.page.kept", kept=kept, heads=len(heads)))]


def document(found: Explanation) -> dict[str, Any]:
    """Plain values, the weights among them where layers or heads were chosen."""
    answers = [
        {
            "after": one.after,
            "answer": one.answer,
            "probability": one.probability,
            "rank": one.rank,
            "best": [{"answer": name, "probability": share} for name, share in one.best],
        }
        for one in found.answers
    ]
    lens = found.lens
    return {
        "model": found.family,
        "task": found.task,
        "text": found.text,
        "target": found.target,
        "tokens": found.tokens,
        "source": found.source,
        "answers": answers,
        "saliency": [
            {
                "tokens": each.tokens,
                **{name: finite(one.values).tolist() for name, one in zip(_METHODS, each.methods, strict=True)},
            }
            for each in found.saliency
        ],
        "lens": {
            "tokens": [spoken(token, "en") for token in lens.tokens],
            "best": lens.best,
            "probabilities": finite(lens.probabilities).tolist(),
        },
        "attention": {kind: _plain(each, not found.complete) for kind, each in found.attention.items()},
    }


_METHODS = ("integrated_gradients", "gradient_x_input", "gradient_norm")  # in the order of Saliency.methods


def _plain(section: Attention, weights: bool) -> dict[str, Any]:
    return {
        "queries": section.queries,
        "keys": section.keys,
        "rollout": None if section.rollout is None else finite(section.rollout).tolist(),
        "heads": [_plain_head(head, weights) for head in section.heads],
    }


def _plain_head(head: Head, weights: bool) -> dict[str, Any]:
    plain = {
        "layer": head.layer,
        "head": head.head,
        "pattern": head.pattern,
        "scores": dict(head.scores),
        "effect": head.effect,
    }
    if weights and head.weights is not None:
        plain["weights"] = finite(head.weights).tolist()
    return plain
