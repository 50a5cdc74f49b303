"""Layers that know the grid which their tokens are a picture of (Xie et al. 2021, SegFormer)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.attention import Attention
from regard.layers.context import Context
from regard.layers.feed_forward import ACTIVATIONS, FeedForward
from regard.layers.norm import LayerNorm
from regard.layers.projection import Projection
from regard.ops.attention import Shown
from regard.ops.random import dropout


class ReducedAttention(Attention):
    """Every token looks at a picture of all that is ``ratio`` times smaller on each side (Wang et al. 2021, PVT,
    section 3.3), so that the cost falls with its square. Without padding. x (B, T, D) -> (B, T, D)."""

    def __init__(self, projection: Projection, dim: int, ratio: int, **others: Any) -> None:
        super().__init__(projection, **others)
        self.reduce = nn.Conv2d(dim, dim, ratio, stride=ratio) if ratio > 1 else None
        self.reduced = LayerNorm(dim) if ratio > 1 else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        source = x
        if self.reduce is not None and self.reduced is not None:
            source = self.reduced(self.reduce(as_picture(x, context)).flatten(2).mT)
        q = self.projection.q(self, x, _as_is)
        k, v = self.projection.expand(self, self.projection.state(self, source, _as_is))
        drop = dropout(self.dropout, context.key)
        mixed = self.core(q, k, v, Shown(None), None, self.scale, drop)
        return self.o(mixed.transpose(1, 2).flatten(2))


class MixedFeedForward(FeedForward):
    """A feed-forward layer that looks at the neighbours: ``down(activation(depthwise 3 x 3(up(x))))``. What lies beyond
    the edge counts as nothing, which tells tokens where they stand. x (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, hidden: int, activation: str, *, dropout: float = 0.0) -> None:
        super().__init__(dim, hidden, activation, dropout=dropout)
        self.around = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        inner = self.around(as_picture(self.up(x), context)).flatten(2).mT
        inner = ACTIVATIONS[self.activation](inner)
        drop = dropout(self.dropout, context.key)
        return self.down(inner if drop is None else drop(inner))


def as_picture(x: Tensor, context: Context) -> Tensor:
    """(B, T, D) -> (B, D, rows, columns)."""
    grid = context.places().grid
    if grid is None or grid[0] * grid[1] != x.shape[1] or context.places().start is None:
        raise RegardError("core.no_grid")
    return x.mT.unflatten(2, grid)


def _as_is(x: Tensor) -> Tensor:
    return x
