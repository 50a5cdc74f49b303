"""Ops for the rows of a table: how files lay out what our layers hold apart. Each is exact in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class ByHead:
    """One stored tensor in which the rows of ours take turns, group by group (head 1's q, k and v, then head 2's …)."""

    groups: int

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [torch.cat([t.unflatten(0, (self.groups, -1)) for t in ours], 1).flatten(0, 1)]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        parts = theirs[0].unflatten(0, (self.groups, -1)).split([shape[0] // self.groups for shape in shapes], 1)
        return [part.flatten(0, 1).contiguous() for part in parts]


@dataclass(frozen=True)
class Interleaved:
    """Rows of ``heads`` heads whose features from ``start`` on, ``size`` of them, are rotated in pairs of neighbours.

    Ours are rotated half by half: stored 0, 1, 2, 3, … stand here as 0, 2, …, 1, 3, …
    """

    heads: int
    size: int
    start: int = 0

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [self._moved(t, (2, -1)) for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [self._moved(t, (-1, 2)) for t in theirs]

    def _moved(self, tensor: Tensor, pairs: tuple[int, int]) -> Tensor:
        by_head = tensor.unflatten(0, (self.heads, -1))
        before, turned, after = by_head.tensor_split((self.start, self.start + self.size), 1)
        return torch.cat((before, turned.unflatten(1, pairs).transpose(1, 2).flatten(1, 2), after), 1).flatten(0, 1)


class _Stacked:
    """One tensor of ours holds, along its first axis, what is stored expert by expert."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return list(ours[0].unbind(0))

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [torch.stack(list(theirs))]


stacked = _Stacked()


class _RowsApart:
    """The rows of one matrix of ours, each stored as (1, 1, D)."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.view(1, 1, -1) for t in ours[0].unbind(0)]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [torch.cat([t.flatten(0, 1) for t in theirs])]


rows_apart = _RowsApart()


@dataclass(frozen=True)
class Under:
    """Tensors stored under so many axes of size 1."""

    axes: int

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t[(None,) * self.axes] for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [t.reshape(t.shape[self.axes :]) for t in theirs]


@dataclass(frozen=True)
class Reshaped:
    """A tensor stored with further axes of one element, at these places."""

    axes: tuple[int, ...]

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        made = list(ours)
        for axis in self.axes:
            made = [t.unsqueeze(axis) for t in made]
        return made

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [t.reshape(shape) for t, shape in zip(theirs, shapes, strict=True)]


class _PairedColumns:
    """Columns that belong to sines and cosines by turns; ours belong to the sines, then to the cosines."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.unflatten(1, (2, -1)).transpose(1, 2).flatten(1) for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [t.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1) for t in theirs]


paired_columns = _PairedColumns()


class _Flipped:
    """Rows that stand in the opposite order."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.flip(0) for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [t.flip(0) for t in theirs]


flipped = _Flipped()


class _Unfolded:
    """Convolutions (out, in, kernel) stored as linear layers over the frames that they see, (out, kernel * in)."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.transpose(1, 2).flatten(1) for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        pairs = zip(theirs, shapes, strict=True)
        return [t.view(shape[0], shape[2], shape[1]).transpose(1, 2).contiguous() for t, shape in pairs]


unfolded = _Unfolded()


class _Single:
    """Matrices of one row, stored as vectors."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t[0] for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
        return [t.unsqueeze(0) for t in theirs]


single = _Single()
