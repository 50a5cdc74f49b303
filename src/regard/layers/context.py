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
HEAD, DECODER = -1, -2  # places in the tree of keys beside the layers, which count from 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Voice:
    """vector (B, E) of each row's speaker. key: randomness that a decoder of speech has in evaluation too; None: it has
    none."""

    vector: Tensor
    key: Key | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Context:
    """What the sublayers are told besides x.

    mask         who may attend to whom; the model adds its own (a decoder's is causal, but for a prefix given here)
    positions    (B, T) int64, -1 for what is no token; None: counted from 0, or on from the cache
    types        (B, T) int64, the kind of each token (BERT's sentence A or B)
    frames       (B,) int64, how much of each row is real of what is given, before the embedding makes tokens of it
    everywhere   (B, T) bool, tokens that see all and are seen by all where layers see a window (Longformer)
    masked       (B, P) bool, patches of an image or frames of sound whose content is hidden (masked modelling)
    sizes        (B, 2) int64, height and width in pixels of each image of a padded batch; None: all fill their place
    added        (B|1, T, D) what attention adds to x before q and k; ``memory_added`` (B|1, S, D), to the memory
    voice        who speaks, for a decoder of speech
    memory       (B, S, D) what cross-attention looks at, ``memory_mask`` who may see which of it
    cache        what attention remembers of earlier calls; it is written to
    key          randomness of this pass; None means evaluation: nothing is dropped
    side         what layers leave behind for losses of their own, by layer; None: nobody asks for it
    """

    mask: Mask = field(default_factory=Mask)
    positions: Tensor | None = None
    types: Tensor | None = None
    frames: Tensor | None = None
    everywhere: Tensor | None = None
    masked: Tensor | None = None
    sizes: Tensor | None = None
    added: Tensor | None = None
    memory_added: Tensor | None = None
    voice: Voice | None = None
    memory: Tensor | None = None
    memory_mask: Mask = field(default_factory=Mask)
    cache: Cache | None = None
    key: Key | None = None
    side: dict[int, Any] | None = None
    # Set when a model opens the context; one ``shared`` lives as long as one forward pass.
    layer: int = -1
    queries: Places | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    @staticmethod
    def packed(lengths: Sequence[int], device: torch.device | str | None = None, **others: Any) -> Context:
        """Documents of these lengths, end to end in one row (1, N): no padding, and none sees another."""
        places = Places.packed(lengths, device)
        return Context(mask=Mask(documents=tuple(lengths)), positions=places.positions, **others)

    @staticmethod
    def padded(
        lengths: Sequence[int], device: torch.device | str | None = None, cache: Cache | None = None, **others: Any
    ) -> Context:
        """Rows of these lengths, padded on the right to the longest (B, T); padding is never seen.

        With a ``cache``, each row counts on from what it holds of it.
        """
        places = Places.padded(lengths, device)
        if places.plain:
            return Context(cache=cache, **others)
        positions = places.positions
        if cache is not None:
            positions = torch.where(positions < 0, -1, cache.following(places.length, device).positions)
        return Context(positions=positions, cache=cache, **others)

    def open(
        self, shape: tuple[int, int], device: torch.device, mask: Mask | None = None, queries: Places | None = None
    ) -> Context:
        """This context ready for one forward pass over tokens of ``shape`` (B, T), under the model's own ``mask``.
        ``queries``: where they stand, if what embeds them knows (patches do)."""
        both = self.mask if mask is None else _widened(mask, self.mask) & self.mask
        _check(both, self.positions, self.cache, shape)
        B, T = shape
        if self.positions is not None:
            queries = Places(self.positions, grid=queries and queries.grid)
        elif queries is not None and self.cache is None and both.documents is None:
            pass
        elif both.documents is not None:
            queries = Places.packed(both.documents, device)
        elif self.cache is not None:
            queries = self.cache.following(T, device)
        else:
            queries = Places.count(0, T, device)
        if self.cache is not None:
            self.cache.begin(queries, B)
        return replace(self, mask=both, queries=queries, shared={})

    def at(self, layer: int) -> Context:
        """The context as layer ``layer`` sees it: its place in the cache, its own randomness."""
        return replace(self, layer=layer, key=None if self.key is None else self.key.at(layer))

    def inside(self, part: int) -> Context:
        """The same with the randomness of part ``part``."""
        return self if self.key is None else replace(self, key=self.key.at(part))

    def apart(self) -> Context:
        """The same with what is shared so far, but from here on sharing nothing with other layers.

        For a block that runs a second time in the backward pass: what it shared the first time would not be made again.
        """
        return replace(self, shared=dict(self.shared))

    def valid(self, length: int) -> Tensor | None:
        """Bool (B|1, T): which of the ``length`` tokens of this context are tokens, not padding; None when all are."""
        found = None if self.positions is None else self.positions >= 0
        for term in self.mask.terms:
            if term.lengths is not None:
                index = torch.arange(length, device=term.lengths.device)
                inside = index < term.lengths.unsqueeze(-1)
                found = inside if found is None else found & inside
        return found

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
    q, k = context.mask.documents, mask.memory_documents
    if q is None and k is None and mask.documents is None:
        keys = Places.count(0, memory.shape[1], memory.device)
        # Where a query stands says nothing about the memory: only the memory's own rules hold.
        return (Part(0, context.places(), keys, mask.bind(Places(context.places().positions), keys)),)
    if not q or not k or len(q) != len(k) or mask.documents not in (None, q) or sum(k) != memory.shape[1]:
        found = (len(q or ()), len(k or ()), len(mask.documents or ()), sum(k or ()), memory.shape[1])
        raise RegardError("core.memory_documents", q=found[0], k=found[1], named=found[2], total=found[3], s=found[4])
    return _documents(mask, q, k, context)


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


def _widened(own: Mask, given: Mask) -> Mask:
    """A model's own causal mask gives way to a prefix of the context: no intersection of the two could show it."""
    prefix = next((term.prefix for term in given.terms if term.prefix is not None), None)
    return replace(own, prefix=prefix) if own.causal and own.prefix is None else own


def _check(mask: Mask, positions: Tensor | None, cache: Cache | None, shape: tuple[int, int]) -> None:
    """Refuses what would be computed otherwise than meant."""
    B, T = shape
    if positions is not None and (positions.dim() != 2 or positions.shape[0] not in (1, B) or positions.shape[1] != T):
        raise RegardError("core.positions", positions=tuple(positions.shape), tokens=shape)
    documents = mask.documents
    if documents is not None and (cache is not None or sum(documents) != T or B != 1 or min(documents) < 1):
        raise RegardError("core.documents", total=sum(documents), least=min(documents, default=0), tokens=shape)
    if cache is None:
        return
    if not any(term.causal or term.predicate for term in mask.terms):
        raise RegardError("core.cache_not_causal")
    for rule in ("lengths", "segments"):
        if any(getattr(term, rule) is not None for term in mask.terms):
            raise RegardError("core.cache_with", rule=rule)
