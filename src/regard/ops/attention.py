"""Attention cores: what happens between the projected queries, keys and values and the weighted sum.

Every core has one signature, so that each can take another's place::

    core(q, k, v, mask, bias, scale, dropout) -> (B, H, T, Kv)

    q        (B, H, T, K)      queries
    k, v     (B, G, S, K), (B, G, S, Kv)   keys and values of G heads; H is a multiple of G, neighbours share a head
    mask     Visible           which keys a query may see; a core asks for a tensor as late as it can
    bias     (B|1, H, T, S) or None        added to the scaled scores
    scale    float             multiplies q . k
    dropout  Dropout or None   on the weights

A query that may see nothing gets zeros, never NaN. A core that cannot serve a combination raises and names it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.errors import RegardError
from regard.ops.random import Dropout


class Visible(Protocol):
    """A mask bound to the places of queries and keys. True means: may attend."""

    @property
    def everything(self) -> bool:
        """Every query sees every key."""
        ...

    @property
    def lower_triangle(self) -> bool:
        """T == S and query t sees exactly the keys 0..t."""
        ...

    @property
    def tensor(self) -> Tensor | None:
        """Bool (B|1, 1, T, S); None where every query sees every key."""
        ...


@dataclass(frozen=True, eq=False)
class Shown:
    """What is visible, said outright."""

    tensor: Tensor | None
    lower_triangle: bool = False

    @property
    def everything(self) -> bool:
        return self.tensor is None


Core = Callable[[Tensor, Tensor, Tensor, Visible, Tensor | None, float, Dropout | None], Tensor]


def eager(
    q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
) -> Tensor:
    """Softmax attention, written out (Vaswani et al. 2017, eq. 1)."""
    return _weigh(_scores(q, k, bias, scale), v, mask, dropout)


def fused(
    q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
) -> Tensor:
    """The same through PyTorch's ``scaled_dot_product_attention``, which never holds the (T, S) weights.

    Weights under dropout are taken eagerly: the fused kernels draw from PyTorch's global generator, so their masks
    are not a function of seed and step, and on a CPU they leave the fast path for it anyway.
    """
    if dropout is not None:
        return eager(q, k, v, mask, bias, scale, dropout)
    grouped = q.shape[1] != k.shape[1]
    if bias is None and mask.lower_triangle:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
    bias = None if bias is None else bias.to(q.dtype)
    visible = None if mask.everything else mask.tensor
    if visible is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale, enable_gqa=grouped)
    # What a kernel makes of a row that sees nothing is its own affair: such a row sees all, and its result is dropped.
    sees = visible.any(-1, keepdim=True)
    shown = visible | ~sees
    added = shown if bias is None else torch.where(shown, bias, float("-inf"))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale, enable_gqa=grouped)
    return torch.where(sees, mixed, 0.0)


def soft_capped(cap: float) -> Core:
    """Scores squashed into (-cap, cap) before the mask: ``cap * tanh(scores / cap)`` (Gemma 2, 2024)."""

    def core(
        q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
    ) -> Tensor:
        scores = _scores(q, k, bias, scale)
        return _weigh(cap * torch.tanh(scores / cap), v, mask, dropout)

    return core


def ordered(name: str, mask: Visible, bias: Tensor | None, dropout: Dropout | None) -> bool:
    """For cores that know only order: whether a query sees the keys up to itself (True) or all. Raises RegardError
    naming the core and what it cannot serve."""
    causal, everything = mask.lower_triangle, mask.everything
    what = "bias" if bias is not None else "dropout" if dropout is not None else "mask"
    if what == "mask" and (causal or everything):
        return causal
    raise RegardError("core.cannot", core=name, what=what)


def _scores(q: Tensor, k: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    B, H, T, K = q.shape
    G, S = k.shape[1], k.shape[2]
    grouped = (q * scale).reshape(B, G, H // G * T, K)  # heads that share keys become more queries of one head
    scores = (grouped @ k.transpose(-1, -2)).view(B, H, T, S)
    return scores if bias is None else scores + bias


def _weigh(scores: Tensor, v: Tensor, mask: Visible, dropout: Dropout | None) -> Tensor:
    visible = None if mask.everything else mask.tensor
    if visible is None:
        weights = torch.softmax(scores, -1)
    else:
        # The lowest finite number instead of -inf: a row that sees nothing stays finite, in its gradient too.
        weights = torch.softmax(scores.masked_fill(~visible, torch.finfo(scores.dtype).min), -1)
        weights = weights.masked_fill(~visible, 0.0)
    if dropout is not None:
        weights = dropout(weights)
    B, H, T, S = weights.shape
    G = v.shape[1]
    return (weights.reshape(B, G, H // G * T, S) @ v).view(B, H, T, v.shape[-1])
