"""Images as tokens: squares of pixels, and where they stand in the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import Context
from regard.layers.places import Places
from regard.ops.random import dropout

Grid = tuple[int, int]  # rows and columns of patches


class Patches(nn.Module):
    """An image (B, C, height, width) cut into squares of ``patch`` pixels, each a token: (B, T, D) (Dosovitskiy et al.
    2020, section 3.1). Pixels beyond the last whole square are not seen.

    The tokens are ``first`` learned ones (a class token; a teacher's, Touvron et al. 2021), the patches row by row, and
    ``last`` learned ones (YOLOS's objects, Fang et al. 2021). mask: a learned vector stands for the patches that
    ``context.masked`` (B, P) names (Bao et al. 2021). norm: what is done to the sum of tokens and positions.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        patch: int,
        *,
        first: int = 1,
        last: int = 0,
        positions: nn.Module | None = None,
        mask: bool = False,
        bias: bool = True,
        norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.patch = nn.Conv2d(channels, dim, patch, stride=patch, bias=bias)
        self.first = nn.Parameter(torch.zeros(first, dim)) if first else None
        self.last = nn.Parameter(torch.zeros(last, dim)) if last else None
        self.mask = nn.Parameter(torch.zeros(dim)) if mask else None
        self.positions = positions
        self.norm = norm

    def forward(self, images: Tensor, context: Context) -> Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)  # (B, P, D)
        x = self.surrounded(self.hidden(x, context))
        if self.positions is not None:
            x = x + self.positions(self.grid(images)).to(x.dtype)
        x = x if self.norm is None else self.norm(x)
        drop = dropout(self.dropout, context.key)
        return x if drop is None else drop(x)

    def places(self, images: Tensor, context: Context) -> Places:
        """Where the tokens stand: a model opens its context with it."""
        rows, columns = self.grid(images)
        return Places.count(0, self.others + rows * columns, images.device, grid=(rows, columns))

    def grid(self, images: Tensor) -> Grid:
        """Rows and columns of patches. Refuses images of other channels, and such as are smaller than a patch."""
        channels, patch = self.patch.in_channels, self.patch.kernel_size[0]
        if images.dim() != 4 or images.shape[1] != channels or min(images.shape[2:]) < patch:
            raise RegardError("core.images", shape=tuple(images.shape), channels=channels, patch=patch)
        return images.shape[2] // patch, images.shape[3] // patch

    def hidden(self, x: Tensor, context: Context) -> Tensor:
        """Patches x (B, P, D) with the masked ones replaced."""
        if context.masked is None:
            return x
        if self.mask is None or context.masked.shape != x.shape[:2]:
            raise RegardError("core.masked_patches", masked=tuple(context.masked.shape), patches=tuple(x.shape[:2]))
        return torch.where(context.masked.unsqueeze(-1), self.mask.to(x.dtype), x)

    def surrounded(self, x: Tensor) -> Tensor:
        """Patches x (B, P, D) between the learned tokens: (B, T, D)."""
        around = [None if one is None else one.to(x.dtype).expand(len(x), -1, -1) for one in (self.first, self.last)]
        parts = [one for one in (around[0], x, around[1]) if one is not None]
        return torch.cat(parts, 1) if len(parts) > 1 else x

    @property
    def others(self) -> int:
        """How many tokens are no patches."""
        return sum(len(one) for one in (self.first, self.last) if one is not None)


class GridPositions(nn.Module):
    """A learned vector for each of ``first`` tokens, each place of a grid row by row, and each of ``last`` tokens;
    stretched for images with another grid, bicubically, as in the implementation that the published weights are used
    with. (rows, columns) -> (T, D).

    learned: whether training changes them (MAE's are sines, and stay).
    """

    def __init__(self, grid: Grid, dim: int, *, first: int = 1, last: int = 0, learned: bool = True) -> None:
        super().__init__()
        self.grid, self.first, self.last = grid, first, last
        self.weight = nn.Parameter(torch.zeros(first + grid[0] * grid[1] + last, dim), requires_grad=learned)

    def forward(self, grid: Grid) -> Tensor:
        if grid == self.grid:
            return self.weight
        first, places, last = self.weight.split((self.first, self.grid[0] * self.grid[1], self.last))
        return torch.cat((first, stretched(places, self.grid, grid), last))


def stretched(places: Tensor, grid: Grid, to: Grid) -> Tensor:
    """Vectors (P, D) of a grid's places as those of another grid, bicubically."""
    image = places.T.unflatten(1, grid).unsqueeze(0).float()  # (1, D, rows, columns)
    return F.interpolate(image, to, mode="bicubic", align_corners=False)[0].flatten(1).T.to(places.dtype)
