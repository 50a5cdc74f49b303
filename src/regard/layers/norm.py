"""Layer norm and RMS norm; and the norms of convolutions, whose features stand before their frames."""

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


class ChannelNorm(LayerNorm):
    """Layer norm over the channels of each frame. x (B, C, F) -> (B, C, F)."""

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class TimeNorm(LayerNorm):
    """Each channel normed over the time of its own row (group norm, Wu and He 2018, with one channel a group).

    x (B, C, F) -> (B, C, F). ``real`` (B,): how many frames of each row count; what lies beyond changes nothing.
    """

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        if real is None:
            return F.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)
        count = real.view(-1, 1, 1)
        inside = torch.arange(x.shape[2], device=x.device) < count
        mean = x.masked_fill(~inside, 0.0).sum(-1, keepdim=True) / count
        away = x - mean
        variance = away.masked_fill(~inside, 0.0).square().sum(-1, keepdim=True) / count
        normed = away * (variance + self.eps).rsqrt() * self.weight.unsqueeze(-1)
        return normed if self.bias is None else normed + self.bias.unsqueeze(-1)


class BatchNorm(nn.Module):
    """Each feature normed by the mean and variance of all tokens of a batch; in evaluation by those that training has
    seen, of which each batch counts ``momentum`` (Ioffe and Szegedy 2015). x (B, T, D) -> (B, T, D).

    What training has seen is kept as parameters without a gradient: it is stored and resumed as weights are.
    ``real`` (B|1, T) bool: the tokens that count.
    """

    def __init__(self, dim: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.mean = nn.Parameter(torch.zeros(dim), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(dim), requires_grad=False)

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        mean, variance = self._seen(x, real) if self.training else (self.mean, self.variance)
        return F.batch_norm(x.flatten(0, 1), mean, variance, self.weight, self.bias, eps=self.eps).view(x.shape)

    def _seen(self, x: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        rows = x.flatten(0, 1) if real is None else x[real.expand(x.shape[:2])]
        variance, mean = torch.var_mean(rows, 0, correction=0)
        with torch.no_grad():
            unbiased = variance * (len(rows) / max(len(rows) - 1, 1))
            self.mean.lerp_(mean.to(self.mean.dtype), self.momentum)
            self.variance.lerp_(unbiased.to(self.variance.dtype), self.momentum)
        return mean, variance
