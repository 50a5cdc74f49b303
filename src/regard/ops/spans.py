"""Random spans of frames or features, and random frames to tell others from: pure functions of a key."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.ops.random import Key


def spans(key: Key, lengths: Sequence[int], width: int, share: float, span: int, least: int) -> Tensor:
    """Which of ``width`` places of each row are hidden, bool (B, width) on the CPU (SpecAugment, Park et al. 2019).

    Spans of ``span`` places begin at different places drawn from the first ``lengths`` of each row; their number is
    what ``share`` of the row would take if none overlapped, rounded up or down at random (for all rows alike), at least
    ``least``, and never more than fit.
    """
    draw = key.generator()
    rounding = torch.rand((), generator=draw).item()
    hidden = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        places = max(length - span + 1, 0)
        count = min(max(int(share * length / span + rounding), least), length // span, places)
        starts = torch.randperm(places, generator=draw)[:count]
        hidden[row, (starts.unsqueeze(-1) + torch.arange(span)).flatten()] = True
    return hidden


def negatives(key: Key, masked: Tensor, count: int) -> Tensor:
    """For each masked frame, ``count`` other masked frames of its row, drawn with repetition: (N, count) int64, places
    among the N masked frames in their order. masked (B, T) bool, no row with fewer than two."""
    draw, found, first = key.generator(), [], 0
    for number in masked.sum(-1).tolist():
        drawn = torch.randint(0, max(number - 1, 1), (number, count), generator=draw)
        found.append(first + drawn + (drawn >= torch.arange(number).unsqueeze(-1)).long())
        first += number
    return torch.cat(found)
