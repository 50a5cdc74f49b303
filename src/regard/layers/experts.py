"""Mixtures of experts: a router sends each token through a few of many feed-forward layers.

No token is dropped, and padding is never routed: what an expert makes of a token does not depend on who else came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.feed_forward import ACTIVATIONS
from regard.ops.routing import best, grouped, load_balance, softmax_shares


@dataclass(frozen=True, eq=False)
class Routing:
    """Where N tokens go: ``chosen`` (N, k) experts with ``weights`` (N, k); ``shares`` (N, E) sum to 1 and have a
    gradient, for a loss that keeps the load even."""

    chosen: Tensor
    weights: Tensor
    shares: Tensor


class Router(nn.Module):
    """The ``top`` experts of the largest softmax (Shazeer et al. 2017). x (N, D) -> Routing.

    renormalise: the chosen ones' weights sum to 1 (Mixtral, 2024).
    """

    def __init__(self, dim: int, experts: int, top: int, *, renormalise: bool) -> None:
        super().__init__()
        self.top, self.renormalise = top, renormalise
        self.weight = nn.Parameter(torch.zeros(experts, dim))

    def forward(self, x: Tensor) -> Routing:
        shares = softmax_shares(F.linear(x, self.weight))
        chosen, weights = best(shares, self.top)
        if self.renormalise:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(chosen, weights, shares)


class GroupRouter(nn.Module):
    """DeepSeek-V3's router (2024, section 2.1.2). x (N, D) -> Routing.

    Affinities are sigmoids. Experts stand in ``groups``, of which the ``best_groups`` by the sum of their two best are
    open to a token. ``balance`` (E,) is added for the choice alone; it is moved during training to keep the load even,
    without a gradient. ``scale`` multiplies the weights.
    """

    def __init__(
        self, dim: int, experts: int, top: int, *, renormalise: bool, groups: int, best_groups: int, scale: float
    ) -> None:
        super().__init__()
        self.top, self.renormalise, self.scale = top, renormalise, scale
        self.groups, self.best_groups = groups, best_groups
        self.weight = nn.Parameter(torch.zeros(experts, dim))
        self.balance = nn.Parameter(torch.zeros(experts), requires_grad=False)

    def forward(self, x: Tensor) -> Routing:
        affinity = torch.sigmoid(F.linear(x.float(), self.weight.float()))
        chosen = grouped(affinity + self.balance, self.top, self.groups, self.best_groups)
        weights = affinity.gather(-1, chosen)
        if self.renormalise:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return Routing(chosen, weights * self.scale, affinity / affinity.sum(-1, keepdim=True))


class Stacked(nn.Module):
    """The same linear layer of each expert: weight (E, out, in)."""

    def __init__(self, experts: int, size: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, out, size))


class GatedExperts(nn.Module):
    """A gated feed-forward layer for each of E experts."""

    def __init__(self, dim: int, hidden: int, activation: str, experts: int) -> None:
        super().__init__()
        self.activation = activation
        self.gate = Stacked(experts, dim, hidden)
        self.up = Stacked(experts, dim, hidden)
        self.down = Stacked(experts, hidden, dim)

    def forward(self, tokens: Tensor, routing: Routing) -> Tensor:
        """(N, D) -> (N, D): each expert that anybody chose, on all who chose it."""
        mixed = torch.zeros_like(tokens)
        for expert in routing.chosen.unique().tolist():
            who, place = (routing.chosen == expert).nonzero(as_tuple=True)
            x = tokens[who]
            gated = ACTIVATIONS[self.activation](x @ self.gate.weight[expert].T) * (x @ self.up.weight[expert].T)
            y = (gated @ self.down.weight[expert].T) * routing.weights[who, place].unsqueeze(-1).to(x.dtype)
            mixed = mixed.index_add(0, who, y)
        return mixed


class Experts(nn.Module):
    """Feed-forward layers of which each token passes a few, added up as the router weighs them.

    x (B, T, D) -> (B, T, D). shared: a feed-forward layer that every token passes as well (DeepSeekMoE, Dai et al.
    2024).
    """

    def __init__(self, router: nn.Module, experts: nn.Module, shared: nn.Module | None = None) -> None:
        super().__init__()
        self.router, self.experts, self.shared = router, experts, shared

    def forward(self, x: Tensor, context: Context) -> Tensor:
        valid = context.valid(x.shape[1])
        tokens = x.flatten(0, 1) if valid is None else x[valid.expand(x.shape[:2])]
        routing = self.router(tokens)
        if context.side is not None:
            context.side[context.layer] = routing
        mixed = self.experts(tokens, routing)
        if valid is None:
            y = mixed.view_as(x)
        else:
            y = torch.zeros_like(x).masked_scatter(valid.expand(x.shape[:2]).unsqueeze(-1), mixed)
        return y if self.shared is None else y + self.shared(x, context)


def balance_loss(config: Any, side: Mapping[int, Routing]) -> Tensor | float:
    """What a config's ``balance`` adds to the mean loss of a token, of what the layers of one pass left in ``side``.

    It is of the tokens of this pass: of a batch taken in pieces, the mean of the pieces' and not quite the whole's.
    """
    weight = getattr(config, "balance", 0.0)
    if not weight or not side:
        return 0.0
    return weight * load_balance([one.chosen for one in side.values()], [one.shares for one in side.values()])
