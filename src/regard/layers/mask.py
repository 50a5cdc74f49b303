"""Who may look at whom, as a value. **True means may attend, everywhere, always.**

A mask says what it means (causal, a window, documents in one row …) and becomes a tensor as late as a core needs one,
often never: a core asks first whether everything, or the plain lower triangle, is visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.layers.places import Places

Predicate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Mask:
    """An intersection of rules; the empty mask lets everything see everything.

    causal     a query sees keys at its own position and before
    window     ... only keys less than this many positions away, on either side
    prefix     with ``causal``: the first so many positions (int, or (B,)) are seen by all (prefix LM, Raffel 2020)
    lengths    (B,) keys from this index on are padding
    segments   (B, T): a query sees only keys with its own number (packed rows)
    documents  lengths of the documents that make up the one row: each is attended to as if it were alone, and no
               mask is ever built for it; ``memory_documents`` are their lengths in the memory, for cross-attention
    predicate  any rule on positions: ``(q (B, T, 1), k (B, 1, S)) -> bool (B, T, S)``

    A token at a negative position is no token: no rule makes it visible.
    """

    causal: bool = False
    window: int | None = None
    prefix: int | Tensor | None = None
    lengths: Tensor | None = None
    segments: Tensor | None = None
    documents: tuple[int, ...] | None = None
    memory_documents: tuple[int, ...] | None = None
    predicate: Predicate | None = None
    also: tuple[Mask, ...] = ()

    def __and__(self, other: Mask) -> Mask:
        """Visible where both allow it."""
        if not self._rules and not self.also and self.documents is None:
            return other
        if not other._rules and not other.also and other.documents is None:
            return self
        documents, memory = self.documents or other.documents, self.memory_documents or other.memory_documents
        mine, theirs = (replace(m, documents=None, memory_documents=None, also=()) for m in (self, other))
        return replace(mine, documents=documents, memory_documents=memory, also=(*self.also, theirs, *other.also))

    def bind(self, q: Places, k: Places) -> Bound:
        """This mask at the places of given queries and keys. Documents are taken apart before: ``Context.parts``."""
        return Bound(self, q, k)

    def inside_document(self) -> Mask:
        """The rules that hold inside each document of a row. Rules that number rows or slots of a batch cannot."""
        for term in self.terms:
            for rule in ("lengths", "segments"):
                if getattr(term, rule) is not None:
                    raise RegardError("core.documents_with", rule=rule)
        return replace(self, documents=None, memory_documents=None)

    @property
    def _rules(self) -> tuple[str, ...]:
        named = ("causal", "window", "prefix", "lengths", "segments", "predicate")
        return tuple(name for name in named if getattr(self, name) is not None and getattr(self, name) is not False)

    @property
    def terms(self) -> tuple[Mask, ...]:
        return (self, *(term for other in self.also for term in other.terms))

    def allows(self, q: Places, k: Places) -> Tensor | None:
        """Bool (B|1, T, S) of this mask's own rules, without ``also``; None where they allow everything."""
        q_at, k_at = q.positions.unsqueeze(-1), k.positions.unsqueeze(-2)
        allowed: Tensor | None = None
        if self.causal:
            allowed = k_at <= q_at
            if self.prefix is not None:
                prefix = self.prefix.view(-1, 1, 1) if isinstance(self.prefix, Tensor) else self.prefix
                allowed = allowed | (k_at < prefix)
        if self.window is not None:
            allowed = _both(allowed, (q_at - k_at).abs() < self.window)
        if self.lengths is not None:
            index = torch.arange(k.length, device=k.positions.device)
            allowed = _both(allowed, (index < self.lengths.view(-1, 1)).unsqueeze(1))
        if self.segments is not None:
            allowed = _both(allowed, self.segments.unsqueeze(-1) == self.segments.unsqueeze(-2))
        if self.predicate is not None:
            allowed = _both(allowed, self.predicate(q_at, k_at))
        return allowed


class Bound:
    """A mask at given places; what the cores see (``ops.attention.Visible``). Tensors are built once, when asked for."""

    def __init__(self, mask: Mask, q: Places, k: Places) -> None:
        self.mask, self.q, self.k = mask, q, k

    @cached_property
    def everything(self) -> bool:
        if not self.k.plain:
            return False
        rules = self._rules
        one_newest = self.q.start is not None and self.q.length == 1 and self.q.start + 1 == self.k.length
        return not rules or (rules == {"causal"} and one_newest)

    @cached_property
    def lower_triangle(self) -> bool:
        same = self.k.plain and self.q.start == 0 and self.q.length == self.k.length
        return same and self._rules == {"causal"}

    @cached_property
    def tensor(self) -> Tensor | None:
        allowed = None if self.k.plain else (self.k.positions >= 0).unsqueeze(-2)
        for term in self.mask.terms:
            own = term.allows(self.q, self.k)
            if own is not None:
                allowed = own if allowed is None else allowed & own
        if allowed is None:
            return None
        return allowed.expand(-1, self.q.length, self.k.length).unsqueeze(1)

    @property
    def _rules(self) -> set[str]:
        return {rule for term in self.mask.terms for rule in term._rules}


def _both(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a & b
