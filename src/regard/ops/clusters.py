"""Attention within clusters that hashes bring together, for queries and keys that are not the same (SMYRF, Daras et
al. 2020): what Reformer's hashing is to weights that were trained without it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.ops.attention import Core, Visible, ordered
from regard.ops.random import Dropout, Key

_NOTHING = -1e30  # finite, so that a query that finds nothing stays so


def hashing(size: int, rounds: int, key: Key) -> Core:
    """The core that sorts queries and keys along ``rounds`` directions drawn from ``key`` and cuts both into clusters
    of ``size``; a query sees the keys of its clusters, each once, and itself.

    Who comes together depends on all tokens, later ones too; what is seen does not.
    """

    def hashed(
        q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
    ) -> Tensor:
        causal = ordered("LSH", mask, bias, dropout)
        lines = torch.randn(rounds, q.shape[-1] + 2, generator=key.generator()).to(q)
        # One group after the other: of the scores no more than one group's are held.
        grouped = q.unflatten(1, (k.shape[1], -1)).unbind(1)
        groups = zip(grouped, k.unbind(1), v.unbind(1), strict=True)
        mixed = [_of_group(*one, lines, size, causal, scale) for one in groups]
        return torch.cat(mixed, 1)

    return hashed


def _of_group(
    q: Tensor, k: Tensor, v: Tensor, lines: Tensor, size: int, causal: bool, scale: float
) -> Tensor:  # fmt: skip
    """q (B, R, T, K) of the heads that share k (B, T, K) and v (B, T, Kv) -> (B, R, T, Kv)."""
    k, v = k.unsqueeze(1), v.unsqueeze(1)
    own = (q * k).sum(-1, keepdim=True) * scale  # (B, R, T, 1): of a query and its own key
    total, mixed = own, v.expand(*q.shape[:3], -1)
    q_places, k_places = places(q, k, lines)  # (rounds, B, R|1, T): where each stands when sorted
    for number in range(len(lines)):
        score, found = _of_round(q, k, v, q_places, k_places, number, size, causal, scale)
        both = torch.logaddexp(total, score)
        mixed = mixed * (total - both).exp() + found * (score - both).exp()
        total = both
    return mixed


def places(q: Tensor, k: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    """Where each query and each key stands when sorted along each line: q (B, R, T, K), k (B, 1, T, K), lines
    (rounds, K + 2) -> (rounds, B, R, T) and (rounds, B, 1, T).

    Two features more give all queries one length and all keys one, without changing q . k (Daras et al. 2020, eq. 6):
    then what points the same way has a large product.
    """
    q_size, k_size = q.square().sum(-1, keepdim=True), k.square().sum(-1, keepdim=True)
    most = q_size.amax((1, 2), keepdim=True) + k_size.amax((1, 2), keepdim=True)
    q = torch.cat((q, torch.zeros_like(q_size), (most - q_size).sqrt()), -1)
    k = torch.cat((k, (most - k_size).sqrt(), torch.zeros_like(k_size)), -1)
    return tuple(_ranks((x @ lines.T).movedim(-1, 0)) for x in (q, k))  # type: ignore[return-value]


def _of_round(
    q: Tensor, k: Tensor, v: Tensor, q_places: Tensor, k_places: Tensor, number: int, size: int, causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The logarithm of the summed weights (B, R, T, 1) of the keys that no earlier round found, and their mean."""
    q_at, k_at = (_cut(x[number].argsort(-1), size) for x in (q_places, k_places))  # (B, R|1, N, c): which token
    queries, keys, values = _taken(q, q_at), _taken(k, k_at), _taken(v, k_at)
    scores = queries @ keys.transpose(-1, -2) * scale  # (B, R, N, c, c)
    row, column = q_at.unsqueeze(-1), k_at.unsqueeze(-2)
    visible = (column >= 0) & (row > column if causal else row != column)
    for earlier in range(number):
        then_q, then_k = (
            (x[earlier] // size).gather(-1, at.clamp(min=0).flatten(2)).view(at.shape)
            for x, at in ((q_places, q_at), (k_places, k_at))
        )
        visible = visible & (then_q.unsqueeze(-1) != then_k.unsqueeze(-2))
    scores = scores.masked_fill(~visible, _NOTHING)
    total = scores.logsumexp(-1, keepdim=True)
    found = (scores - total).exp().masked_fill(~visible, 0.0) @ values
    back = q_places[number].unsqueeze(-1)  # where each query stands among the sorted is where its result does
    total, found = total.flatten(2, 3), found.flatten(2, 3)
    return total.gather(2, back), found.gather(2, back.expand(-1, -1, -1, found.shape[-1]))


def _ranks(values: Tensor) -> Tensor:
    return values.argsort(-1).argsort(-1)


def _cut(order: Tensor, size: int) -> Tensor:
    """(..., T) -> (..., N, c), -1 where the last cluster has room."""
    return F.pad(order, (0, -order.shape[-1] % size), value=-1).unflatten(-1, (-1, size))


def _taken(x: Tensor, at: Tensor) -> Tensor:
    """x (B, R, T, K) at (B, R, N, c) -> (B, R, N, c, K)."""
    index = at.clamp(min=0).flatten(2).unsqueeze(-1).expand(-1, -1, -1, x.shape[-1])
    return x.gather(2, index).unflatten(2, at.shape[2:])
