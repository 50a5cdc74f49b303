"""Connectionist temporal classification: a letter or a blank for each frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from regard.layers.context import HEAD, Context
from regard.ops.losses import ctc_loss
from regard.ops.random import dropout


class CTC(nn.Module):
    """Graves et al. 2006: (B, T, D) -> logits (B, T, V); letter ``blank`` is none."""

    def __init__(self, dim: int, vocab: int, *, blank: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blank, self.dropout = blank, dropout
        self.letters = nn.Linear(dim, vocab)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        drop = None if context is None or context.key is None else dropout(self.dropout, context.key.at(HEAD))
        return self.letters(hidden if drop is None else drop(hidden))

    def loss(self, logits: Tensor, targets: Sequence[Tensor], context: Context | None = None) -> Tensor:
        """Summed loss in nats of the rows of logits (B, T, V), without their padding, at each row's letters (S_i,)."""
        frames = lengths(logits, context)
        counts = torch.tensor([len(target) for target in targets], device=logits.device)
        return ctc_loss(logits, frames, torch.cat(list(targets)).to(logits.device), counts, self.blank)


def lengths(x: Tensor, context: Context | None) -> Tensor:
    """(B,) int64: how many of the frames of each row of x (B, T, ...) are real."""
    real = None if context is None else context.valid(x.shape[1])
    if real is None:
        return torch.full((x.shape[0],), x.shape[1], device=x.device)
    return real.expand(x.shape[:2]).sum(-1)
