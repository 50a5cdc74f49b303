"""What a head is worth: the change in the answer when its output is zeroed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from regard.explain.question import Question, log_probability, logits
from regard.explain.sites import Site, around
from regard.ops.attention import Core

AT_ONCE = 4096  # tokens in one pass: the heads of a layer are switched off side by side, as rows of a batch


@torch.no_grad()
def effects(
    model: Any,
    question: Question,
    heads: Mapping[Site, Sequence[int]],
    done: Callable[[int], None] = lambda heads: None,
) -> dict[Site, dict[int, float]]:
    """For each of the heads of each place: by how many nats the answer's log-probability changes when it is switched
    off, all others left on. `done(n)` is called after n more heads."""
    before = log_probability(question, logits(model, question))
    return {place: _of_place(model, question, place, each, before, done) for place, each in heads.items()}


def _of_place(
    model: Any, question: Question, place: Site, heads: Sequence[int], before: Tensor, done: Callable[[int], None]
) -> dict[int, float]:
    rows = max(1, AT_ONCE // question.size)
    found: list[float] = []
    for some in torch.tensor(heads, dtype=torch.int64).split(rows):
        with around([place], lambda _, core, some=some: without(core, some)):
            after = log_probability(question, logits(model, question, copies=len(some)))
        found += (after - before).tolist()
        done(len(some))
    return dict(zip(heads, found, strict=True))


def without(core: Core, heads: Tensor) -> Core:
    """The core with the output of head `heads[b]` zeroed in row b of the batch."""

    def ablated(*arguments: Any) -> Tensor:
        mixed = core(*arguments)  # (B, H, T, Kv)
        keep = torch.ones(mixed.shape[:2], dtype=mixed.dtype, device=mixed.device)
        keep[torch.arange(len(heads)), heads] = 0.0
        return mixed * keep[:, :, None, None]

    return ablated
