"""What a model says of sounds: the class of a whole one, or when something of a class is heard. One at a time, so that
each gets what it gets alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.errors import RegardError
from regard.inputs.sound import opened
from regard.layers import Context
from regard.tasks.base import device_of, evaluating, probabilities

if TYPE_CHECKING:
    from regard.bundle import Bundle


def predict(
    bundle: Bundle, paths: Iterable[str], *, candidates: int = 5, least: float = 0.5
) -> Iterator[dict[str, Any]]:
    """One dict of plain values for each sound.

    candidates  of a classification, the likeliest so many labels are named
    least       of a tagging, stretches in which a label is more likely are named, each label for itself
    """
    processor: Any = bundle.processor
    if bundle.task not in _ANSWERS or getattr(processor, "reads", None) != "audio":
        raise RegardError("tasks.says_nothing_of_sounds", task=bundle.task, known=", ".join(_ANSWERS))
    for path in paths:
        sound = opened(path)
        with evaluating(bundle.model):
            found = bundle.model(processor(sound).unsqueeze(0).to(device_of(bundle.model)), Context())[0]
        answer = _ANSWERS[bundle.task](bundle.labels, found, candidates=candidates, least=least, seconds=sound.seconds)
        yield {"sound": str(path), **answer}


def vectors(bundle: Bundle, paths: Iterable[str], *, normalised: bool = True) -> Tensor:
    """(sounds, D) float32: of a model that tells speakers apart each sound's voice, else the mean of its frames."""
    processor: Any = bundle.processor
    if getattr(processor, "reads", None) != "audio":
        raise RegardError("tasks.no_sound_processor", folder=bundle.folder or bundle.family)
    found = []
    for path in paths:
        x = processor(opened(path)).unsqueeze(0).to(device_of(bundle.model))
        with evaluating(bundle.model):
            hidden = bundle.model.hidden(x, Context())
            found.append(getattr(bundle.model.head, "vectors", bundle.model.head)(hidden, Context())[0])
    together = torch.stack(found).float().cpu()
    return F.normalize(together, dim=-1) if normalised else together


def _class(labels: tuple[str, ...], logits: Tensor, *, candidates: int, **_: Any) -> dict[str, Any]:
    shares, numbers = probabilities(logits).topk(min(candidates, len(labels)))
    named = [labels[number] for number in numbers.tolist()]
    return {"label": named[0], "probabilities": dict(zip(named, shares.tolist(), strict=True))}


def _stretches(labels: tuple[str, ...], logits: Tensor, *, least: float, seconds: float, **_: Any) -> dict[str, Any]:
    """Labels do not exclude each other: two people may speak at a time."""
    step, found = seconds / len(logits), []
    for label, column in zip(labels, (logits.sigmoid() > least).T.tolist(), strict=True):
        place = 0
        for heard, run in groupby(column):
            length = len(list(run))
            if heard:
                found.append({"label": label, "start": place * step, "end": (place + length) * step})
            place += length
    return {"stretches": sorted(found, key=lambda one: (one["start"], one["label"]))}


_ANSWERS = {"sound-classification": _class, "sound-tagging": _stretches}
