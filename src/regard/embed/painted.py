"""Positions of a text and of the image that follows it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.places import Places


class TextThenGrid(nn.Module):
    """A learned vector for each of the first ``text`` positions; then, for a grid's places row by row, one of its row
    plus one of its column (Ramesh et al. 2021, section 2.2). Places (B|1, T) -> (B|1, T, D)."""

    def __init__(self, text: int, grid: tuple[int, int], dim: int) -> None:
        super().__init__()
        self.text = nn.Parameter(torch.zeros(text, dim))
        self.rows = nn.Parameter(torch.zeros(grid[0], dim))
        self.columns = nn.Parameter(torch.zeros(grid[1], dim))

    def forward(self, places: Places) -> Tensor:
        text, columns = len(self.text), len(self.columns)
        context = text + len(self.rows) * columns
        last = int(places.positions.max()) if places.start is None else places.start + places.length - 1
        if last >= context:
            raise RegardError("core.too_long", length=last + 1, context=context)
        at = places.positions.clamp(min=0)
        inside = (at - text).clamp(min=0)
        grid = F.embedding(inside // columns, self.rows) + F.embedding(inside % columns, self.columns)
        written = F.embedding(at.clamp(max=text - 1), self.text)
        return torch.where((at < text).unsqueeze(-1), written, grid)
