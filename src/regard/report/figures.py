"""Sections as plain JSON values for the page: labels in both languages, arrays as the float32 that they are.

An array crosses into the page as {"shape": [...], "f32": base64 of little-endian float32}: a hover shows the very
number that the model computed, and a map of a million weights stays a third of its length in digits.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from regard import words
from regard.report.sections import (
    Attention,
    Bars,
    Cell,
    Chapter,
    Curves,
    Head,
    Label,
    Lens,
    Message,
    Note,
    Numbers,
    Saliency,
    Samples,
    Section,
    Table,
    Text,
    finite,
)


def payload(section: Section | Chapter) -> dict[str, Any]:
    """The section as a JSON value with its `kind`."""
    return {"kind": type(section).__name__.lower(), **_PAYLOADS[type(section)](section)}


def label(value: Label) -> Any:
    """A plain string as it is; a Message as {"en": ..., "zh": ...}."""
    if isinstance(value, Message):
        return {language: value.spoken(language) for language in words.LANGUAGES}
    return str(value)


def labels(values: Sequence[Label]) -> list[Any]:
    return [label(value) for value in values]


def cell(value: Cell) -> Any:
    """A table's cell: a label, or {"n": number}, so that text that looks like a number stays text; or None."""
    if value is None or isinstance(value, str | Message):
        return None if value is None else label(value)
    number = float(value)
    if not math.isfinite(number):
        return None
    return {"n": number, "whole": isinstance(value, int | np.integer)}


def array(values: Any) -> dict[str, Any]:
    numbers = finite(values).astype("<f4")
    return {"shape": list(numbers.shape), "f32": base64.b64encode(numbers.tobytes()).decode("ascii")}


def _optional(values: Any) -> dict[str, Any] | None:
    return None if values is None else array(values)


def _text(section: Text) -> dict[str, Any]:
    return {"title": label(section.title), "paragraphs": labels(section.paragraphs)}


def _note(section: Note) -> dict[str, Any]:
    return {"text": label(section.text), "tone": section.kind}


def _numbers(section: Numbers) -> dict[str, Any]:
    tiles = [
        {"label": label(one.label), "value": cell(one.value), "unit": label(one.unit), "about": label(one.about)}
        for one in section.numbers
    ]
    return {"title": label(section.title), "note": label(section.note), "numbers": tiles}


def _table(section: Table) -> dict[str, Any]:
    width = len(section.columns)
    for row in section.rows:
        if len(row) != width:
            raise ValueError(f"a row of {len(row)} cells under {width} columns")
    return {
        "title": label(section.title),
        "note": label(section.note),
        "columns": labels(section.columns),
        "rows": [[cell(value) for value in row] for row in section.rows],
        "marked": sorted(section.marked),
    }


def _curves(section: Curves) -> dict[str, Any]:
    curves = []
    for one in section.curves:
        x, y = finite(one.x), finite(one.y)
        if x.shape != y.shape or x.ndim != 1:
            raise ValueError(f"a curve needs as many x as y, got {x.shape} and {y.shape}")
        band = {"low": _optional(one.low), "high": _optional(one.high)}
        curves.append({"name": label(one.name), "x": array(x), "y": array(y), **band})
    return {
        "title": label(section.title),
        "note": label(section.note),
        "x": label(section.x),
        "y": label(section.y),
        "curves": curves,
        "levels": [{"name": label(level.name), "value": float(level.value)} for level in section.levels],
    }


def _bars(section: Bars) -> dict[str, Any]:
    bars = [
        {
            "name": label(one.name),
            "value": cell(one.value),
            "low": cell(one.low),
            "high": cell(one.high),
            "marked": one.marked,
        }
        for one in section.bars
    ]
    return {"title": label(section.title), "note": label(section.note), "unit": label(section.unit), "bars": bars}


def _samples(section: Samples) -> dict[str, Any]:
    samples = [
        {
            "given": label(one.given),
            "made": label(one.made),
            "expected": label(one.expected),
            "remark": label(one.remark),
            "verdict": one.verdict,
        }
        for one in section.samples
    ]
    return {"title": label(section.title), "note": label(section.note), "samples": samples}


def _attention(section: Attention) -> dict[str, Any]:
    sizes = (len(section.queries), len(section.keys))
    for name, weights in [*((f"{h.layer}.{h.head}", h.weights) for h in section.heads), ("rollout", section.rollout)]:
        if weights is not None and np.shape(weights) != sizes:
            raise ValueError(f"weights of {name} are {np.shape(weights)}; the tokens say {sizes}")
    return {
        "title": label(section.title),
        "note": label(section.note),
        "queries": list(section.queries),
        "keys": list(section.keys),
        "effect": label(section.effect),
        "patterns": [
            {"name": one.name, "label": label(one.label), "about": label(one.about)} for one in section.patterns
        ],
        "heads": [_head(one) for one in section.heads],
        "rollout": _optional(section.rollout),
    }


def _head(head: Head) -> dict[str, Any]:
    return {
        "layer": head.layer,
        "head": head.head,
        "weights": _optional(head.weights),
        "scores": {name: float(score) for name, score in head.scores.items() if math.isfinite(score)},
        "pattern": head.pattern,
        "effect": cell(None if head.effect is None else float(head.effect)),
    }


def _lens(section: Lens) -> dict[str, Any]:
    probabilities = finite(section.probabilities)
    best = [[list(answers) for answers in row] for row in section.best]
    shape = (len(section.layers), len(section.tokens))
    if probabilities.shape[:2] != shape or np.shape(np.array(best, dtype=object)) != probabilities.shape:
        raise ValueError(f"a lens over {shape} layers and tokens cannot show probabilities {probabilities.shape}")
    return {
        "title": label(section.title),
        "note": label(section.note),
        "tokens": labels(section.tokens),
        "layers": labels(section.layers),
        "best": best,
        "probabilities": array(probabilities),
        "chosen": section.chosen,
    }


def _saliency(section: Saliency) -> dict[str, Any]:
    methods = []
    for one in section.methods:
        if np.shape(one.values) != (len(section.tokens),):
            raise ValueError(f"{np.shape(one.values)} values for {len(section.tokens)} tokens")
        methods.append(
            {"name": label(one.name), "values": array(one.values), "about": label(one.about), "check": label(one.check)}
        )
    return {
        "title": label(section.title),
        "note": label(section.note),
        "tokens": list(section.tokens),
        "answer": label(section.answer),
        "methods": methods,
    }


def _chapter(chapter: Chapter) -> dict[str, Any]:
    return {
        "title": label(chapter.title),
        "about": label(chapter.about),
        "sections": [payload(section) for section in chapter.sections],
    }


_PAYLOADS: dict[type, Any] = {
    Text: _text,
    Note: _note,
    Numbers: _numbers,
    Table: _table,
    Curves: _curves,
    Bars: _bars,
    Samples: _samples,
    Attention: _attention,
    Lens: _lens,
    Saliency: _saliency,
    Chapter: _chapter,
}
