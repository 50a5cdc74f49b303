"""Reformer's two attentions: to the chunks beside a token's own, and to what a hash brings together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.projection import Projection, Rotate
from regard.layers.rows import RowAttention
from regard.ops import chunks
from regard.ops.attention import Core, fused
from regard.ops.random import Key, dropout


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a text is cut: into chunks of ``size`` tokens, of which each sees so many ``before`` and ``after`` it. A text
    longer than ``least`` is filled up to a multiple of ``align``, which all layers of a stack have in common."""

    size: int
    before: int
    after: int
    align: int
    least: int

    def filled(self, length: int) -> int:
        return length if length <= self.least else -(-length // self.align) * self.align


class ChunkAttention(RowAttention):
    """Attention to the chunks beside a token's own, in a ring (Kitaev et al. 2020). x (B, T, D) -> (B, T, D)."""

    rules = frozenset({"causal"})

    def __init__(self, projection: Projection, *, cut: Cut, core: Core = fused, dropout: float = 0.0) -> None:
        super().__init__(projection, core=core, dropout=dropout)
        self.cut = cut

    def alone(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, context: Context, which: tuple[int, ...]) -> Tensor:
        (q, k, v), seen, length = _filled((q, k, v), self.cut)
        drop, beside = dropout(self.dropout, context.key), (self.cut.before, self.cut.after)
        mixed = chunks.local(self.core, (q, k, v), self.cut.size, beside, causal, seen, self.scale, drop)
        return mixed[:, :, :length]


class HashedAttention(RowAttention):
    """Attention to the tokens whose q, which is also their k, points the same way (Kitaev et al. 2020, section 2).

    buckets  how many the directions are told apart in, as one number or the product of two; None: by the length
    hashes   how many times, each by other directions
    longest  text that this is built for
    seed     of the directions in evaluation; in training they are new in each step
    """

    rules = frozenset({"causal"})

    def __init__(
        self,
        projection: Projection,
        *,
        cut: Cut,
        hashes: int,
        longest: int,
        buckets: Sequence[int] | None = None,
        seed: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(projection, dropout=dropout)
        self.cut, self.hashes, self.longest, self.buckets, self.seed = cut, hashes, longest, buckets, seed

    def alone(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, context: Context, which: tuple[int, ...]) -> Tensor:
        (q, v), seen, length = _filled((q, v), self.cut)
        # Made once for a pass: a layer that is run again in the backward pass must sort as it did.
        name = ("buckets", context.layer, *which)
        found = context.once(name, lambda: self._bucketed(q, seen, context)) if q.shape[2] > self.cut.size else None
        drop, beside = dropout(self.dropout, context.key), (self.cut.before, self.cut.after)
        return chunks.hashed(q, v, found, self.cut.size, beside, causal, seen, drop)[:, :, :length]

    def _bucketed(self, q: Tensor, seen: Tensor, context: Context) -> Tensor:
        factors = self.buckets or chunks.factors_for(q.shape[2], self.cut.size, self.longest)
        key = Key(self.seed).at(context.layer) if context.key is None else context.key.at(_DIRECTIONS)
        shape = (q.shape[1], q.shape[3], self.hashes, sum(factors) // 2)
        return chunks.bucketed(q, directions(shape, key, q), factors, seen)


@dataclass(frozen=True, kw_only=True)
class SharedQK:
    """One layer for q and k, another for v."""

    dim: int
    heads: int
    head_dim: int

    def layers(self) -> dict[str, nn.Module]:
        width = self.heads * self.head_dim
        return {
            "qk": nn.Linear(self.dim, width, bias=False),
            "v": nn.Linear(self.dim, width, bias=False),
            "o": nn.Linear(width, self.dim, bias=False),
        }

    def q(self, own: Any, x: Tensor, rotate: Rotate) -> Tensor:
        return own.qk(x).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def state(self, own: Any, source: Tensor, rotate: Rotate) -> tuple[Tensor, ...]:
        return (own.v(source).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2),)

    def expand(self, own: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return state[0], state[0]  # the keys are the queries, which the attention has


def directions(shape: tuple[int, ...], key: Key, like: Tensor) -> Tensor:
    """Random directions, normally distributed."""
    return torch.randn(shape, generator=key.generator(like.device), device=like.device, dtype=like.dtype)


_DIRECTIONS = 2  # a place in the tree of keys beside that of dropout


def _filled(heads: tuple[Tensor, ...], cut: Cut) -> tuple[tuple[Tensor, ...], Tensor, int]:
    """Rows filled up as the cut asks, which of their places are tokens (B, T), and their length before."""
    length = heads[0].shape[2]
    filled = cut.filled(length)
    seen = (torch.arange(filled, device=heads[0].device) < length).expand(heads[0].shape[0], -1)
    return tuple(F.pad(x, (0, 0, 0, filled - length)) for x in heads), seen, length
