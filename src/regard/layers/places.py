"""Where tokens stand: the positions of the queries or keys of one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Places:
    """positions (B|1, T) int64, a negative one marking what is no token; ``start`` is set when every row simply
    counts up from it, which lets masks stay unbuilt. ``grid``: the rows and columns of an image's patches."""

    positions: Tensor
    start: int | None = None
    grid: tuple[int, int] | None = None

    @staticmethod
    def count(
        start: int, length: int, device: torch.device | str | None = None, *, grid: tuple[int, int] | None = None
    ) -> Places:
        """``start, start + 1, …`` in every row."""
        return Places(torch.arange(start, start + length, device=device).unsqueeze(0), start, grid)

    @staticmethod
    def padded(lengths: Sequence[int], device: torch.device | str | None = None) -> Places:
        """Rows of these lengths, padded on the right."""
        longest = max(lengths)
        if min(lengths) == longest:
            return Places.count(0, longest, device)
        counted = torch.arange(longest, device=device).repeat(len(lengths), 1)
        return Places(counted.masked_fill(counted >= torch.tensor(lengths, device=device).unsqueeze(1), -1))

    @staticmethod
    def packed(lengths: Sequence[int], device: torch.device | str | None = None) -> Places:
        """One row of documents of these lengths, each counted from 0."""
        if len(lengths) == 1:
            return Places.count(0, lengths[0], device)
        return Places(torch.cat([torch.arange(length, device=device) for length in lengths]).unsqueeze(0))

    @property
    def length(self) -> int:
        return self.positions.shape[-1]

    @property
    def plain(self) -> bool:
        """Positions 0, 1, 2, … in every row, all of them tokens."""
        return self.start == 0

    def valid(self) -> Tensor | None:
        """Bool (B|1, T): which are tokens; None when all are."""
        return None if self.start is not None else self.positions >= 0

    def first(self, count: int) -> Places:
        return Places(self.positions[:, :count], self.start)

    def select(self, rows: Tensor) -> Places:
        return self if self.positions.shape[0] == 1 else Places(self.positions[rows], self.start, self.grid)
