"""Who may look at whom, as a value. **True means may attend, everywhere, always.**

A mask says what it means (causal, a window, documents in one row …) and becomes a tensor as late as a core needs one,
often never: a core asks first whether everything, or the plain lower triangle, is visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
    prefix     with ``causal``: the first so many positions (int, or (B,)) are seen by all (prefix LM, Raffel et al.
               2020)
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
        if self._empty:
            return other
        if other._empty:
            return self
        documents = _agreed(self.documents, other.documents)
        memory = _agreed(self.memory_documents, other.memory_documents)
        mine, theirs = (replace(m, documents=None, memory_documents=None, also=()) for m in (self, other))
        return replace(mine, documents=documents, memory_documents=memory, also=(*self.also, theirs, *other.also))

    def bind(self, q: Places, k: Places) -> Bound:
        """This mask at the places of given queries and keys. Documents are taken apart before: ``Context.parts``."""
        return Bound(self, q, k)

    def inside_document(self) -> Mask:
        """The rules that hold inside each document of a row. Rules that number rows or slots of a batch cannot."""
        for term in self.terms:
            for rule in ("lengths", "segments", "prefix"):
                if isinstance(getattr(term, rule), Tensor):
                    raise RegardError("core.documents_with", rule=rule)
        return replace(self, documents=None, memory_documents=None)

    @property
    def _empty(self) -> bool:
        return not (self.rules or self.also or self.documents or self.memory_documents)

    @property
    def rules(self) -> tuple[str, ...]:
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
            if not self.segments.shape[-1] == q.length == k.length:
                raise RegardError("core.segments", segments=self.segments.shape[-1], q=q.length, k=k.length)
            allowed = _both(allowed, self.segments.unsqueeze(-1) == self.segments.unsqueeze(-2))
        if self.predicate is not None:
            allowed = _both(allowed, self.predicate(q_at, k_at))
        return allowed


class Bound:
    """A mask at given places; what the cores see (``ops.attention.Visible``). Its tensor is built once, when asked for.

    everything      every query sees every key
    lower_triangle  T == S and query t sees exactly the keys 0..t
    """

    def __init__(self, mask: Mask, q: Places, k: Places) -> None:
        self.mask, self.q, self.k = mask, q, k
        rules = {rule for term in mask.terms for rule in term.rules}
        one_newest = q.start is not None and q.length == 1 and q.start + 1 == k.length
        self.everything = k.plain and (not rules or (rules == {"causal"} and one_newest))
        self.lower_triangle = k.plain and q.start == 0 and q.length == k.length and rules == {"causal"}
        self._tensor: Tensor | None = None

    @property
    def tensor(self) -> Tensor | None:
        """Bool (B|1, 1, T, S); None where every query sees every key."""
        if self._tensor is None:
            allowed = None if self.k.plain else (self.k.positions >= 0).unsqueeze(-2)
            for term in self.mask.terms:
                own = term.allows(self.q, self.k)
                allowed = own if allowed is None else _both(own, allowed)
            if allowed is not None:
                self._tensor = allowed.expand(-1, self.q.length, self.k.length).unsqueeze(1)
        return self._tensor


def _both(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a & b


def _agreed(a: tuple[int, ...] | None, b: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The documents' lengths, which two masks of one row cannot see differently."""
    if a and b and a != b:
        raise RegardError("core.documents_differ", a=len(a), b=len(b))
    return a or b
