"""Relative positions that are projected, and meet tokens in the scores (DeBERTa)."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from regard.layers.places import Places
from regard.layers.position import Position, Prepared


class Disentangled(Position):
    """Content against position and position against content (He et al. 2020, eq. 4): the embeddings of distances go
    through the attention's layers for positions (``PlacesApart``), through its q and k where it has none. Held by all
    layers of a stack. weight (2 N, D).

    distances  N: how many are told apart on either side
    furthest   where set, near distances are exact and those up to here share the rest logarithmically (version 2)
    norm       of the embeddings
    kinds      of scores: "c2p", content against position, "p2c", position against content
    """

    def __init__(
        self,
        dim: int,
        distances: int,
        *,
        furthest: int | None = None,
        norm: nn.Module | None = None,
        kinds: tuple[str, ...] = ("c2p", "p2c"),
    ) -> None:
        super().__init__()
        self.distances, self.furthest, self.kinds = distances, furthest, kinds
        self.weight = nn.Parameter(torch.zeros(2 * distances, dim))
        self.norm = norm

    def prepare(self, q: Places, k: Places) -> Prepared:
        return _Disentangled(self, q, k)

    def embedded(self) -> Tensor:
        return self.weight if self.norm is None else self.norm(self.weight)

    def index(self, behind: Tensor) -> Tensor:
        """The row of a key that stands ``behind`` the query by so many positions."""
        if self.furthest is not None:
            exact = self.distances // 2
            far = behind.abs().clamp(min=exact)
            steps = torch.log(far / exact) / math.log((self.furthest - 1) / exact) * (exact - 1)
            behind = torch.where(behind.abs() <= exact, behind, (steps.ceil().long() + exact) * behind.sign())
        return (behind + self.distances).clamp(0, 2 * self.distances - 1)


class _Disentangled(Prepared):
    def __init__(self, position: Disentangled, q: Places, k: Places) -> None:
        self.position, self.q, self.k = position, q, k

    @cached_property
    def embedded(self) -> Tensor:
        return self.position.embedded()

    @cached_property
    def index(self) -> Tensor:
        """(B|1, 1, T, S)."""
        behind = self.q.positions.unsqueeze(-1) - self.k.positions.unsqueeze(-2)
        return self.position.index(behind).unsqueeze(1)

    def bias(self, q: Tensor, k: Tensor, own: Any) -> Tensor | None:
        scores = [getattr(self, kind)(q, k, own) for kind in self.position.kinds]
        return sum(scores[1:], scores[0]) * own.scale

    def c2p(self, q: Tensor, k: Tensor, own: Any) -> Tensor:
        found = q @ self._projected(own, "k")  # (B, H, T, 2 N)
        return found.gather(-1, self.index.expand(*q.shape[:2], -1, -1))  # (B, H, T, S)

    def p2c(self, q: Tensor, k: Tensor, own: Any) -> Tensor:
        found = k @ self._projected(own, "q")
        back = self.index.transpose(-1, -2).expand(*k.shape[:2], -1, -1)
        return found.gather(-1, back).transpose(-1, -2)

    def _projected(self, own: Any, name: str) -> Tensor:
        """The embeddings of distances as keys or queries, (H, K, 2 N)."""
        layer = getattr(own, f"{name}_places", None) or getattr(own, name)
        return layer(self.embedded).unflatten(-1, (own.projection.heads, -1)).permute(1, 2, 0)
