"""Attention whose places are added to what q and k are made of, and not to what v is (Carion et al. 2020, DETR)."""

from __future__ import annotations

from torch import Tensor

from regard.errors import RegardError
from regard.layers.attention import Attention
from regard.layers.context import Context
from regard.layers.projection import Grouped


class AddedAttention(Attention):
    """Self-attention with ``context.added`` in q and k. x (B, T, D) -> (B, T, D)."""

    projection: Grouped

    def forward(self, x: Tensor, context: Context) -> Tensor:
        placed = _with(x, context.added)
        q = self.projection.q(self, placed, _as_is)
        state = (self.projection.keys(self, placed, _as_is), self.projection.values(self, x))
        return self._attend(q, state, context, context.parts(self.mask))


class AddedCrossAttention(Attention):
    """Attention to the memory, ``context.added`` in q and ``context.memory_added`` in k. x (B, T, D) -> (B, T, D)."""

    projection: Grouped

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if context.memory is None:
            raise RegardError("core.no_memory")
        q = self.projection.q(self, _with(x, context.added), _as_is)
        placed = _with(context.memory, context.memory_added)
        state = (self.projection.keys(self, placed, _as_is), self.projection.values(self, context.memory))
        return self._attend(q, state, context, context.memory_parts())


def _with(x: Tensor, added: Tensor | None) -> Tensor:
    return x if added is None else x + added.to(x.dtype)


def _as_is(x: Tensor) -> Tensor:
    return x
