"""What a config comes to, before any weight is read: its parts, their parameters, the memory they take, the cache.

anatomy = examine(config)
anatomy.parameters, anatomy.parts, anatomy.cache
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from regard import models
from regard.layers import Attention, CrossAttention

BYTES = {"float32": 4.0, "bfloat16": 2.0, "Q8_0": 34 / 32, "Q4_0": 18 / 32}  # of a number, in blocks with their scales


@dataclass(frozen=True)
class Part:
    """A part of the model, or ``times`` alike ones in a row. shape: of its own weight, as PyTorch has it."""

    name: str
    kind: str
    parameters: int
    shape: tuple[int, ...] = ()
    times: int = 1
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Numbers that each token leaves in all layers together; in how many layers, and how many of these keep only the
    last ``window``."""

    numbers: int
    layers: int
    local: int = 0
    window: int | None = None


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """parameters: those that are shared counted once; None as cache: the model writes nothing token by token."""

    family: str
    parameters: int
    parts: tuple[Part, ...]
    cache: Cache | None
    sizes: dict[str, Any] = field(default_factory=dict)

    def memory(self) -> dict[str, int]:
        """Bytes of the weights by how they are stored."""
        return {name: round(self.parameters * each) for name, each in BYTES.items()}


def examine(config: Any) -> Anatomy:
    """The anatomy of the model that a config describes; it is laid out without memory."""
    model: Any = models.empty(config)
    names = ("dim", "depth", "heads", "kv_heads", "head_dim", "hidden", "vocab", "context")
    inner = getattr(config, "attention", None)
    sizes = {name: value for name in names for one in (config, inner) if type(value := getattr(one, name, None)) is int}
    count = sum(one.numel() for one in model.parameters())
    return Anatomy(
        family=models.name_of(config), parameters=count, parts=tuple(_parts(model, set())), cache=_cache(model),
        sizes=sizes,
    )  # fmt: skip


def _parts(module: nn.Module, seen: set[int]) -> Iterator[Part]:
    """The children of a module, alike neighbours of a list as one; what was counted before counts for nothing."""
    made = [_part(name, child, seen) for name, child in module.named_children()]
    if not isinstance(module, nn.ModuleList):
        yield from made
        return
    for _, run in groupby(made, key=lambda part: (part.kind, part.parameters, _bare(part))):
        alike = list(run)
        first = alike[0]
        name = first.name if len(alike) == 1 else f"{first.name}-{alike[-1].name}"
        total = sum(part.parameters for part in alike)
        yield Part(name, first.kind, total, first.shape, len(alike), first.parts)


def _part(name: str, module: nn.Module, seen: set[int]) -> Part:
    own = list(module.parameters(recurse=False))
    weight = max(own, key=lambda one: one.numel(), default=None)
    shape = () if weight is None else tuple(weight.shape)
    below = tuple(part for part in _parts(module, seen) if part.parameters or part.parts)
    fresh = [one for one in own if id(one) not in seen]
    seen |= {id(one) for one in own}
    count = sum(one.numel() for one in fresh) + sum(part.parameters for part in below)
    return Part(name, type(module).__name__, count, shape, 1, below)


def _bare(part: Part) -> tuple[Any, ...]:
    """All of a part but its own name."""
    return part.shape, tuple((one.name, one.kind, _bare(one)) for one in part.parts)


def _cache(model: Any) -> Cache | None:
    """What a token leaves behind in each layer that may only look back, by asking the layer's own projection."""
    stack = getattr(model, "stack", None)
    mask = getattr(model, "mask", None)
    if stack is None or mask is None or not mask.causal:
        return None
    numbers, windows = [], []
    for layer in stack.modules():
        if not isinstance(layer, Attention) or isinstance(layer, CrossAttention):
            continue
        width = getattr(layer.projection, "dim", None)
        if width is None:
            return None
        x = torch.empty(1, 1, width, device="meta")
        numbers.append(sum(one.numel() for one in layer.projection.state(layer, x, _as_it_is)))
        windows.append(None if layer.mask is None else layer.mask.window)
    local = [window for window in windows if window is not None]
    return Cache(
        numbers=sum(numbers), layers=len(numbers), local=len(local), window=max(local, default=None)
    ) if numbers else None  # fmt: skip


def _as_it_is(x: Tensor) -> Tensor:
    return x
