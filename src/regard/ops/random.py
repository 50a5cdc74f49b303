"""Randomness as a value: what is drawn depends on the key alone, never on what was drawn before.

A key is folded along the path that leads to a draw (seed, step, micro-batch, layer, sublayer), in the manner of JAX.
Nothing stores a generator, so a resumed run, a recomputed layer and another number of ranks all draw the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_WORD = (1 << 64) - 1
_LEVELS = 1 << 16  # a decision costs 16 random bits, so a rate is rounded to 1 in 65,536


@dataclass(frozen=True)
class Key:
    """A point in the tree of random draws."""

    seed: int

    def at(self, *path: int) -> Key:
        """The key below this one along ``path``; different paths are independent."""
        state = self.seed & _WORD
        for step in path:
            state = _mix(state ^ _mix((step + 1) & _WORD))
        return Key(state)

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh PyTorch generator on ``device``, seeded by this key."""
        return torch.Generator(device=device).manual_seed(_mix(self.seed) >> 1)

    def keep(self, shape: Sequence[int], rate: float, device: torch.device | str = "cpu") -> Tensor:
        """Bool tensor of ``shape``, each element False with probability ``rate``.

        Four decisions are cut from each 64-bit draw: on a CPU five times cheaper than one Bernoulli draw each.
        """
        count = math.prod(shape)
        words = torch.empty((count + 3) // 4, dtype=torch.int64, device=device)
        words.random_(-(1 << 63), None, generator=self.generator(device))
        bits = words.view(torch.int16)[:count]
        return (bits >= round(rate * _LEVELS) - _LEVELS // 2).view(tuple(shape))


@dataclass(frozen=True)
class Dropout:
    """Dropout at ``rate`` < 1 with the mask of ``key`` (Srivastava et al. 2014), scaled so that expectations stay."""

    rate: float
    key: Key

    def __call__(self, x: Tensor) -> Tensor:
        keep = self.key.keep(x.shape, self.rate, x.device)
        return x * (keep.to(x.dtype) * (1.0 / (1.0 - self.rate)))

    def sequences(self, x: Tensor, documents: Sequence[int] | None = None) -> Tensor:
        """Drops whole sequences: stochastic depth (Huang et al. 2016). x (B, T, D), a row a sequence; or one row of
        documents of these lengths."""
        count = x.shape[0] if documents is None else len(documents)
        keep = self.key.keep((count,), self.rate, x.device).to(x.dtype) / (1.0 - self.rate)
        if documents is None:
            return x * keep.view(-1, 1, 1)
        return x * keep.repeat_interleave(torch.tensor(documents, device=x.device)).view(1, -1, 1)


def dropout(rate: float, key: Key | None) -> Dropout | None:
    """The dropout to apply, or None where nothing is dropped (``key`` None: evaluation)."""
    return Dropout(rate, key) if key is not None and rate > 0.0 else None


def hidden_patches(shape: tuple[int, int], share: float, noise: Tensor) -> Tensor:
    """Bool (B, P): in each row the patches with the largest ``noise`` (B, P), so many that all but ``1 - share`` of
    them, rounded down, are hidden (He et al. 2021, section 3)."""
    kept = int(shape[1] * (1 - share))
    places = noise.argsort(1)[:, kept:]
    return torch.zeros(shape, dtype=torch.bool, device=noise.device).scatter(1, places, True)


def _mix(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a bijection in which every bit reaches every bit."""
    x = (x + 0x9E3779B97F4A7C15) & _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)
