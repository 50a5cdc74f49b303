"""From a spectrogram to a waveform: HiFi-GAN's generator (Kong et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LAST_SLOPE = 0.01  # PyTorch's usual one, which the authors' code falls back to at the end


class Vocoder(nn.Module):
    """Frames (B, F, mels) -> samples (B, F * product of rates) in -1..1: each step makes so many of one, then averages
    what convolutions of several widths add (section 2.2).

    rates, kernels: of each step up; widths, dilations: of the convolutions after it. Frames are first brought to mean 0
    and deviation 1 by ``mean`` and ``deviation``, which are stored with the weights, if ``normed``.
    """

    def __init__(
        self,
        mels: int,
        channels: int,
        *,
        rates: Sequence[int],
        kernels: Sequence[int],
        widths: Sequence[int],
        dilations: Sequence[Sequence[int]],
        slope: float,
        normed: bool,
    ) -> None:
        super().__init__()
        self.slope, self.normed = slope, normed
        self.mean = nn.Parameter(torch.zeros(mels), requires_grad=False)
        self.deviation = nn.Parameter(torch.ones(mels), requires_grad=False)
        self.first = nn.Conv1d(mels, channels, 7, padding=3)
        self.ups, self.mixes = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(rates, kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2)
            self.ups.append(up)
            channels //= 2
            for width, each in zip(widths, dilations, strict=True):
                self.mixes.append(_Mix(channels, width, each, slope))
        self.count = len(widths)
        self.last = nn.Conv1d(channels, 1, 7, padding=3)

    def forward(self, frames: Tensor) -> Tensor:
        x = (frames - self.mean) / self.deviation if self.normed else frames
        x = self.first(x.transpose(1, 2))
        for number, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.slope))
            mixes = [self.mixes[number * self.count + n](x) for n in range(self.count)]
            x = torch.stack(mixes).sum(0) / self.count
        return torch.tanh(self.last(F.leaky_relu(x, _LAST_SLOPE))).squeeze(1)


class _Mix(nn.Module):
    """Pairs of convolutions, the first of each spread out, added to what they read."""

    def __init__(self, channels: int, width: int, dilations: Sequence[int], slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.wide = nn.ModuleList(
            nn.Conv1d(channels, channels, width, dilation=spread, padding=(width - 1) * spread // 2)
            for spread in dilations
        )
        self.near = nn.ModuleList(nn.Conv1d(channels, channels, width, padding=(width - 1) // 2) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for wide, near in zip(self.wide, self.near, strict=True):
            x = x + near(F.leaky_relu(wide(F.leaky_relu(x, self.slope)), self.slope))
        return x
