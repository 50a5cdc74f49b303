"""Convolutions inside a stack: what a token takes from its neighbours by their distance alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.feed_forward import ACTIVATIONS
from regard.layers.norm import BatchNorm
from regard.ops.random import dropout


class ConvolutionalPositions(nn.Module):
    """A token's position as what a wide grouped convolution makes of its surroundings (Baevski et al. 2020, section 2).

    x (B, T, D), zero where there is no token, -> (B, T, D). norm: a norm before the convolution.
    """

    def __init__(
        self, dim: int, kernel: int, groups: int, *, activation: str = "gelu", norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.activation, self.norm = activation, norm
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        real = context.valid(x.shape[1])
        if self.norm is not None:
            x = self.norm(x, real)
            x = x if real is None else x.masked_fill(~real.unsqueeze(-1), 0.0)
        around = separately(lambda rows: self.conv(rows)[..., : rows.shape[-1]], x, context)
        return ACTIVATIONS[self.activation](around)


class Neighbours(nn.Module):
    """What a token takes of its neighbours by a convolution over them: ``activation(dropout(conv(x)))``, where padding
    is zero (DeBERTa 2's code). x (B, T, D) -> (B, T, D). kernel: odd."""

    def __init__(self, dim: int, kernel: int, *, groups: int = 1, activation: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.activation, self.dropout = activation, dropout
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        real = context.valid(x.shape[1])
        x = x if real is None else x.masked_fill(~real.unsqueeze(-1), 0.0)
        x = separately(self.conv, x, context)
        drop = dropout(self.dropout, context.key)
        return ACTIVATIONS[self.activation](x if drop is None else drop(x))


class Convolved(nn.Module):
    """Two linear layers around a convolution of each feature by itself: the first gated, the second after norm and
    activation (Gulati et al. 2020, figure 2, without the residual). x (B, T, D) -> (B, T, D).

    norm: BatchNorm as in the paper, or any norm of tokens.
    """

    def __init__(self, dim: int, kernel: int, *, activation: str = "silu", norm: nn.Module, bias: bool = True) -> None:
        super().__init__()
        self.activation = activation
        self.up = nn.Linear(dim, 2 * dim, bias=bias)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=(kernel - 1) // 2, groups=dim, bias=bias)
        self.norm = norm
        self.down = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        real = context.valid(x.shape[1])
        x = F.glu(self.up(x), -1)
        if real is not None:
            x = x.masked_fill(~real.unsqueeze(-1), 0.0)
        x = separately(self.depthwise, x, context)
        x = self.norm(x, real) if isinstance(self.norm, BatchNorm) else self.norm(x)
        return self.down(ACTIVATIONS[self.activation](x))


def separately(convolve: Callable[[Tensor], Tensor], x: Tensor, context: Context) -> Tensor:
    """``convolve`` (B, D, T) -> (B, D, T) over x (B, T, D), each document of a row as if it were alone."""
    documents = context.mask.documents
    if documents is None:
        return convolve(x.transpose(1, 2)).transpose(1, 2)
    rows = x[0].split(documents)
    return torch.cat([convolve(row.T.unsqueeze(0))[0].T for row in rows]).unsqueeze(0)
