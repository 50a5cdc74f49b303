"""Losses of what layers leave in a context's ``side``, beside that of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from regard.layers.experts import Routing, balance_loss
from regard.layers.span import Spans


def side_loss(config: Any, side: Mapping[int, Any]) -> Tensor | float:
    """What a config's ``balance`` (of experts) and ``shorten`` (of spans) add to the mean loss of a token, of what the
    layers of one pass left in ``side``."""
    routed = {layer: one for layer, one in side.items() if isinstance(one, Routing)}
    spans = [one.tokens.mean() for one in side.values() if isinstance(one, Spans)]
    loss, weight = balance_loss(config, routed), getattr(config, "shorten", 0.0)
    return loss + weight * torch.stack(spans).sum() if spans and weight else loss
