"""Which experts a token goes to, and how evenly they are used."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def softmax_shares(logits: Tensor) -> Tensor:
    """How much each expert is meant for a token, float32, sums to 1. (N, E)."""
    return torch.softmax(logits.float(), -1)


def best(scores: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The ``top`` experts of each token and their scores: (N, E) -> (N, top) int64, (N, top)."""
    values, chosen = scores.topk(top, -1)
    return chosen, values


def grouped(scores: Tensor, top: int, groups: int, best_groups: int) -> Tensor:
    """The ``top`` experts of each token (N, top) out of its ``best_groups``, a group counting as much as its two best.

    scores (N, E); experts stand group by group.
    """
    by_group = scores.unflatten(-1, (groups, -1))
    open_groups = by_group.topk(min(2, by_group.shape[-1]), -1).values.sum(-1).topk(best_groups, -1).indices
    shut = torch.ones_like(by_group[..., 0], dtype=torch.bool).scatter(-1, open_groups, False)
    return best(by_group.masked_fill(shut.unsqueeze(-1), float("-inf")).flatten(-2), top)[0]


def load_balance(chosen: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
    """1 x k where the load is even, more where it is not (Fedus et al. 2021, eq. 4, over the tokens of all layers).

    For each layer, chosen (N, k) and shares (N, E).
    """
    all_chosen, all_shares = torch.cat(list(chosen)), torch.cat(list(shares))
    experts = all_shares.shape[-1]
    used = torch.nn.functional.one_hot(all_chosen, experts).float().mean(0).sum(0)  # (E,)
    return experts * (used * all_shares.mean(0)).sum()
