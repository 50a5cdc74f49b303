"""Layer norm and RMS norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.ops.norms import rms_norm


class LayerNorm(nn.Module):
    """Ba et al. 2016. x (..., D) -> (..., D)."""

    def __init__(self, dim: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class RMSNorm(nn.Module):
    """Zhang and Sennrich 2019. ``offset`` is added to the stored weight (Gemma stores weights around zero).

    x (..., D) -> (..., D).
    """

    def __init__(self, dim: int, *, eps: float = 1e-6, offset: float = 0.0) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.weight = nn.Parameter(torch.full((dim,), 1.0 - offset))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight + self.offset if self.offset else self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class ChannelScale(nn.Module):
    """Each channel by a learned factor, ``first`` at the beginning (Touvron et al. 2021, CaiT). x (..., D)."""

    def __init__(self, dim: int, first: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), first))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight
