"""Learning from sound alone: which of several quantised frames a hidden one was (wav2vec 2.0, Baevski et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.layers.context import Context
from regard.ops.losses import contrastive_loss
from regard.ops.mixture import choice, mixture, spread
from regard.ops.random import Key, dropout
from regard.ops.spans import negatives

_DROPPED, _CHOSEN, _OTHERS = 1, 2, 3  # places in the tree of keys


class Quantizer(nn.Module):
    """A frame as one codeword of each of ``groups`` books, side by side (Baevski et al. 2020, section 2).

    (N, features) -> (N, dim), and how the choice was spread (N, groups, entries). words (groups * entries,
    dim / groups).
    """

    def __init__(self, features: int, groups: int, entries: int, dim: int) -> None:
        super().__init__()
        self.groups, self.entries = groups, entries
        self.choose = nn.Linear(features, groups * entries)
        self.words = nn.Parameter(torch.zeros(groups * entries, dim // groups))

    def forward(self, frames: Tensor, key: Key | None, temperature: float) -> tuple[Tensor, Tensor]:
        logits = self.choose(frames).unflatten(-1, (self.groups, self.entries))
        chosen = choice(logits, temperature, key)
        words = self.words.view(self.groups, self.entries, -1)
        picked = torch.einsum("nge,ged->ngd", chosen, words).flatten(1)
        return picked, chosen if key is None else mixture(logits.float())


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Sums over ``count`` hidden frames: the loss of telling them apart, that of unused codewords; and how many are
    used in effect."""

    contrast: Tensor
    diversity: Tensor
    used: Tensor
    count: int


class Contrast(nn.Module):
    """(B, T, D) -> guesses (B, T, width) of what the quantised frames are.

    temperature divides the cosines; diversity weighs the loss of unused codewords.
    """

    def __init__(
        self,
        dim: int,
        quantizer: Quantizer,
        codes: int,
        width: int,
        *,
        temperature: float = 0.1,
        diversity: float = 0.1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.temperature, self.diversity, self.dropout = temperature, diversity, dropout
        self.quantizer = quantizer
        self.guess = nn.Linear(dim, width)
        self.code = nn.Linear(codes, width)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        return self.guess(hidden)

    def codes(self, features: Tensor, key: Key | None = None, temperature: float = 2.0) -> tuple[Tensor, Tensor]:
        """Frames (N, features) as codewords (N, width), and how the choice was spread (N, groups, entries)."""
        drop = None if key is None else dropout(self.dropout, key.at(_DROPPED))
        picked, shares = self.quantizer(
            features if drop is None else drop(features), None if key is None else key.at(_CHOSEN), temperature
        )
        return self.code(picked), shares

    def learned(
        self,
        guesses: Tensor,
        features: Tensor,
        masked: Tensor,
        others: Tensor,
        key: Key | None = None,
        temperature: float = 2.0,
    ) -> Learned:
        """What the hidden frames cost: guesses (B, T, width) and normed features (B, T, C) of all, masked (B, T) bool,
        others (N, K): places among the N hidden frames that each is told from."""
        codes, shares = self.codes(features[masked], key, temperature)
        contrast = contrastive_loss(guesses[masked], codes, codes[others], self.temperature)
        used = spread(shares).sum()
        total = self.quantizer.groups * self.quantizer.entries
        return Learned(contrast=contrast, diversity=(total - used) / total * len(codes), used=used, count=len(codes))

    def loss(
        self, guesses: Tensor, features: Tensor, masked: Tensor, key: Key, *, count: int, temperature: float = 2.0
    ) -> Tensor:
        """Summed over the hidden frames, each told from ``count`` others drawn by ``key``."""
        others = negatives(key.at(_OTHERS), masked.cpu(), count).to(guesses.device)
        found = self.learned(guesses, features, masked, others, key, temperature)
        return found.contrast + self.diversity * found.diversity
