"""Convolutions over frames: a row beside others is a row alone."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from regard.embed import Convolution, Frames
from regard.layers import Context


def frames() -> Frames:
    torch.manual_seed(3)
    gated = [Convolution(5, 14, 5, stride=2, padding=2, activation="glu"),
             Convolution(7, 22, 3, stride=2, padding=1, activation="glu")]  # fmt: skip
    return Frames(gated, scale=1.7)


def test_a_row_beside_longer_ones_gets_what_it_gets_alone() -> None:
    embed, lengths = frames(), [29, 13, 14, 1]
    x = torch.randn(4, 29, 5)
    context = embed.context(lengths)
    together = embed(x, context)
    assert together.shape == (*embed.size(x), 11)
    assert context.positions is not None
    for row, length in enumerate(lengths):
        alone = embed(x[row : row + 1, :length], Context())[0]
        assert len(alone) == embed.count(length) == int((context.positions[row] >= 0).sum())
        assert_close(together[row, : len(alone)], alone)


def test_rows_of_one_length_need_no_positions() -> None:
    context = frames().context([7, 7])
    assert context.positions is None and context.frames is None


def test_a_waveform_is_one_channel() -> None:
    embed = Frames([Convolution(1, 3, 7, stride=5)])
    x = torch.randn(2, 41)
    assert embed(x, Context()).shape == (2, embed.count(41), 3) == (2, 7, 3)
