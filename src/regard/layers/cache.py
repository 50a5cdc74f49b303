"""What attention remembers of earlier tokens. Passed in with the context, never stored on a module.

A cache keeps, for every layer, the projection's state (keys and values as they are attended to), and once for all
layers that remember alike, where their slots stand. The rules of a mask read those positions, so slots may lie in any
order and rows may have any padding: nothing else has to know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.layers.places import Places

State = tuple[Tensor, ...]  # each (B, G, S, ...)


class Growing:
    """Remembers everything; each call concatenates."""

    def __init__(self) -> None:
        self.places: Places | None = None
        self.states: dict[int, State] = {}

    def begin(self, new: Places, batch: int) -> None:
        """Makes room for tokens at ``new``; once per forward pass, before the layers add their states."""
        self.places = new if self.places is None else _joined(self.places, new, batch)

    def add(self, layer: int, state: State) -> State:
        """Remembers ``state`` of the new tokens and returns that of all."""
        if layer in self.states:
            state = tuple(torch.cat(pair, 2) for pair in zip(self.states[layer], state, strict=True))
        self.states[layer] = state
        return state

    def back(self, count: int) -> None:
        """Forgets the newest ``count`` tokens of each row."""
        assert self.places is not None
        self.places = self.places.first(self.places.length - count)
        self.states = {layer: tuple(t[:, :, :-count] for t in state) for layer, state in self.states.items()}

    def select(self, rows: Tensor) -> None:
        """Keeps these rows (B',), repeats and any order allowed."""
        self.places = None if self.places is None else self.places.select(rows)
        self.states = {layer: tuple(t[rows] for t in state) for layer, state in self.states.items()}


class Preallocated:
    """Remembers up to ``capacity`` tokens in buffers made once, so that a step copies only what is new."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.places: Places | None = None
        self.states: dict[int, State] = {}
        self._from = 0

    def begin(self, new: Places, batch: int) -> None:
        self._from = 0 if self.places is None else self.places.length
        if self._from + new.length > self.capacity:
            raise RegardError("core.cache_full", capacity=self.capacity, held=self._from, new=new.length)
        self.places = new if self.places is None else _joined(self.places, new, batch)

    def add(self, layer: int, state: State) -> State:
        if layer not in self.states:
            self.states[layer] = tuple(t.new_zeros(*t.shape[:2], self.capacity, *t.shape[3:]) for t in state)
        until = self._from + state[0].shape[2]
        for buffer, new in zip(self.states[layer], state, strict=True):
            buffer[:, :, self._from : until] = new
        return tuple(buffer[:, :, :until] for buffer in self.states[layer])

    def back(self, count: int) -> None:
        assert self.places is not None
        self.places = self.places.first(self.places.length - count)

    def select(self, rows: Tensor) -> None:
        self.places = None if self.places is None else self.places.select(rows)
        self.states = {layer: tuple(t[rows] for t in state) for layer, state in self.states.items()}


class Ring:
    """Remembers the newest ``window`` tokens of each row, for layers that look no further back; and ``spare`` more, so
    that as many can be forgotten."""

    def __init__(self, window: int, spare: int = 0) -> None:
        self.window = window + spare
        self.places: Places | None = None
        self.states: dict[int, State] = {}
        self._kept: Tensor | None = None  # (B, window) slots to keep once the layers have attended
        self._written: Tensor | None = None  # (B,) slots that the one new token takes
        self._after: Places | None = None

    def begin(self, new: Places, batch: int) -> None:
        """Decides which slots go. A single token takes the oldest slot of its row; more tokens are attended to first,
        together with what was there, and the newest of all are kept for the next call."""
        old = self._after
        self._kept = self._written = None
        if old is not None and new.length == 1 and old.length == self.window:
            positions = old.positions.expand(batch, -1).clone()
            self._written = positions.argmin(-1)
            positions[torch.arange(batch, device=positions.device), self._written] = new.positions[:, 0]
            self.places = self._after = Places(positions)
            return
        self.places = self._after = new if old is None else _joined(old, new, batch)
        if self.places.length > self.window:
            positions = self.places.positions.expand(batch, -1)
            newest, self._kept = positions.topk(self.window, -1)
            self._after = Places(newest)

    def add(self, layer: int, state: State) -> State:
        old = self.states.get(layer)
        if self._written is not None and old is not None:
            rows = torch.arange(self._written.shape[0], device=self._written.device)
            for buffer, new in zip(old, state, strict=True):
                buffer[rows, :, self._written] = new[:, :, 0]
            return old
        if old is not None:
            state = tuple(torch.cat(pair, 2) for pair in zip(old, state, strict=True))
        self.states[layer] = state if self._kept is None else tuple(_slots(t, self._kept) for t in state)
        return state

    def back(self, count: int) -> None:
        assert self._after is not None
        positions = self._after.positions
        newest = positions.topk(count, -1).indices
        # Slots of no token: no rule of a mask makes them visible, and the next tokens take them.
        self.places = self._after = Places(positions.scatter(-1, newest, -1))

    def select(self, rows: Tensor) -> None:
        self.places = None if self.places is None else self.places.select(rows)
        self._after = None if self._after is None else self._after.select(rows)
        self.states = {layer: tuple(t[rows] for t in state) for layer, state in self.states.items()}


class Summed:
    """Remembers no token: a layer keeps in ``states`` what the text so far has summed up to, of one size."""

    def __init__(self) -> None:
        self.places: Places | None = None
        self.states: dict[int, State] = {}

    def begin(self, new: Places, batch: int) -> None:
        self.places = new

    def add(self, layer: int, state: State) -> State:
        """The new tokens' state as it is: the layer adds it to its sums."""
        return state

    def back(self, count: int) -> None:
        raise RegardError("core.sums_back", count=count)

    def select(self, rows: Tensor) -> None:
        self.states = {layer: tuple(t[rows] for t in state) for layer, state in self.states.items()}


Memory = Growing | Preallocated | Ring | Summed


class Cache:
    """One memory per layer (layers that remember alike share one) and the states of cross-attention."""

    def __init__(self, layers: Sequence[Memory]) -> None:
        self.layers = tuple(layers)
        self.cross: dict[int, State] = {}
        self.length = 0  # columns seen so far, padding included
        self._next: Tensor | None = None  # (B,) the next position of each row, once rows differ

    def begin(self, new: Places, batch: int) -> None:
        for memory in dict.fromkeys(self.layers):
            memory.begin(new, batch)
        if new.start is None:
            reached = (new.positions.amax(-1) + 1).expand(batch)
            # A row that is padding in this call stays where it was.
            self._next = reached.clamp(min=self.length if self._next is None else self._next)
        self.length += new.length

    def following(self, length: int, device: torch.device | str | None = None) -> Places:
        """Where the next ``length`` tokens of each row stand."""
        if self._next is None:
            return Places.count(self.length, length, device)
        return Places(self._next.unsqueeze(1) + torch.arange(length, device=device))

    def keys(self, layer: int) -> Places:
        places = self.layers[layer].places
        assert places is not None
        return places

    def add(self, layer: int, state: State) -> State:
        return self.layers[layer].add(layer, state)

    def back(self, count: int) -> None:
        """Forgets the newest ``count`` tokens of each row, none of them padding; a ring must have room to spare."""
        for memory in dict.fromkeys(self.layers):
            memory.back(count)
        self.length -= count
        self._next = None if self._next is None else self._next - count

    def select(self, rows: Tensor) -> None:
        """Keeps these rows (B',) of the batch, in this order; beam search repeats and drops."""
        for memory in dict.fromkeys(self.layers):
            memory.select(rows)
        self.cross = {layer: tuple(t[rows] for t in state) for layer, state in self.cross.items()}
        self._next = None if self._next is None else self._next[rows]


def _joined(old: Places, new: Places, batch: int) -> Places:
    positions = torch.cat([p.positions.expand(batch if _ragged(old, new) else -1, -1) for p in (old, new)], -1)
    counts_on = old.start is not None and new.start == old.start + old.length
    return Places(positions, old.start if counts_on else None)


def _ragged(old: Places, new: Places) -> bool:
    return old.positions.shape[0] != new.positions.shape[0]


def _slots(state: Tensor, kept: Tensor) -> Tensor:
    rows = torch.arange(kept.shape[0], device=kept.device).unsqueeze(1)
    return state.transpose(1, 2)[rows, kept].transpose(1, 2).contiguous()
