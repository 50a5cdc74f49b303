"""What attention knows of places in a grid: a bias for each offset, and one position for all layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import Context
from regard.layers.places import Places
from regard.layers.position import Position, Prepared
from regard.layers.residual import Stack

Grid = tuple[int, int]


class GridBias(Position):
    """A learned bias for each offset (rows, columns) between two patches of a grid, and three for the token before
    them: from it, to it, and of it to itself (Bao et al. 2021; Liu et al. 2021, Swin, section 3.2). Offsets of another
    grid are interpolated."""

    def __init__(self, grid: Grid, heads: int) -> None:
        super().__init__()
        self.grid = grid
        self.weight = nn.Parameter(torch.zeros((2 * grid[0] - 1) * (2 * grid[1] - 1) + 3, heads))

    def prepare(self, q: Places, k: Places) -> Prepared:
        if q.grid is None or q.grid != k.grid:
            raise RegardError("core.no_grid")
        return _ByOffset(self, q.grid)


class _ByOffset(Prepared):
    def __init__(self, own: GridBias, grid: Grid) -> None:
        self.own, self.grid = own, grid

    def bias(self, q: Tensor, k: Tensor, own: Any) -> Tensor | None:
        return self.made

    @cached_property
    def made(self) -> Tensor:
        """(1, H, T, T)."""
        old, new = ((2 * rows - 1, 2 * columns - 1) for rows, columns in (self.own.grid, self.grid))
        offsets, others = self.own.weight[:-3], self.own.weight[-3:]
        if new != old:
            image = offsets.T.unflatten(1, old).unsqueeze(0)
            offsets = F.interpolate(image, new, mode="bilinear", align_corners=False)[0].flatten(1).T
        index = offset_index(self.grid).to(offsets.device)
        return torch.cat((offsets, others))[index].permute(2, 0, 1).unsqueeze(0)


def offset_index(grid: Grid) -> Tensor:
    """(T, T) int64: which row of a grid's table, with three others behind it, each pair of tokens takes."""
    rows, columns = (one.flatten() for one in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    down = rows.unsqueeze(1) - rows + grid[0] - 1
    across = columns.unsqueeze(1) - columns + grid[1] - 1
    count = (2 * grid[0] - 1) * (2 * grid[1] - 1)
    index = torch.full((len(rows) + 1, len(rows) + 1), count)
    index[1:, 1:] = down * (2 * grid[1] - 1) + across
    index[1:, 0], index[0, 0] = count + 1, count + 2
    return index


class Shared(Position):
    """One position that all layers hold, prepared once for them."""

    def __init__(self, position: Position) -> None:
        super().__init__()
        self.shared = position

    def prepare(self, q: Places, k: Places) -> Prepared:
        return self.shared.prepare(q, k)


class PlacedStack(Stack):
    """A stack that adds positions anew after each block but the last; ``positions`` make (depth - 1, T, D) of a
    grid (Fang et al. 2021, YOLOS). x (B, T, D) -> (B, T, D)."""

    def __init__(self, blocks: Sequence[nn.Module], positions: nn.Module, *, norm: nn.Module | None = None) -> None:
        super().__init__(blocks, norm=norm)
        self.positions = positions

    def forward(self, x: Tensor, context: Context) -> Tensor:
        added = self.positions(context.places().grid)
        for layer, block in enumerate(self.order):
            x = self.blocks[block](x, context.at(layer))
            x = x + added[layer] if layer < len(added) else x
        return x if self.norm is None else self.norm(x)
