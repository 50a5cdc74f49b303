"""Attention rollout (Abnar and Zuidema, 2020, "Quantifying Attention Flow in Transformers", section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def rollout(layers: Iterable[np.ndarray]) -> np.ndarray:
    """How much of each input token reaches each position, (T, T); rows sum to 1.

    `layers` are the attention maps (H, T, T) from the first layer to the last. Half of each layer's mean map is given
    to the residual connection, as in the paper's equation 1.
    """
    total: np.ndarray | None = None
    for weights in layers:
        mixed = 0.5 * weights.mean(0) + 0.5 * np.eye(weights.shape[-1])
        mixed /= mixed.sum(-1, keepdims=True)  # a row that may see nothing keeps only itself
        total = mixed if total is None else mixed @ total
    if total is None:
        raise ValueError("a rollout needs a layer")
    return total
