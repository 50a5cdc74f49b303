"""Attention that takes tokens by their places, each row as it would be alone."""

from __future__ import annotations

from collections.abc import Set

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.layers.attention import Attention
from regard.layers.context import Context, Part
from regard.layers.mask import Bound


class RowAttention(Attention):
    """Takes a batch with padding apart into its rows, so that where a text is cut depends on itself alone.

    Subclasses say what ``alone`` makes of rows without padding. ``rules`` are what a mask may say beside padding.
    """

    rules: Set[str] = frozenset()
    shortest = 0  # texts up to this length are an ordinary attention's

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, part: Part, context: Context) -> Tensor:
        if part.k.length <= self.shortest:
            return super()._mix(q, k, v, part, context)
        if context.cache is not None:
            raise RegardError("core.window_cache")
        real = padding(part.mask, q.shape[0], self.rules)
        causal = any(term.causal for term in part.mask.mask.terms)
        if bool(real.all()):
            return self.alone(q, k, v, causal, context, (id(part),))
        mixed = torch.zeros_like(q)
        for number, row in enumerate(real):
            first, length = int(row.int().argmax()), int(row.sum())
            rows = (slice(number, number + 1), slice(None), slice(first, first + length))
            if length:
                mixed[rows] = self.alone(
                    q[rows], k[rows], v[rows], causal, context.inside(3 + number), (id(part), number)
                )
        return mixed

    def alone(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, context: Context, which: tuple[int, ...]) -> Tensor:
        """(n, H, T, K) of rows of one length -> the same. ``which`` names them within this pass."""
        raise NotImplementedError


def padding(mask: Bound, batch: int, also: Set[str] = frozenset()) -> Tensor:
    """(B, T) bool: which keys are tokens. Padding is all that a mask may say, but for the rules ``also``."""
    rules = {rule for term in mask.mask.terms for rule in term.rules} - {"lengths", *also}
    if rules:
        raise RegardError("core.blocks_with", rules=", ".join(sorted(rules)))
    real = torch.ones(1, mask.k.length, dtype=torch.bool, device=mask.k.positions.device)
    if not mask.k.plain:
        real = mask.k.positions >= 0
    for term in mask.mask.terms:
        if term.lengths is not None:
            real = real & (torch.arange(mask.k.length, device=real.device) < term.lengths.unsqueeze(-1))
    real = real.expand(batch, -1)
    edges = (real[:, 1:] & ~real[:, :-1]).sum(-1) + real[:, 0]
    if bool((edges > 1).any()):
        raise RegardError("core.blocks_gaps")
    return real
