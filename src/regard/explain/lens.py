"""The logit lens (nostalgebraist, 2020): what the model would answer if it stopped after each layer.

The residual stream after every layer is read through the model's own final norm and head. The last layer's reading is
the model's output itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regard.explain.question import Question, logits
from regard.explain.sites import stacks
from regard.layers import Context, Stack
from regard.tasks.base import probabilities


@dataclass(frozen=True, eq=False)
class Reading:
    """`answers` (L + 1, n, k) int64, best first, and their `probabilities` (L + 1, n, k), at each of the n positions:
    after the embedding, then after each layer. A classifier has one position."""

    answers: Tensor
    probabilities: Tensor


@torch.no_grad()
def lens(model: Any, question: Question, most: int = 10) -> Reading:
    """The `most` best answers after each layer of the stack that the head reads, at every position."""
    found = [_best(_answered(model, question, stream), most) for stream in _streams(model, question)]
    return Reading(torch.stack([best for best, _ in found]), torch.stack([share for _, share in found]))


def _streams(model: Any, question: Question) -> Sequence[Tensor]:
    """The residual stream (1, T, D) before the first layer and after each, normed as the stack norms its end."""
    stack = _read_by_head(model)
    first, streams = stack.blocks[stack.order[0]], []

    def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not streams:
            streams.append(arguments[0])

    handles = [first.register_forward_pre_hook(before)]
    handles += [block.register_forward_hook(lambda *seen: streams.append(seen[-1])) for block in stack.blocks]
    try:
        logits(model, question)
    finally:
        for handle in handles:
            handle.remove()
    return [stream if stack.norm is None else stack.norm(stream) for stream in streams]


def _read_by_head(model: nn.Module) -> Stack:
    found = stacks(model)
    return found["decoder"] if "decoder" in found else found["self"]


def _answered(model: Any, question: Question, stream: Tensor) -> Tensor:
    if question.rows:
        return model.head(stream)[0]  # (T, V)
    return model.head(stream, Context())  # (1, classes)


def _best(logits: Tensor, most: int) -> tuple[Tensor, Tensor]:
    shares, best = probabilities(logits).topk(min(most, logits.shape[-1]))
    return best, shares
