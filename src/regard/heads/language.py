"""The language-model head: a distribution over the vocabulary at each position, causal or masked alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.feed_forward import ACTIVATIONS
from regard.layers.linear import Linear
from regard.ops.linear import linear
from regard.ops.losses import capped_loss, vocabulary_loss


class Language(nn.Module):
    """``softmax(scale * transform(x) @ weight.T + bias)``.

    weight (V, D) may be the embedding's own (Press and Wolf 2017). smoothing: label smoothing of the training loss.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        *,
        bias: bool = False,
        transform: nn.Module | None = None,
        scale: float = 1.0,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight, self.scale, self.smoothing = weight, scale, smoothing
        self.bias = nn.Parameter(torch.zeros(weight.shape[0])) if bias else None
        self.transform = transform

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        """(..., D) -> logits (..., V)."""
        return linear(self._transformed(hidden), self.weight, self.bias)

    def loss(self, rows: Tensor, targets: Tensor) -> Tensor:
        """Summed loss in nats of rows (N, D) at targets (N,) int64; smoothed only in training mode."""
        smoothing = self.smoothing if self.training else 0.0
        return vocabulary_loss(self._transformed(rows), self.weight, targets, self.bias, smoothing)

    def _transformed(self, x: Tensor) -> Tensor:
        x = x if self.transform is None else self.transform(x)
        return x if self.scale == 1.0 else x * self.scale


class Capped(Language):
    """Logits squashed into (-cap, cap): ``cap * tanh(logits / cap)`` (Gemma 2, 2024)."""

    def __init__(self, weight: nn.Parameter, *, cap: float) -> None:
        super().__init__(weight)
        self.cap = cap

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        return self.cap * torch.tanh(super().forward(hidden, context) / self.cap)

    def loss(self, rows: Tensor, targets: Tensor) -> Tensor:
        return capped_loss(rows, self.weight, targets, self.cap)


class Transform(nn.Module):
    """The linear layer, activation and norm that BERT puts before its vocabulary (Devlin et al. 2018).

    (..., D) -> (..., width); the width of the embedding, where that is another than the stack's.
    """

    def __init__(
        self, dim: int, activation: str, norm: nn.Module, *, width: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        self.activation = activation
        self.linear = Linear(dim, width or dim, bias=bias)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(ACTIVATIONS[self.activation](self.linear(x)))
