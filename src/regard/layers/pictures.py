"""Convolutions over images: a residual block of them, and the halving and doubling of an image's sides."""

from __future__ import annotations

from math import gcd

import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8  # of channels normed together, or fewer where so many do not divide them


class ResidualConvolution(nn.Module):
    """``x + convolution(silu(norm(convolution(silu(norm(x))))))`` (He et al. 2016; Ho et al. 2020, appendix B).

    x (B, C, height, width) -> (B, into, height, width); x is projected where its channels are others.
    """

    def __init__(self, channels: int, into: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(gcd(GROUPS, channels), channels)
        self.first = nn.Conv2d(channels, into, 3, padding=1)
        self.second_norm = nn.GroupNorm(gcd(GROUPS, into), into)
        self.second = nn.Conv2d(into, into, 3, padding=1)
        self.skip = nn.Conv2d(channels, into, 1) if channels != into else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(F.silu(self.first_norm(x)))
        y = self.second(F.silu(self.second_norm(y)))
        return y + (x if self.skip is None else self.skip(x))


class Halved(nn.Module):
    """x (B, C, height, width) -> (B, C, height // 2, width // 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shrink(x)


class Doubled(nn.Module):
    """x (B, C, height, width) -> (B, C, 2 height, 2 width): each pixel as four, then a convolution, which leaves no
    checkerboard (Odena et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enlarge = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.enlarge(F.interpolate(x, scale_factor=2.0, mode="nearest"))
