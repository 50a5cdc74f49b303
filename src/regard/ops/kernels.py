"""Softmax attention estimated by random features (FAVOR+, Choromanski et al. 2021): a product that is summed over the
keys first, so that its cost grows with the length, not its square.

``exp(q . k)`` is the mean of ``phi(q) phi(k)`` over directions w drawn from a normal distribution, with
``phi(x) = exp(w . x - |x|^2 / 2)``: positive, so that no sum can vanish (lemma 1). The exponents are kept below 0 by
what cancels out of a quotient: of a query the largest of its own, of a key the largest of those before it, so that no
query depends on what comes after it, not even in its last bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.ops.attention import Core, Visible, ordered
from regard.ops.random import Dropout, Key

LEAST = 1e-6  # added to every feature: what q and k have nothing in common in is an even mean, not 0 / 0
_NOTHING = -1e30  # the exponent of a key that is not there; finite, so that differences of two are 0
_PIECE = 1024  # tokens whose features are held at once
_AT_ONCE = 64  # queries whose own keys are taken pair by pair


@dataclass(frozen=True, eq=False)
class Sums:
    """What a text so far leaves: the sums of phi(k) v (B, G, M, Kv) and phi(k) (B, G, M, 1), less ``most`` (B, G, 1)
    in the exponent."""

    values: Tensor
    weights: Tensor
    most: Tensor


def directions(key: Key, count: int, size: int, device: torch.device | str = "cpu") -> Tensor:
    """(count, size) normal directions, orthogonal within each block of ``size``: less variance (section 3.2)."""
    generator = key.generator()  # drawn on the CPU, so that all devices have the same
    blocks = []
    for _ in range(-(-count // size)):
        q, r = torch.linalg.qr(torch.randn(size, size, generator=generator))
        blocks.append((q * r.diagonal().sign()).T)
    lengths = torch.randn(count, size, generator=generator).norm(dim=-1, keepdim=True)
    return (torch.cat(blocks)[:count] * lengths).to(device)


def favor(directions: Tensor) -> Core:
    """The core of these directions (M, K)."""

    def core(
        q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
    ) -> Tensor:
        if not ordered("FAVOR+", mask, bias, dropout):
            return both_ways(exponents(q, directions, scale), exponents(k, directions, scale), v).to(v.dtype)
        found, past = [], None
        for piece in zip(*(x.split(_PIECE, 2) for x in (q, k, v)), strict=True):  # features are many: of few at a time
            features = (exponents(x, directions, scale) for x in piece[:2])
            mixed, past = forward_only(*features, piece[2], past=past)  # type: ignore[call-arg]
            found.append(mixed)
        return torch.cat(found, 2).to(v.dtype)

    return core


def exponents(x: Tensor, directions: Tensor, scale: float) -> Tensor:
    """The logarithms of phi of each direction: (..., K) -> (..., M), in single precision at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32)) * scale**0.5
    return x @ directions.T.to(x.dtype) - x.square().sum(-1, keepdim=True) / 2


def both_ways(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """Every query sees all keys. q (B, H, T, M), k (B, G, S, M) exponents, v (B, G, S, Kv), seen (B|1, S) bool: which
    keys are tokens -> (B, H, T, Kv)."""
    B, H, T, _ = q.shape
    k, largest = _hidden(k, seen)
    most = largest.amax(-1, keepdim=True)  # (B, G, 1)
    features = _features(k, most.unsqueeze(-1), seen, (largest - most).exp().unsqueeze(-1))
    values, weights = features.transpose(-1, -2) @ v.to(k.dtype), features.sum(2).unsqueeze(-1)  # (B, G, M, Kv)
    queries = _features(q, q.detach().amax(-1, keepdim=True)).unflatten(1, (k.shape[1], -1)).flatten(2, 3)
    return _divided(queries @ values, queries @ weights).view(B, H, T, -1)


def forward_only(
    q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None, past: Sums | None = None, at_once: int = _AT_ONCE
) -> tuple[Tensor, Sums]:
    """Query t sees the keys 0..t, and what ``past`` has summed. Shapes as in ``both_ways``, with T == S."""
    B, H, T, M = q.shape
    G, wide = k.shape[1], v.shape[-1]
    k, largest = _hidden(k, seen)
    v = v.to(k.dtype)
    if past is None:
        nothing = k.new_full((B, G, 1), _NOTHING)
        past = Sums(k.new_zeros(B, G, M, wide), k.new_zeros(B, G, M, 1), nothing)
    found = []
    for start in range(0, T, at_once):
        part = slice(start, start + at_once)
        own = None if seen is None else seen[:, part]
        mixed, past = _step(q[:, :, part], k[:, :, part], v[:, :, part], largest[:, :, part], own, past)
        found.append(mixed)
    return torch.cat(found, 2).view(B, H, T, wide), past


def _step(
    q: Tensor, k: Tensor, v: Tensor, largest: Tensor, seen: Tensor | None, past: Sums
) -> tuple[Tensor, Sums]:  # fmt: skip
    """A few queries: their own keys pair by pair, those before by their sums. largest (B, G, c)."""
    B, H, c, M = q.shape
    G = k.shape[1]
    reached = torch.maximum(largest.cummax(-1).values, past.most)  # (B, G, c): the largest exponent up to each query
    queries = _features(q, q.detach().amax(-1, keepdim=True)).view(B, G, H // G, c, M)
    keys = _features(k, largest.unsqueeze(-1), seen)
    before = torch.ones(c, c, dtype=torch.bool, device=q.device).tril()
    # What a query may not see may well be larger than all that it may: it must not even be raised to a power.
    apart = torch.where(before, largest.unsqueeze(-2) - reached.unsqueeze(-1), _NOTHING).exp()  # (B, G, c, c)
    pairs = (queries.flatten(2, 3) @ keys.transpose(-1, -2)).view(B, G, H // G, c, c) * apart.unsqueeze(2)
    faded = (past.most - reached).exp()[:, :, None, :, None]  # (B, G, 1, c, 1)
    flat = queries.flatten(2, 3)
    old = (flat @ past.values).view(B, G, H // G, c, -1), (flat @ past.weights).view(B, G, H // G, c, 1)
    new = (pairs.flatten(2, 3) @ v).view(old[0].shape), pairs.sum(-1, keepdim=True)
    mixed = _divided(new[0] + faded * old[0], new[1] + faded * old[1]).flatten(1, 2)
    most = reached[:, :, -1:]
    keys = keys * (largest - most).exp().unsqueeze(-1)
    fade = (past.most - most).exp().unsqueeze(-1)
    values = past.values * fade + keys.transpose(-1, -2) @ v
    return mixed, Sums(values, past.weights * fade + keys.sum(2).unsqueeze(-1), most)


def _hidden(k: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """The exponents of keys, and the largest of each (B, G, S); next to nothing where there is no token."""
    if seen is not None:
        k = torch.where(seen[:, None, :, None], k, _NOTHING)
    return k, k.detach().amax(-1)


def _features(x: Tensor, most: Tensor, seen: Tensor | None = None, share: Tensor | float = 1.0) -> Tensor:
    made = (x - most).exp() + LEAST * share
    return made if seen is None else made * seen[:, None, :, None]


def _divided(values: Tensor, weights: Tensor) -> Tensor:
    """The quotient; 0 where a query sees nothing."""
    return values / torch.where(weights == 0, 1.0, weights)
