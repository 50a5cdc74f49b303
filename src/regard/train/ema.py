"""A running average of the weights, which often scores better than the last weights do (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from regard.train.pieces import like


class Average:
    """average ← decay · average + (1 − decay) · weights, after every update, over the parameters that train.

    Early on, the decay is held to (1 + n) / (10 + n) after n updates, so that the random start is forgotten in time.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module, updates: int) -> None:
        """`updates`: how many the model has had, this one included."""
        keep = min(self.decay, (1 + updates) / (10 + updates))
        current = dict(model.named_parameters())
        for name, averaged in self.weights.items():
            averaged.lerp_(current[name], 1 - keep)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take up what `weights` was."""
        self.weights = {name: like(weights[name], own).clone() for name, own in self.weights.items()}

    @contextmanager
    def worn(self, model: nn.Module) -> Iterator[None]:
        """Within, the model has the averaged weights; after it, its own again, to the bit."""
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    @torch.no_grad()
    def _exchange(self, model: nn.Module) -> None:
        current = dict(model.named_parameters())
        for name, averaged in self.weights.items():
            own = current[name].clone()
            current[name].copy_(averaged)
            averaged.copy_(own)
