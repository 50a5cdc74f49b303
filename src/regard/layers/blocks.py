"""Attention of a long text by blocks (BigBird)."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.layers.attention import Attention
from regard.layers.context import Context, Part
from regard.layers.everywhere import padding
from regard.layers.mask import Mask
from regard.layers.places import Places
from regard.layers.projection import Projection
from regard.ops.attention import Core, fused
from regard.ops.block_sparse import block_sparse, random_blocks
from regard.ops.random import Key, dropout

_DRAWN = 2  # a place in the tree of keys beside those of the two parts' dropout


class BlockSparseAttention(Attention):
    """Blocks of ``block`` tokens see the first and the last one, their neighbours and ``random`` others (Zaheer et al.
    2020); a text too short for that is seen whole. x (B, T, D) -> (B, T, D).

    The random blocks are drawn anew in each training step. Without a key (in evaluation) the first block stands in for
    them, as it does in the implementation that the published weights are used with. A row of a padded batch is
    divided as it would be alone.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        block: int,
        random: int,
        core: Core = fused,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(projection, core=core, scale=scale, dropout=dropout)
        self.block, self.random = block, random

    @property
    def shortest(self) -> int:
        """Texts up to this length are seen whole."""
        return (5 + 2 * self.random) * self.block

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, part: Part, context: Context) -> Tensor:
        if part.k.length <= self.shortest:
            return super()._mix(q, k, v, part, context)
        real = padding(part.mask, q.shape[0])
        if bool(real.all()):
            return self._alike(q, k, v, context)
        mixed = torch.zeros_like(q)
        for number, row in enumerate(real):
            first, length = int(row.int().argmax()), int(row.sum())
            rows = (slice(number, number + 1), slice(None), slice(first, first + length))
            mixed[rows] = self._alike(q[rows], k[rows], v[rows], context.inside(3 + number))
        return mixed

    def _alike(self, q: Tensor, k: Tensor, v: Tensor, context: Context) -> Tensor:
        """Rows without padding."""
        drop = dropout(self.dropout, context.key)
        length = q.shape[2]
        if length <= self.shortest:
            whole = Mask().bind(Places.count(0, length, q.device), Places.count(0, length, q.device))
            return self.core(q, k, v, whole, None, self.scale, drop)
        return block_sparse(
            self.core, q, k, v, self.block, self._chosen(q, length, context.key), self.scale, drop
        )  # fmt: skip

    def _chosen(self, q: Tensor, length: int, key: Key | None) -> Tensor:
        count = -(-length // self.block)
        if key is None:
            return torch.zeros(q.shape[1], count - 2, self.random, dtype=torch.int64, device=q.device)
        return random_blocks(key.at(_DRAWN), q.shape[1], count, self.random, q.device)
