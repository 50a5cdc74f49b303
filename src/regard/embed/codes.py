"""Images as a small grid of vectors, the vectors as numbers of a codebook (VQ-VAE, van den Oord et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import Context
from regard.layers.pictures import GROUPS, Halved, ResidualConvolution
from regard.ops.losses import squared_loss


class Convolved(nn.Module):
    """An image as a grid of vectors: its sides halved once for each of ``widths`` after the first, with ``blocks``
    residual convolutions at each size. (B, C, height, width) -> (B, rows, columns, dim)."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int, dim: int) -> None:
        super().__init__()
        self.factor = 2 ** (len(widths) - 1)
        self.enter = nn.Conv2d(channels, widths[0], 3, padding=1)
        steps: list[nn.Module] = [ResidualConvolution(widths[0], widths[0]) for _ in range(blocks)]
        for width, into in pairwise(widths):
            steps.append(Halved(width))
            steps.extend(ResidualConvolution(width if n == 0 else into, into) for n in range(blocks))
        self.steps = nn.ModuleList(steps)
        self.norm = nn.GroupNorm(gcd(GROUPS, widths[-1]), widths[-1])
        self.leave = nn.Conv2d(widths[-1], dim, 1)

    def forward(self, images: Tensor, context: Context | None = None) -> Tensor:
        self.grid(images)
        x = self.enter(images)
        for step in self.steps:
            x = step(x)
        return self.leave(F.silu(self.norm(x))).permute(0, 2, 3, 1)

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of the vectors. Refuses images of other channels, and sides that cannot be halved so
        often."""
        channels, factor = self.enter.in_channels, self.factor
        fits = images.dim() == 4 and images.shape[1] == channels and min(images.shape[2:]) >= factor
        if not fits or images.shape[2] % factor or images.shape[3] % factor:
            raise RegardError("core.images_halved", shape=tuple(images.shape), channels=channels, factor=factor)
        return images.shape[2] // factor, images.shape[3] // factor


class Codebook(nn.Module):
    """``count`` vectors; each vector of an image is replaced by the nearest. weight (count, dim).

    The gradient passes the replacement as if it were not there (straight through, van den Oord et al. 2017,
    section 3.2); what pulls vectors and codes together is ``loss``.
    """

    def __init__(self, count: int, dim: int, *, commitment: float = 0.25) -> None:
        super().__init__()
        self.commitment = commitment
        self.weight = nn.Parameter(torch.zeros(count, dim))

    def nearest(self, x: Tensor) -> Tensor:
        """x (..., dim) -> the number (...) int64 of each vector's nearest code; of two as near, the first."""
        flat = x.detach().reshape(-1, x.shape[-1])
        distances = self.weight.square().sum(1) - 2 * flat @ self.weight.T  # and |x|^2, which is the same for all
        return distances.argmin(1).view(x.shape[:-1])

    def vectors(self, codes: Tensor) -> Tensor:
        """codes (...) int64 -> (..., dim)."""
        return F.embedding(codes, self.weight)

    def straight(self, x: Tensor, codes: Tensor) -> Tensor:
        """The codes' vectors, with x's gradient. x (..., dim), codes (...) -> (..., dim)."""
        return x + (self.vectors(codes) - x).detach()

    def loss(self, x: Tensor, codes: Tensor) -> Tensor:
        """Summed squared distance (van den Oord et al. 2017, eq. 3): codes drawn to the vectors, and, less, vectors
        to the codes."""
        found = self.vectors(codes)
        return squared_loss(found, x.detach()) + self.commitment * squared_loss(x, found.detach())

    @torch.no_grad()
    def restart(self, unused: Tensor, x: Tensor, generator: torch.Generator) -> int:
        """Puts codes that nothing was nearest to, ``unused`` (count,) bool, where some of the vectors x (..., dim) are
        (Dhariwal et al. 2020, section 3.1); how many."""
        flat = x.reshape(-1, x.shape[-1])
        count = min(int(unused.sum()), len(flat))
        chosen = torch.randperm(len(flat), generator=generator)[:count]
        self.weight[unused.nonzero()[:count, 0]] = flat[chosen].to(self.weight.dtype)
        return count
