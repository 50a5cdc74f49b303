"""Attention by random features: sums over the keys instead of pairs, and a cache that does not grow (Performer)."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.layers.attention import Attention
from regard.layers.cache import Memory, State, Summed
from regard.layers.context import Context, Part
from regard.layers.position import Position
from regard.layers.projection import Projection
from regard.layers.rows import padding
from regard.ops import kernels
from regard.ops.random import Key

_DIRECTIONS = 2  # a place in the tree of keys beside that of dropout


class RandomFeatureAttention(Attention):
    """FAVOR+ (Choromanski et al. 2021): softmax attention as ``features`` random directions estimate it, at a cost that
    grows with the length and, causal, with a cache of one size. x (B, T, D) -> (B, T, D).

    redrawn  in training the directions are drawn anew in each step (section 4.2 draws them now and then); else, and in
             evaluation, they follow from ``seed`` and the layer
    A position may turn q and k (rotary); one that adds to scores cannot be served, nor can dropout of weights.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        features: int,
        redrawn: bool = True,
        seed: int = 0,
        position: Position | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__(projection, position=position, scale=scale)
        self.features, self.redrawn, self.seed = features, redrawn, seed
        self._drawn: dict[tuple[int, torch.device], Tensor] = {}  # no buffers: they follow from the seed

    def memory(self, capacity: int | None, spare: int) -> Memory:
        return Summed()

    def _mix(self, q: Tensor, k: Tensor, v: Tensor, part: Part, context: Context) -> Tensor:
        if self._prepared(part, context).bias(q, k, self) is not None:
            raise RegardError("core.cannot", core="FAVOR+", what="bias")
        seen = padding(part.mask, q.shape[0], frozenset({"causal"}))
        seen = None if bool(seen.all()) else seen
        # Drawn once for a pass: all documents of a row are estimated by the same directions.
        w = context.once(("directions", id(self), context.layer), lambda: self._directions(q, context))
        q, k = kernels.exponents(q, w, self.scale), kernels.exponents(k, w, self.scale)
        if not any(term.causal for term in part.mask.mask.terms):
            return kernels.both_ways(q, k, v, seen).to(v.dtype)
        if context.cache is None:
            return kernels.forward_only(q, k, v, seen)[0].to(v.dtype)
        held = context.cache.layers[context.layer].states
        mixed, sums = kernels.forward_only(q, k, v, seen, past=_sums(held.get(context.layer)))
        held[context.layer] = (sums.values, sums.weights, sums.most)
        return mixed.to(v.dtype)

    def _directions(self, q: Tensor, context: Context) -> Tensor:
        if self.redrawn and context.key is not None:
            return kernels.directions(context.key.at(_DIRECTIONS), self.features, q.shape[-1], q.device)
        place = (context.layer, q.device)
        if place not in self._drawn:
            key = Key(self.seed).at(context.layer)
            self._drawn[place] = kernels.directions(key, self.features, q.shape[-1], q.device)
        return self._drawn[place]


def _sums(state: State | None) -> kernels.Sums | None:
    return None if state is None else kernels.Sums(*state)
