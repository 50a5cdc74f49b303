"""A grid of vectors as an image again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd

import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.pictures import GROUPS, Doubled, ResidualConvolution
from regard.ops.losses import squared_loss


class Deconvolved(nn.Module):
    """A grid of vectors as an image: what ``embed.Convolved`` does, backwards; the sides are doubled once for each of
    ``widths`` after the first. (B, rows, columns, dim) -> (B, C, height, width)."""

    def __init__(self, dim: int, widths: Sequence[int], blocks: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(dim, widths[0], 3, padding=1)
        steps: list[nn.Module] = [ResidualConvolution(widths[0], widths[0]) for _ in range(blocks)]
        for width, into in pairwise(widths):
            steps.append(Doubled(width))
            steps.extend(ResidualConvolution(width if n == 0 else into, into) for n in range(blocks))
        self.steps = nn.ModuleList(steps)
        self.norm = nn.GroupNorm(gcd(GROUPS, widths[-1]), widths[-1])
        self.leave = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        x = self.enter(x.permute(0, 3, 1, 2))
        for step in self.steps:
            x = step(x)
        return self.leave(F.silu(self.norm(x)))

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Summed squared error; both (B, C, height, width)."""
        return squared_loss(images, targets)
