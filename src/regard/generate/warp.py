"""Pure functions that reshape next-token logits (B, V) before a token is drawn; what they rule out becomes -inf.

They compose left to right in the order of this file, which is also transformers' order.
"""

from __future__ import annotations

import torch
from torch import Tensor


def repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make every token of `seen` (B, V; True = already in the row) `penalty` times less likely: logits above zero are
    divided by it, others multiplied (CTRL, Keskar et al. 2019, section 4.1). 1 changes nothing."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def temperature(logits: Tensor, value: float) -> Tensor:
    """Below 1 the distribution sharpens, above 1 it flattens; `value` > 0."""
    return logits / value


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` largest logits of each row, and those equal to the least of them (Fan et al. 2018)."""
    if k >= logits.shape[-1]:
        return logits
    least = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of most probable tokens whose probability reaches `p` (nucleus sampling, Holtzman et al.
    2020): a token stays if those before it in the order hold less than `p`, so the first always does. 0 < p <= 1."""
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = log_probabilities(ordered).exp()
    before = probabilities.cumsum(-1) - probabilities
    out = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(out, -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Drop every token less than `p` times as probable as the row's most probable one (Nguyen et al. 2024)."""
    ratio = (logits - logits.amax(-1, keepdim=True)).exp()
    return logits.masked_fill(ratio < p, -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """The token (B,) of each row at the point `uniform` (B,), in [0, 1), of its cumulative distribution.

    One number a row makes the draw a pure function of the row alone, whatever batch it stands in. In double precision,
    so that the least probable of 100,000 tokens still gets its share.
    """
    # Apple's GPUs have no double precision.
    exact = (logits.cpu() if logits.device.type == "mps" else logits).double()
    cumulative = (exact - exact.amax(-1, keepdim=True)).exp().cumsum(-1)
    point = uniform.to(cumulative.device, torch.float64)[:, None] * cumulative[:, -1:]
    # right=True: the first token whose cumulative weight is above the point, so one of weight zero is never drawn.
    tokens = torch.searchsorted(cumulative, point, right=True)[:, 0]
    # A row of NaN has no such token; its NaN log-probability is what tells the caller.
    return tokens.clamp(max=logits.shape[-1] - 1).to(logits.device)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities in nats, (B, V)."""
    return logits - logits.logsumexp(-1, keepdim=True)
