"""Attention chunk by chunk, each to those beside it in a ring, and to what a hash brings together (Reformer, Kitaev et
al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from regard.ops.attention import Core, Shown
from regard.ops.random import Dropout

Neighbours = tuple[int, int]  # how many chunks before and after its own a query sees


def local(
    core: Core, heads: tuple[Tensor, Tensor, Tensor], chunk: int, beside: Neighbours, causal: bool, seen: Tensor,
    scale: float, dropout: Dropout | None,
) -> Tensor:  # fmt: skip
    """Queries see the keys of their own chunk of ``chunk`` tokens and of those beside it; a text of one chunk all.

    heads: q, k, v (B, H, T, K), T a multiple of chunk or not above it. seen (B, T) bool: which are tokens. The first
    chunk follows the last one: where nothing is causal, either sees the other.
    """
    q, k, v = heads
    at = torch.arange(q.shape[2], device=q.device)
    if q.shape[2] <= chunk:
        visible = seen[:, None, None]
        return core(q, k, v, Shown(visible & (at.unsqueeze(1) >= at) if causal else visible), None, scale, dropout)
    queries, keys, values = (x.unflatten(2, (-1, chunk)) for x in heads)  # (B, H, N, c, K)
    keys, values = _ring(keys, beside), _ring(values, beside)  # (B, H, N, W, K)
    visible = _ring(seen[:, None].unflatten(2, (-1, chunk)), beside)[:, 0].unsqueeze(2)  # (B, N, 1, W)
    places = at.view(1, 1, -1, chunk)
    if causal:
        visible = visible & (places[0, 0].unsqueeze(-1) >= _ring(places, beside)[0, 0].unsqueeze(-2))
    count = queries.shape[2]
    shown = Shown(visible.expand(-1, -1, chunk, -1).flatten(0, 1).unsqueeze(1))
    folded = (x.transpose(1, 2).flatten(0, 1) for x in (queries, keys, values))  # (B * N, H, ...)
    mixed = core(*folded, shown, None, scale, dropout)  # type: ignore[call-arg]
    return mixed.unflatten(0, (-1, count)).transpose(1, 2).flatten(2, 3)


def hashed(
    qk: Tensor, v: Tensor, buckets: Tensor | None, chunk: int, beside: Neighbours, causal: bool, seen: Tensor,
    dropout: Dropout | None,
) -> Tensor:  # fmt: skip
    """Tokens are sorted by their bucket and see those sorted near them, once for each hash (section 2).

    qk, v (B, H, T, K) -> (B, H, T, K). buckets (B, H, R, T) of R hashes; None for a text of one chunk, which sees all.
    A token sees itself only where it sees nothing else.
    """
    T, R = qk.shape[2], 1 if buckets is None else buckets.shape[2]
    order = torch.arange(T, device=qk.device).expand(*qk.shape[:2], -1) if buckets is None else _sorted(buckets)
    width = T if buckets is None else chunk
    at = order.unflatten(2, (-1, width))  # (B, H, N, c): which tokens stand in each chunk
    taken = order.unsqueeze(-1).expand(-1, -1, -1, qk.shape[-1])
    queries, values = (x.gather(2, taken).unflatten(2, (-1, width)) for x in (qk, v))
    keys = queries * torch.rsqrt(queries.square().mean(-1, keepdim=True) + 1e-6) * qk.shape[-1] ** -0.5
    beside = (0, 0) if buckets is None else beside
    keys, values, other = _ring(keys, beside), _ring(values, beside), _ring(at, beside)
    visible = seen[:, None].expand(-1, qk.shape[1], -1).gather(2, other.flatten(2)).view(other.shape).unsqueeze(-2)
    if causal:
        visible = visible & (at.unsqueeze(-1) >= other.unsqueeze(-2))
    none, self_only = (-1e4, -1e3) if qk.dtype == torch.float16 else (-1e9, -1e5)
    scores = torch.where(visible, queries @ keys.transpose(-1, -2), none)
    scores = torch.where(at.unsqueeze(-1) == other.unsqueeze(-2), self_only, scores)
    total = scores.logsumexp(-1, keepdim=True)
    weights = (scores - total).exp()
    mixed = (weights if dropout is None else dropout(weights)) @ values
    if buckets is None:
        return mixed.flatten(2, 3)
    back = order.unflatten(2, (R, T)).argsort(-1)  # (B, H, R, T): where each token stands among the sorted
    mixed = mixed.flatten(2, 3).unflatten(2, (R, T)).gather(3, back.unsqueeze(-1).expand(-1, -1, -1, -1, v.shape[-1]))
    total = total.flatten(2, 3).unflatten(2, (R, T)).gather(3, back.unsqueeze(-1))
    return (mixed * total.softmax(2)).sum(2)


def bucketed(qk: Tensor, rotations: Tensor, factors: Sequence[int], seen: Tensor) -> Tensor:
    """The bucket of each token by each hash, (B, H, R, T) int64 (Andoni et al. 2015): the nearest of the directions of
    rotations (H, K, R, sum(factors) / 2) and their opposites, for each factor. What is no token has its own bucket.
    """
    turned = torch.einsum("bhtk,hkrn->bhrtn", qk.detach(), rotations)
    found, first, step = torch.zeros(turned.shape[:-1], dtype=torch.int64, device=qk.device), 0, 1
    for factor in factors:
        part = turned[..., first : first + factor // 2]
        found = found + step * torch.cat((part, -part), -1).argmax(-1)
        first, step = first + factor // 2, step * factor
    return torch.where(seen[:, None, None], found, prod(factors))


def factors_for(length: int, chunk: int, longest: int) -> tuple[int, ...]:
    """As many buckets as chunks twice over, a power of two; as two factors where that would be many."""
    power = (2 * (length // chunk)).bit_length() - 1
    if 2**power <= 2 * max(int((longest // chunk) ** 0.5), chunk):
        return (2**power,)
    return 2 ** (power // 2), 2 ** (power - power // 2)


def _sorted(buckets: Tensor) -> Tensor:
    """(B, H, R * T): the tokens by bucket, within one as they stand, one hash after the other."""
    return buckets.sort(dim=-1, stable=True).indices.flatten(2)


def _ring(x: Tensor, beside: Neighbours) -> Tensor:
    """(B, H, N, c, ...) -> (B, H, N, (before + 1 + after) c, ...): each chunk among those beside it."""
    before, after = beside
    if before == after == 0:
        return x
    return torch.cat([x.roll(-step, 2) for step in range(-before, after + 1)], 3)
