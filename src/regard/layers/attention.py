"""Attention: projection x position x mask x core, each replaceable, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.cache import Growing, Memory, Preallocated, Ring
from regard.layers.context import Context, Part
from regard.layers.mask import Mask
from regard.layers.position import Position, Prepared
from regard.layers.projection import Projection
from regard.ops.attention import Core, fused
from regard.ops.random import dropout


class Attention(nn.Module):
    """Self-attention. x (B, T, D) -> (B, T, D).

    projection  which linear layers there are and how they make q, k and v
    position    what it knows of order: turns q and k, or adds a bias to their scores
    mask        rules of this layer alone (a sliding window), on top of the context's
    core        from q, k, v to the weighted sum
    scale       multiplies q . k; by default 1 / sqrt(K)
    dropout     rate on the attention weights
    """

    def __init__(
        self,
        projection: Projection,
        *,
        position: Position | None = None,
        mask: Mask | None = None,
        core: Core = fused,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.projection, self.mask, self.core, self.dropout = projection, mask, core, dropout
        self.scale = projection.head_dim**-0.5 if scale is None else scale
        self.position = position or Position()
        for name, layer in projection.layers().items():
            self.add_module(name, layer)
        self.o: nn.Module

    def memory(self, capacity: int | None, spare: int) -> Memory:
        """What an empty cache keeps of this layer's tokens; the arguments are those of ``Transformer.cache``."""
        window = None if self.mask is None else self.mask.window
        return Ring(window, spare) if window else Preallocated(capacity) if capacity else Growing()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        places, parts = context.places(), context.parts(self.mask)
        keys = context.keys()
        prepared = context.once((id(self.position), "x", id(keys)), lambda: self.position.prepare(places, keys))
        q = self.projection.q(self, x, prepared.rotate)  # (B, H, T, K)
        state = self.projection.state(self, x, prepared.rotate)  # of the new tokens
        if context.cache is not None:
            state = context.cache.add(context.layer, state)  # of all tokens so far
        return self._attend(q, state, context, parts)

    def _attend(self, q: Tensor, state: tuple[Tensor, ...], context: Context, parts: Sequence[Part]) -> Tensor:
        k, v = self.projection.expand(self, state)  # (B, G, S, K), (B, G, S, Kv)
        if parts[0].count == 0:
            mixed = self._mix(q, k, v, parts[0], context)  # (B, H, T, Kv)
        else:
            mixed = torch.cat(list(self._by_documents(q, k, v, parts, context)), 2)
        return self.o(mixed.transpose(1, 2).flatten(2))

    def _by_documents(
        self, q: Tensor, k: Tensor, v: Tensor, parts: Sequence[Part], context: Context
    ) -> Iterator[Tensor]:
        """Each run of documents by itself, (1, H, n * T, Kv)."""
        q_rows = q.split([part.count * part.q.length for part in parts], 2)
        k_rows = k.split([part.count * part.k.length for part in parts], 2)
        v_rows = v.split([part.count * part.k.length for part in parts], 2)
        for i, (part, *rows) in enumerate(zip(parts, q_rows, k_rows, v_rows, strict=True)):
            q, k, v = (batch_of_documents(row, part.count) for row in rows)
            yield one_row(self._mix(q, k, v, part, context.inside(i)))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, part: Part, context: Context) -> Tensor:
        prepared = self._prepared(part, context)
        bias = prepared.bias(q, k, self)
        return self.core(q, k, v, part.mask, bias, self.scale, dropout(self.dropout, context.key))

    def _prepared(self, part: Part, context: Context) -> Prepared:
        return context.once((id(self.position), id(part)), lambda: self.position.prepare(part.q, part.k))


class CrossAttention(Attention):
    """Attention from x to the context's memory, projected once where there is a cache. x (B, T, D) -> (B, T, D)."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if context.memory is None:
            raise RegardError("core.no_memory")
        q = self.projection.q(self, x, _as_is)
        cross = {} if context.cache is None else context.cache.cross
        if context.layer not in cross:
            cross[context.layer] = self.projection.state(self, context.memory, _as_is)
        return self._attend(q, cross[context.layer], context, context.memory_parts())


def _as_is(x: Tensor) -> Tensor:
    return x


def batch_of_documents(row: Tensor, count: int) -> Tensor:
    """(1, H, n * T, K) -> (n, H, T, K): the documents of a row as a batch, without a copy."""
    return row.unflatten(2, (count, -1))[0].transpose(0, 1)


def one_row(documents: Tensor) -> Tensor:
    """(n, H, T, K) -> (1, H, n * T, K)."""
    return documents.transpose(0, 1).flatten(1, 2).unsqueeze(0)
