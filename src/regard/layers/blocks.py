"""Attention of a long text by blocks (BigBird)."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.layers.context import Context
from regard.layers.projection import Projection
from regard.layers.rows import RowAttention
from regard.ops.attention import Core, Shown, fused
from regard.ops.block_sparse import block_sparse, random_blocks
from regard.ops.random import Key, dropout

_DRAWN = 2  # a place in the tree of keys beside those of the two parts' dropout


class BlockSparseAttention(RowAttention):
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
    def shortest(self) -> int:  # type: ignore[override]
        """Texts up to this length are seen whole."""
        return (5 + 2 * self.random) * self.block

    def alone(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, context: Context, which: tuple[int, ...]) -> Tensor:
        drop, length = dropout(self.dropout, context.key), q.shape[2]
        if length <= self.shortest:
            return self.core(q, k, v, Shown(None), None, self.scale, drop)
        chosen = self._chosen(q, length, context.key)
        return block_sparse(self.core, q, k, v, self.block, chosen, self.scale, drop)

    def _chosen(self, q: Tensor, length: int, key: Key | None) -> Tensor:
        count = -(-length // self.block)
        if key is None:
            return torch.zeros(q.shape[1], count - 2, self.random, dtype=torch.int64, device=q.device)
        return random_blocks(key.at(_DRAWN), q.shape[1], count, self.random, q.device)
