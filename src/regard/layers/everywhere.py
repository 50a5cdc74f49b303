"""Attention within a window, but for a few tokens that see all and are seen by all (Longformer)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.attention import Attention, batch_of_documents, one_row
from regard.layers.context import Context, Part
from regard.layers.mask import Bound
from regard.layers.places import Places
from regard.layers.projection import Projection
from regard.layers.rows import padding
from regard.ops.attention import Core, fused
from regard.ops.random import dropout
from regard.ops.windowed import windowed

Marks = Callable[[Tensor], Tensor]
Heads = tuple[Tensor, Tensor, Tensor]  # q, k, v
_LONG = 4  # a piece is shown three times the reach, so that a text of four is the first to gain


class WindowAttention(Attention):
    """Each token sees those at most ``reach`` positions away and the context's ``everywhere`` tokens; these see all, by
    way of projections of their own (Beltagy et al. 2020, section 3.1). x (B, T, D) -> (B, T, D).

    marks  says from their positions (B|1, T) which tokens are seen everywhere where the context does not
    """

    def __init__(
        self,
        projection: Projection,
        *,
        reach: int,
        marks: Marks | None = None,
        core: Core = fused,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(projection, core=core, scale=scale, dropout=dropout)
        self.reach, self.marks = reach, marks
        layers = projection.layers()
        self.whole = nn.ModuleDict({name: layers[name] for name in ("q", "k", "v")})

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if context.cache is not None:
            raise RegardError("core.window_cache")
        parts, marked = context.parts(None), self._marked(context, x.shape[0])
        near = self._projected(self, x)
        wide = near if marked is None else self._projected(self.whole, x)
        if parts[0].count == 0:
            mixed = self._both(near, wide, marked, parts[0], context)
        else:
            mixed = torch.cat(list(self._documents(near, wide, marked, parts, context)), 2)
        return self.o(mixed.transpose(1, 2).flatten(2))

    def _marked(self, context: Context, batch: int) -> Tensor | None:
        """(B, T) bool; None where no token is seen everywhere."""
        marked = context.everywhere
        if marked is None and self.marks is not None:
            marked = self.marks(context.places().positions)
        if marked is None or not marked.any():
            return None
        return marked.expand(batch, -1)

    def _projected(self, own: nn.Module, x: Tensor) -> Heads:
        state = self.projection.state(own, x, _as_is)
        return (self.projection.q(own, x, _as_is), *self.projection.expand(own, state))

    def _documents(
        self, near: Heads, wide: Heads, marked: Tensor | None, parts: tuple[Part, ...], context: Context
    ) -> Iterator[Tensor]:
        """Each run of documents by itself, (1, H, n * T, K)."""
        start = 0
        for i, part in enumerate(parts):
            end = start + part.count * part.q.length
            one, other = (
                tuple(batch_of_documents(rows[:, :, start:end], part.count) for rows in heads) for heads in (near, wide)
            )
            marks = None if marked is None else marked[0, start:end].view(part.count, -1)
            yield one_row(self._both(one, other, marks, part, context.inside(i)))  # type: ignore[arg-type]
            start = end

    def _both(self, near: Heads, wide: Heads, marked: Tensor | None, part: Part, context: Context) -> Tensor:
        """(n, H, T, K): near tokens for all, and for those that are marked what they see of all."""
        mixed = self._near(near, marked, part, context)
        if marked is None:
            return mixed
        chosen = marked.int().topk(int(marked.sum(-1).max()), -1).indices  # (n, W); some rows have fewer
        places = Places(part.q.positions.expand(len(chosen), -1).gather(1, chosen))
        index = chosen[:, None, :, None].expand(-1, mixed.shape[1], -1, mixed.shape[3])
        q, k, v = wide
        drop = dropout(self.dropout, context.inside(1).key)
        whole = self.core(q.gather(2, index), k, v, part.mask.mask.bind(places, part.k), None, self.scale, drop)
        real = marked.gather(1, chosen)[:, None, :, None]
        return mixed.scatter(2, index, torch.where(real, whole, mixed.gather(2, index)))

    def _near(self, near: Heads, marked: Tensor | None, part: Part, context: Context) -> Tensor:
        """The window alone: by pieces in a long text, at once in one that is hardly longer than the window."""
        drop = dropout(self.dropout, context.inside(0).key)
        if part.k.length > _LONG * self.reach:
            seen = padding(part.mask, len(near[0]))
            return windowed(self.core, *near, self.reach, seen, marked, self.scale, drop)
        name = ("near", id(part), self.reach, self.marks)
        visible = context.once(name, lambda: Near(part.mask, self.reach, marked))
        return self.core(*near, visible, None, self.scale, drop)


class Near:
    """What a mask shows of the tokens at most ``reach`` positions away, and of the ``marked`` (n, T) ones."""

    everything = lower_triangle = False

    def __init__(self, mask: Bound, reach: int, marked: Tensor | None) -> None:
        q, k = mask.q.positions, mask.k.positions
        seen = (q.unsqueeze(-1) - k.unsqueeze(-2)).abs() <= reach
        seen = (seen if marked is None else seen | marked.unsqueeze(1)).unsqueeze(1)
        self.tensor: Tensor | None = seen if mask.tensor is None else seen & mask.tensor


def _as_is(x: Tensor) -> Tensor:
    return x
