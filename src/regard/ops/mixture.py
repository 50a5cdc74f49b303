"""Shares that sum to one: of layers in an average, of codewords in a choice."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.ops.random import Key


def mixture(weights: Tensor) -> Tensor:
    """(..., N) -> the same shape, positive, summing to one over the last axis."""
    return torch.softmax(weights, -1)


def choice(logits: Tensor, temperature: float, key: Key | None) -> Tensor:
    """One of N as zeros and a one, (..., N): the likeliest, or, with a key, one drawn by the logits, whose gradient is
    that of the shares it was drawn from (Gumbel softmax, straight through; Jang et al. 2016)."""
    if key is None:
        return one_hot(logits)
    uniform = torch.empty(logits.shape, device=logits.device).uniform_(generator=key.generator(logits.device))
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    shares = torch.softmax((logits.float() + gumbel) / temperature, -1).to(logits.dtype)
    return one_hot(shares) - shares.detach() + shares


def one_hot(scores: Tensor) -> Tensor:
    """A one where the last axis is largest, zeros elsewhere."""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)


def spread(shares: Tensor) -> Tensor:
    """How many of the N are used in effect: exp of the entropy of the mean over the first axis.

    (M, ..., N) -> (...).
    """
    mean = shares.mean(0)
    return torch.exp(-torch.xlogy(mean, mean).sum(-1))
