"""The attention weights of any layer, whatever core runs.

A core is linear in v: out = W v. Given the identity as v it returns W itself, the very weights that it applies,
although a fused kernel never holds them. Only the layers asked for pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from regard.explain.sites import Site, around
from regard.ops.attention import Core, Visible
from regard.ops.random import Dropout

See = Callable[[Site, Tensor], None]


@contextmanager
def watched(places: Sequence[Site], see: See) -> Iterator[None]:
    """Within, `see(place, weights)` is called with the weights (B, H, T, S) of each place as the model attends."""

    def wrap(place: Site, core: Core) -> Core:
        def watching(
            q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
        ) -> Tensor:
            see(place, weights_of(core, q, k, v, mask, bias, scale))
            return core(q, k, v, mask, bias, scale, dropout)

        return watching

    with around(places, wrap):
        yield


@torch.no_grad()
def weights_of(core: Core, q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float) -> Tensor:
    """The weights (B, H, T, S) with which `core` would mix v (B, G, S, Kv), without dropout."""
    B, G, S, _ = v.shape
    identity = torch.eye(S, dtype=v.dtype, device=v.device).expand(B, G, S, S)
    return core(q, k, identity, mask, bias, scale, None)
