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
        parts = (self.first, self.grid[0] * self.grid[1], self.last)
        first, places, last = self.weight.split(parts, -2)
        return torch.cat((first, stretched(places, self.grid, grid), last), -2)


def stretched(places: Tensor, grid: Grid, to: Grid) -> Tensor:
    """Vectors (..., P, D) of a grid's places as those of another grid, bicubically."""
    image = places.mT.unflatten(-1, grid).float()  # (..., D, rows, columns)
    made = F.interpolate(image.reshape(-1, *image.shape[-3:]), to, mode="bicubic", align_corners=False)
    return made.reshape(*image.shape[:-2], -1).mT.to(places.dtype)


class OverlappingPatches(Patches):
    """Patches whose squares of ``patch`` pixels begin every ``stride`` pixels, and so overlap, over an edge of zeros;
    then a norm. They have no positions (Xie et al. 2021, section 3.1). (B, C, height, width) -> (B, T, D)."""

    def __init__(self, channels: int, dim: int, patch: int, stride: int, *, norm: nn.Module) -> None:
        super().__init__(channels, dim, patch, first=0, norm=norm)
        self.patch = nn.Conv2d(channels, dim, patch, stride=stride, padding=patch // 2)

    def grid(self, images: Tensor) -> Grid:
        channels, patch, stride = self.patch.in_channels, self.patch.kernel_size[0], self.patch.stride[0]
        sides = [side + 2 * (patch // 2) - patch for side in images.shape[2:]]
        if images.dim() != 4 or images.shape[1] != channels or min(sides) < 0:
            raise RegardError("core.images", shape=tuple(images.shape), channels=channels, patch=patch // 2)
        return sides[0] // stride + 1, sides[1] // stride + 1


class VisiblePatches(Patches):
    """Patches of which the ``context.masked`` are left out, positions and all (He et al. 2021, MAE): (B, C, height,
    width) -> (B, T, D). Every image must show as many as the others."""

    def forward(self, images: Tensor, context: Context) -> Tensor:
        if context.masked is None:
            return super().forward(images, context)
        assert self.positions is not None and self.first is not None
        positions = self.positions(self.grid(images))
        first, rest = positions.split((len(self.first), len(positions) - len(self.first)))
        x = self.patch(images).flatten(2).transpose(1, 2) + rest
        x = x[~context.masked].view(len(x), -1, x.shape[-1])
        return torch.cat(((self.first + first).expand(len(x), -1, -1), x), 1)

    def places(self, images: Tensor, context: Context) -> Places:
        all = super().places(images, context)
        if context.masked is None:
            return all
        masked, count = context.masked, all.length - self.others
        seen = (~masked).sum(1)
        if masked.shape != (len(images), count) or bool((seen != seen[0]).any()):
            raise RegardError("core.visible_patches", masked=tuple(masked.shape), patches=(len(images), count))
        return Places.count(0, self.others + int(seen[0]), images.device)


def sines(grid: Grid, dim: int) -> Tensor:
    """(1 + P, D): zeros for the first token, then for each place sines and cosines of its column, and of its row
    (He et al. 2021)."""
    angles = 10_000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = (one.flatten().double() for one in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    turned = [one.unsqueeze(1) * angles for one in (columns, rows)]
    made = torch.cat([wave(one) for one in turned for wave in (torch.sin, torch.cos)], 1)
    return torch.cat((torch.zeros(1, dim, dtype=torch.float64), made)).float()
