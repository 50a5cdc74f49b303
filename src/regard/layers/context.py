"""What a forward pass carries past every layer, as one frozen value. There is no ``**kwargs`` anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.layers.cache import Cache
from regard.layers.mask import Bound, Mask
from regard.layers.places import Places
from regard.ops.random import Key

T = TypeVar("T")


@dataclass(frozen=True, eq=False, kw_only=True)
class Context:
    """What the sublayers are told besides x.

    mask         who may attend to whom; the model adds its own (a decoder's is causal)
    positions    (B, T) int64, -1 for what is no token; None: counted from 0, or on from the cache
    types        (B, T) int64, the kind of each token (BERT's sentence A or B)
    memory       (B, S, D) what cross-attention looks at, ``memory_mask`` who may see which of it
    cache        what attention remembers of earlier calls; it is written to
    key          randomness of this pass; None means evaluation: nothing is dropped
    """

    mask: Mask = field(default_factory=Mask)
    positions: Tensor | None = None
    types: Tensor | None = None
    memory: Tensor | None = None
    memory_mask: Mask = field(default_factory=Mask)
    cache: Cache | None = None
    key: Key | None = None
    # Set when a model opens the context; one ``shared`` lives as long as one forward pass.
    layer: int = -1
    queries: Places | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    @staticmethod
    def packed(lengths: Sequence[int], device: torch.device | str | None = None, **others: Any) -> Context:
        """Documents of these lengths, end to end in one row (1, N): no padding, and none sees another."""
        positions = torch.cat([torch.arange(length, device=device) for length in lengths]).unsqueeze(0)
        return Context(mask=Mask(documents=tuple(lengths)), positions=positions, **others)

    @staticmethod
    def padded(lengths: Sequence[int], device: torch.device | str | None = None, **others: Any) -> Context:
        """Rows of these lengths, padded on the right to the longest (B, T); padding is never seen."""
        places = Places.padded(lengths, device)
        return Context(positions=None if places.plain else places.positions, **others)

    def open(self, shape: tuple[int, int], device: torch.device, mask: Mask | None = None) -> Context:
        """This context ready for one forward pass over tokens of ``shape`` (B, T), under the model's own ``mask``."""
        B, T = shape
        if self.positions is not None:
            if self.positions.shape[-1] != T:
                raise RegardError("core.positions", positions=tuple(self.positions.shape), tokens=(B, T))
            queries = Places(self.positions)
        elif self.cache is not None:
            queries = self.cache.following(T, device)
        else:
            queries = Places.count(0, T, device)
        if self.mask.documents is not None and (self.cache is not None or sum(self.mask.documents) != T or B != 1):
            raise RegardError("core.documents", total=sum(self.mask.documents), tokens=(B, T))
        if self.cache is not None:
            self.cache.begin(queries, B)
        both = self.mask if mask is None else mask & self.mask
        return replace(self, mask=both, queries=queries, shared={})

    def at(self, layer: int) -> Context:
        """The context as layer ``layer`` sees it: its place in the cache, its own randomness."""
        return replace(self, layer=layer, key=None if self.key is None else self.key.at(layer))

    def inside(self, part: int) -> Context:
        """The same with the randomness of part ``part``."""
        return self if self.key is None else replace(self, key=self.key.at(part))

    def places(self) -> Places:
        """Where the tokens of this pass stand."""
        if self.queries is None:
            raise RegardError("core.unopened")
        return self.queries

    def keys(self) -> Places:
        """Where the keys of this layer's self-attention stand: the cache's and the new ones."""
        return self.places() if self.cache is None else self.cache.keys(self.layer)

    def once(self, name: Any, make: Callable[[], T]) -> T:
        """``make()``, made once per forward pass and shared by all layers that ask for ``name``."""
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    def parts(self, own: Mask | None) -> tuple[Part, ...]:
        """The independent pieces of this layer's self-attention under the context's mask and the layer's own."""
        keys = self.keys()
        return self.once(("self", id(own), id(keys)), lambda: _self_parts(self, own, keys))

    def memory_parts(self) -> tuple[Part, ...]:
        """The independent pieces of cross-attention."""
        return self.once("memory", lambda: _memory_parts(self))


@dataclass(frozen=True, eq=False)
class Part:
    """``count`` documents of one shape that stand side by side in a row, or, alone, the whole batch (``count`` 0)."""

    count: int
    q: Places
    k: Places
    mask: Bound


def _self_parts(context: Context, own: Mask | None, keys: Places) -> tuple[Part, ...]:
    mask = context.mask if own is None else context.mask & own
    if mask.documents is None:
        return (Part(0, context.places(), keys, mask.bind(context.places(), keys)),)
    return _documents(mask, mask.documents, mask.documents, context)


def _memory_parts(context: Context) -> tuple[Part, ...]:
    mask, memory = context.memory_mask, context.memory
    assert memory is not None
    if mask.documents is None or mask.memory_documents is None:
        keys = Places.count(0, memory.shape[1], memory.device)
        # Where a query stands says nothing about the memory: only the memory's own rules hold.
        return (Part(0, context.places(), keys, mask.bind(Places(context.places().positions), keys)),)
    if len(mask.documents) != len(mask.memory_documents):
        raise RegardError("core.memory_documents", q=len(mask.documents), k=len(mask.memory_documents))
    return _documents(mask, mask.documents, mask.memory_documents, context)


def _documents(mask: Mask, q: tuple[int, ...], k: tuple[int, ...], context: Context) -> tuple[Part, ...]:
    """Neighbouring documents of one shape become one batch, so that a row sorted by length takes few calls."""
    runs: list[list[int]] = []
    for shape in zip(q, k, strict=True):
        if runs and runs[-1][1:] == list(shape):
            runs[-1][0] += 1
        else:
            runs.append([1, *shape])
    device = context.places().positions.device
    inside = mask.inside_document()
    parts = []
    for count, q_length, k_length in runs:
        q_places = Places.count(0, q_length, device)
        k_places = q_places if q_length == k_length else Places.count(0, k_length, device)
        parts.append(Part(count, q_places, k_places, inside.bind(q_places, k_places)))
    return tuple(parts)
