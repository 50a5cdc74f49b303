"""Attention whose heads learn how far back they look (Sukhbaatar et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regard.layers.attention import Attention
from regard.layers.cache import Memory, Ring
from regard.layers.context import Context, Part
from regard.layers.position import Position
from regard.layers.projection import Projection
from regard.ops.attention import Core, fused
from regard.ops.random import dropout
from regard.ops.windowed import newest


class SpanAttention(Attention):
    """Each head weighs a token x places away by ``clamp((ramp + span - x) / ramp, 0, 1)`` beside the softmax (eq. 3),
    and learns its span. x (B, T, D) -> (B, T, D).

    longest  the largest span, in tokens; ramp: over how many the weight falls from one to nothing
    The spans (H,), in tokens, are left in the context's ``side`` for a loss that keeps them short. A causal text is
    taken by pieces of what the furthest head sees, and a cache keeps no more than that.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        longest: int,
        ramp: int,
        position: Position | None = None,
        core: Core = fused,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(projection, position=position, core=core, dropout=dropout)
        self.longest, self.ramp = longest, ramp
        self.span = nn.Parameter(torch.zeros(projection.heads))  # as a share of the longest

    def spans(self) -> Tensor:
        """(H,) tokens."""
        return self.longest * _Held.apply(self.span)  # type: ignore[operator]

    def reach(self) -> int:
        """How many tokens the furthest head sees, itself among them."""
        return max(int((self.spans().max() + self.ramp).ceil()), self.ramp)  # no less, even where tensors hold nothing

    def memory(self, capacity: int | None, spare: int) -> Memory:
        return Ring(self.reach(), spare)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if context.side is not None:
            context.side[context.layer] = Spans(self.spans())
        return super().forward(x, context)

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, part: Part, context: Context) -> Tensor:
        drop, bias = dropout(self.dropout, context.key), self._prepared(part, context).bias(q, k, self)
        size = self.reach()
        if bias is None and part.mask.lower_triangle and part.k.length > 2 * size:
            behind = torch.arange(size, device=q.device)
            return newest(self.core, q, k, v, size, self.scale, drop, self.weighed(behind))
        apart = (part.q.positions.unsqueeze(-1) - part.k.positions.unsqueeze(-2)).abs()  # (B|1, T, S)
        added = self.weighed(apart).transpose(0, 1)
        return self.core(q, k, v, part.mask, added if bias is None else bias + added, self.scale, drop)

    def weighed(self, apart: Tensor) -> Tensor:
        """The logarithm of each head's weight of what is so far away: (...) -> (H, ...)."""
        share = (self.ramp + self.spans().view(-1, *[1] * apart.dim()) - apart) / self.ramp
        return torch.where(share > 0, share.clamp(1e-6, 1).log(), float("-inf"))


class _Held(torch.autograd.Function):
    """Values held between 0 and 1, with a gradient for those at an end or beyond it that leads back inside: else a
    span that fell to nothing would be lost for good."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,), (grad,) = ctx.saved_tensors, grads
        outward = ((x <= 0) & (grad > 0)) | ((x >= 1) & (grad < 0))
        return grad.masked_fill(outward, 0.0)


class Spans:
    """What a layer's spans (H,) are, in tokens."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens
