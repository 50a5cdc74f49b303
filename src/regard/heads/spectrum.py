"""What a decoder of speech says: frames of a spectrogram, and whether it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import HEAD, Context
from regard.layers.norm import BatchNorm
from regard.ops.losses import stop_loss
from regard.ops.random import Key, dropout

_STOP_WEIGHT = 5.0  # as the authors' code has it


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """rough and fine (B, F, mels): frames before and after they were smoothed; stops (B, F): logits of the sound's
    end."""

    rough: Tensor
    fine: Tensor
    stops: Tensor


@dataclass(frozen=True, kw_only=True)
class Missed:
    """frames: summed absolute difference, rough and fine; ends: summed nats of where they end; values and count: how
    many numbers and frames these are sums of."""

    frames: Tensor
    ends: Tensor
    values: int
    count: int


class Spectrum(nn.Module):
    """(B, T, D) -> a Sketch of T * ``together`` frames, each token so many (the reduction factor; Wang et al. 2017,
    section 3.2); convolutions then add detail (Shen et al. 2017, section 2.2)."""

    def __init__(
        self, dim: int, mels: int, together: int, *, depth: int, width: int, kernel: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.mels, self.together, self.dropout = mels, together, dropout
        self.frames = nn.Linear(dim, mels * together)
        self.stops = nn.Linear(dim, together)
        sizes = [mels, *[width] * (depth - 1), mels] if depth else [mels]
        pairs = list(pairwise(sizes))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, kernel, padding=(kernel - 1) // 2, bias=False) for a, b in pairs
        )
        self.norms = nn.ModuleList(BatchNorm(b) for _, b in pairs)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Sketch:
        rough = self.said(hidden)
        real = None if context is None else context.valid(hidden.shape[1])
        real = None if real is None else real.repeat_interleave(self.together, -1)
        key = None if context is None or context.key is None else context.key.at(HEAD)
        return Sketch(rough=rough, fine=self.smoothed(rough, real, key), stops=self.stops(hidden).flatten(1))

    def said(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> rough frames (B, T * together, mels)."""
        return self.frames(hidden).unflatten(-1, (self.together, self.mels)).flatten(1, 2)

    def smoothed(self, rough: Tensor, real: Tensor | None = None, key: Key | None = None) -> Tensor:
        """Frames (B, F, mels), of which ``real`` (B|1, F) bool are some, with what the convolutions add."""
        x = rough
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = x if real is None else x.masked_fill(~real.unsqueeze(-1), 0.0)
            x = norm(convolution(x.transpose(1, 2)).transpose(1, 2), real)
            x = torch.tanh(x) if number + 1 < len(self.norms) else x
            drop = dropout(self.dropout, None if key is None else key.at(number))
            x = x if drop is None else drop(x)
        return rough + x

    def loss(self, sketch: Sketch, wanted: Tensor, lengths: Sequence[int]) -> Missed:
        """Against frames (B, F, mels), of which each row's first ``lengths`` are real."""
        inside = torch.arange(wanted.shape[1], device=wanted.device) < torch.tensor(
            lengths, device=wanted.device
        ).unsqueeze(1)
        frames = sum(F.l1_loss(one[inside], wanted[inside], reduction="sum") for one in (sketch.rough, sketch.fine))
        last = F.pad(inside, (0, 1))[:, 1:].logical_not()
        ends = stop_loss(sketch.stops[inside], last[inside], _STOP_WEIGHT)
        count = int(inside.sum())
        assert isinstance(frames, Tensor)
        return Missed(frames=frames, ends=ends, values=count * wanted.shape[2], count=count)
