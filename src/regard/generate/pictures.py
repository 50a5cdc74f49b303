"""Images written code by code after a text, or colour by colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from regard.config import MOST_SEED, Problem, at_least, between, verify
from regard.generate import warp
from regard.generate.rows import CachedReader


@dataclass(frozen=True, kw_only=True)
class Paint:
    """How codes are drawn: after ``temperature`` (0: the most probable one) and among the ``top_k`` most probable.

    guidance: logits go so many times the way from those of no text to those of the text (classifier-free guidance, Ho
    and Salimans 2022); 1: those of the text.
    """

    temperature: float = 1.0
    top_k: int | None = None
    guidance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0.0, 100.0, "temperature", "guidance")
        yield from at_least(self, 1, "top_k")
        yield from between(self, 0, MOST_SEED, "seed")


@torch.no_grad()
def codes(model: Any, texts: Sequence[Sequence[int]], settings: Paint) -> Tensor:
    """The codes (texts, rows, columns) of an image for each text; what a text gets depends on its number among them
    and the seed alone."""
    rows, columns = model.config.images.grid
    guided = settings.guidance != 1.0
    prompts = [model.prompt(text) for text in texts]
    prompts += [model.prompt([])] * len(texts) if guided else []
    reader = CachedReader(model, prompts, None, len(prompts[0]) + rows * columns)
    random = [Random(f"{settings.seed} {number}") for number in range(len(texts))]
    logits, made = reader.start(), []
    while True:
        made.append(_chosen(_guided(logits, settings.guidance) if guided else logits, random, settings))
        if len(made) == rows * columns:
            return torch.stack(made, 1).view(len(texts), rows, columns)
        newest = made[-1].repeat(2) if guided else made[-1]
        logits = reader.read(newest.unsqueeze(1) + model.first)[:, 0]


@torch.no_grad()
def colours(model: Any, beginnings: Sequence[Sequence[int]], settings: Paint) -> Tensor:
    """(beginnings, context) the numbers of an image's colours, row by row: those it begins with, and what the model
    goes on with (Chen et al. 2020, figure 1). Every beginning is of one length."""
    prompts = [[model.config.start, *beginning] for beginning in beginnings]
    count = model.config.context
    reader = CachedReader(model, prompts, None, count)
    random = [Random(f"{settings.seed} {number}") for number in range(len(prompts))]
    made = [torch.tensor(prompts)[:, 1:]]
    logits = reader.start()
    for left in range(count - made[0].shape[1], 0, -1):
        made.append(_chosen(logits, random, settings).unsqueeze(1))
        if left > 1:
            logits = reader.read(made[-1])[:, 0]
    return torch.cat(made, 1)


def images(model: Any, texts: Sequence[Sequence[int]], settings: Paint) -> Tensor:
    """Images (texts, C, height, width), channels in -1..1."""
    with torch.no_grad():
        return model.images.decode(codes(model, texts, settings)).clamp(-1, 1)


def _guided(logits: Tensor, strength: float) -> Tensor:
    """The first half of the rows have a text, the second none."""
    told, untold = logits.chunk(2)
    return untold + strength * (told - untold)


def _chosen(logits: Tensor, random: Sequence[Random], settings: Paint) -> Tensor:
    if settings.temperature == 0:
        return logits.argmax(-1)
    logits = warp.temperature(logits.float(), settings.temperature)
    logits = logits if settings.top_k is None else warp.top_k(logits, settings.top_k)
    return warp.draw(logits, torch.tensor([one.random() for one in random], dtype=torch.float64))
