"""What stands before the stack of a model of sound: convolutions over the frames of a spectrogram or a waveform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.feed_forward import ACTIVATIONS
from regard.layers.places import Places
from regard.ops.random import dropout

Count = TypeVar("Count", int, Tensor)


def _gated(x: Tensor) -> Tensor:
    """One half of the channels lets the other through (Dauphin et al. 2017). (B, 2 C, F) -> (B, C, F)."""
    return F.glu(x, 1)


_AFTER: dict[str, Callable[[Tensor], Tensor]] = {**ACTIVATIONS, "glu": _gated}


class Convolution(nn.Module):
    """``activation(norm(conv(x)))`` over time. x (B, C, F) -> (B, out, F'), half of ``out`` after a "glu".

    norm: a module over (B, out, F') that may be told how many of each row's frames are real. padding: zeros on either
    side.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        activation: str = "gelu",
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.conv = nn.Conv1d(channels, out, kernel, stride=stride, padding=padding, bias=bias)
        self.norm = norm

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """``real`` (B,): how many frames of each row of the result are real; None: all."""
        x = self.conv(x)
        return _AFTER[self.activation](x if self.norm is None else self.norm(x, real))

    def count(self, frames: Count) -> Count:
        """How many frames it makes of so many."""
        (kernel,), (stride,), padding = self.conv.kernel_size, self.conv.stride, self.conv.padding[0]
        return (frames + 2 * int(padding) - kernel) // stride + 1


class Frames(nn.Module):
    """Frames made fewer by convolutions, then told where they stand. (B, F, C), or a waveform (B, F), -> (B, T, D).

    Each row gets what it would get alone where the context says how much of it is real (``context``): before each
    convolution what lies beyond is zero, as if the row ended there.

    project: what brings the last convolution's channels to the width of the stack. scale multiplies the result before
    the positions are added.
    """

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        *,
        project: nn.Module | None = None,
        positions: nn.Module | None = None,
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.convolutions = nn.ModuleList(convolutions)
        self.project = project
        self.positions = positions

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = self.convolved(x, context.frames)
        x = x if self.project is None else self.project(x)
        if self.scale != 1.0:
            x = x * self.scale
        if self.positions is not None:
            x = x + self.positions(context.places()).to(x.dtype)
        drop = dropout(self.dropout, context.key)
        return x if drop is None else drop(x)

    def convolved(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, F, C) or (B, F), of which the first ``lengths`` (B,) of each row are real -> (B, T, C')."""
        x = (x.unsqueeze(-1) if x.dim() == 2 else x).transpose(1, 2)
        for convolution in self.convolutions:
            assert isinstance(convolution, Convolution)
            if lengths is not None:
                beyond = torch.arange(x.shape[2], device=x.device) >= lengths.unsqueeze(-1)
                x = x.masked_fill(beyond.unsqueeze(1), 0.0)
                lengths = convolution.count(lengths)
            x = convolution(x, lengths)
        return x.transpose(1, 2)

    def size(self, x: Tensor) -> tuple[int, int]:
        """(B, T): how many tokens the stack has of x."""
        return x.shape[0], self.count(x.shape[1])

    def count(self, frames: Count) -> Count:
        """How many tokens so many frames make."""
        for convolution in self.convolutions:
            assert isinstance(convolution, Convolution)
            frames = convolution.count(frames)
        return frames

    def context(self, lengths: Sequence[int], device: torch.device | str | None = None) -> Context:
        """For a batch of rows of so many frames, padded on the right to the longest."""
        if len(set(lengths)) == 1:
            return Context()
        places = Places.padded([self.count(length) for length in lengths], device)
        return Context(positions=places.positions, frames=torch.tensor(lengths, device=device))
