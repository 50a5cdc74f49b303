"""The position-wise feed-forward sublayer, plain and gated."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.linear import Linear
from regard.ops.random import dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),  # Hendrycks and Gimpel 2016, section 2
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "squared_relu": lambda x: F.relu(x).square(),
}


class FeedForward(nn.Module):
    """``down(activation(up(x)))`` (Vaswani et al. 2017, eq. 2). x (B, T, D) -> (B, T, D)."""

    def __init__(self, dim: int, hidden: int, activation: str, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.activation, self.dropout = activation, dropout
        self.up = Linear(dim, hidden, bias=bias)
        self.down = Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        inner = ACTIVATIONS[self.activation](self.up(x))
        drop = dropout(self.dropout, context.key)
        return self.down(inner if drop is None else drop(inner))


class Gated(nn.Module):
    """``down(activation(gate(x)) * up(x))``: GLU with sigmoid, GEGLU with gelu, SwiGLU with silu (Shazeer 2020).

    x (B, T, D) -> (B, T, D).
    """

    def __init__(self, dim: int, hidden: int, activation: str, *, bias: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.activation, self.dropout = activation, dropout
        self.gate = Linear(dim, hidden, bias=bias)
        self.up = Linear(dim, hidden, bias=bias)
        self.down = Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        inner = ACTIVATIONS[self.activation](self.gate(x)) * self.up(x)
        drop = dropout(self.dropout, context.key)
        return self.down(inner if drop is None else drop(inner))
