"""Character n-gram language model: modified Kneser-Ney, interpolated (Chen and Goodman 1998, section 4.1.6).

It is a distribution over documents: every Unicode scalar value has a probability after every context, and so has the
end, so its bits per character stand beside those of any model that scores whole documents. The recursion over context
lengths j is

    p_j(c | context) = (a - D(a)) / total + gamma(context) p_{j-1}(c | context shortened by its first character)

down to a uniform p_{-1}; `a` are counts at the longest context and numbers of distinct left neighbours below it, D(a)
the discounts for a = 1, 2 and more, gamma what they freed. A context never seen leaves p_{j-1} as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

SCALARS = 0x110000 - 0x800  # Unicode scalar values: all code points but the surrogates
Discounts = tuple[float, float, float]  # taken from the counts 1, 2 and more
_OUTSIDE = -1  # a place before the document's beginning


class NGram:
    """Trained on documents when made; `order` characters are looked at together, 1 = frequencies alone."""

    def __init__(self, documents: Iterable[str], order: int = 5, discounts: Discounts | None = None) -> None:
        """`discounts` for the counts 1, 2 and more, at every level; None estimates them from counts of counts."""
        if order < 1:
            raise ValueError(f"order is {order}; it must be at least 1")
        texts = list(documents)
        self.order = order
        self.alphabet = np.unique(_points("".join(texts)))
        history, symbols = self._windows(texts)
        self._levels = _train(history, symbols, self._end + 3, discounts)

    def nats(self, documents: Iterable[str]) -> np.ndarray:
        """(documents,) minus the log probability of each document, its end included."""
        texts = list(documents)
        owner = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])
        return np.bincount(owner, weights=-np.log(self._probabilities(*self._windows(texts))), minlength=len(texts))

    def distribution(self, context: str) -> tuple[np.ndarray, float, float]:
        """What follows `context` at a document's beginning: (A,) for `alphabet`, the end, each character never seen."""
        history = self._windows([context])[0][-1:]
        symbols = np.concatenate([np.arange(len(self.alphabet)), [self._end, self._unseen]])
        found = self._probabilities(np.repeat(history, len(symbols), axis=0), symbols)
        return found[:-2], float(found[-2]), float(found[-1])

    # Symbols are 0..A-1 for the alphabet, then the end, the beginning, and one for all that was never seen.
    @property
    def _end(self) -> int:
        return len(self.alphabet)

    @property
    def _unseen(self) -> int:
        return len(self.alphabet) + 2

    def _windows(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Each place of each document, ends included: (N, order - 1) what stands 1, 2, ... before, (N,) the symbol."""
        begin, end = self._end + 1, self._end
        lengths = np.asarray([len(text) for text in texts], dtype=np.int64)
        symbols = np.full(int(lengths.sum() + len(texts)), end, dtype=np.int64)
        ends = np.cumsum(lengths + 1) - 1
        inside = np.ones(len(symbols), dtype=bool)
        inside[ends] = False
        symbols[inside] = self._encode("".join(texts))
        place = np.arange(len(symbols)) - np.repeat(ends - lengths, lengths + 1)
        history = np.full((len(symbols), self.order - 1), _OUTSIDE, dtype=np.int64)
        for back in range(1, self.order):
            history[back:, back - 1] = symbols[:-back] if back < len(symbols) else []
            history[place == back - 1, back - 1] = begin
            history[place < back - 1, back - 1] = _OUTSIDE
        return history, symbols

    def _encode(self, text: str) -> np.ndarray:
        points = _points(text)
        if len(self.alphabet) == 0:
            return np.full(len(points), self._unseen, dtype=np.int64)
        index = np.minimum(np.searchsorted(self.alphabet, points), len(self.alphabet) - 1)
        return np.where(self.alphabet[index] == points, index, self._unseen)

    def _probabilities(self, history: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """(N,) probability of each symbol after its history."""
        probability = np.full(len(symbols), 1 / (SCALARS + 1))
        context = np.zeros(len(symbols), dtype=np.int64)
        width = self._end + 3
        for back, level in enumerate(self._levels):
            if back:
                before = history[:, back - 1]
                context = np.where((context < 0) | (before < 0), -1, _find(level.contexts, context * width + before))
            gram = np.where(context < 0, -1, _find(level.grams, context * width + symbols))
            share = np.append(level.share, 0.0)[gram]  # index -1 is the 0 at the end
            probability = share + np.append(level.gamma, 1.0)[context] * probability
        return probability


@dataclass(frozen=True, kw_only=True)
class _Level:
    """Contexts of one length, as sorted keys: a context is its tail and one symbol before, a gram adds the next."""

    contexts: np.ndarray  # keys; a context's number is its place here
    grams: np.ndarray  # keys
    share: np.ndarray  # per gram: (a - D(a)) / total of its context
    gamma: np.ndarray  # per context: what is left for shorter contexts


@dataclass(frozen=True, kw_only=True)
class _Grams:
    """What occurs at one context length, before any probability."""

    contexts: np.ndarray  # keys
    grams: np.ndarray  # keys
    places: np.ndarray  # (P,) where in the text the history reaches this far back
    gram: np.ndarray  # (P,) the number of the gram there
    first: np.ndarray  # per gram: one of its places
    at_start: np.ndarray  # per gram: whether its first symbol is a document's beginning


def _train(history: np.ndarray, symbols: np.ndarray, width: int, discounts: Discounts | None) -> list[_Level]:
    found = list(_grams(history, symbols, width))
    levels = []
    for here, longer in zip_longest(found, found[1:]):
        counts = np.bincount(here.gram, minlength=len(here.grams))
        if longer is not None:
            # Nothing stands before a document's beginning: grams from there keep their counts.
            counts = np.where(here.at_start, counts, _left_neighbours(here, longer, len(symbols)))
        levels.append(_level(here, here.grams // width, counts, discounts))
    return levels


def _grams(history: np.ndarray, symbols: np.ndarray, width: int) -> Iterator[_Grams]:
    """The grams at each context length, shortest first; symbols are below `width`, width - 2 is the beginning."""
    contexts = np.zeros(1, dtype=np.int64)
    context = np.zeros(len(symbols), dtype=np.int64)
    places = np.arange(len(symbols))
    for back in range(history.shape[1] + 1):
        if back:
            reach = history[places, back - 1] >= 0
            places, context = places[reach], context[reach]
            contexts, context = np.unique(context * width + history[places, back - 1], return_inverse=True)
        grams, first, gram = np.unique(context * width + symbols[places], return_index=True, return_inverse=True)
        at_start = history[places[first], back - 1] == width - 2 if back else np.zeros(len(grams), dtype=bool)
        yield _Grams(contexts=contexts, grams=grams, places=places, gram=gram, first=places[first], at_start=at_start)


def _left_neighbours(here: _Grams, longer: _Grams, length: int) -> np.ndarray:
    """How many distinct symbols stand before each gram: how many of the longer grams end in it."""
    number = np.zeros(length, dtype=np.int64)
    number[here.places] = here.gram
    return np.bincount(number[longer.first], minlength=len(here.grams))


def _level(found: _Grams, owner: np.ndarray, counts: np.ndarray, discounts: Discounts | None) -> _Level:
    discount = np.asarray((0.0, *(discounts or estimate_discounts(counts))))[np.minimum(counts, 3)]
    total = np.bincount(owner, weights=counts, minlength=len(found.contexts))
    freed = np.bincount(owner, weights=discount, minlength=len(found.contexts))
    gamma = np.divide(freed, total, out=np.ones(len(total)), where=total > 0)  # without any text, all is left
    share = (counts - discount) / total[owner]
    return _Level(contexts=found.contexts, grams=found.grams, share=share, gamma=gamma)


def estimate_discounts(counts: np.ndarray) -> Discounts:
    """D1, D2, D3+ from how many counts are 1, 2, 3 and 4 (Chen and Goodman 1998, equation 26).

    Where the sample is too small for the estimate, (0.5, 1, 1.5): all that matters there is that something is freed.
    """
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < d <= k for k, d in enumerate(found, 1)):
            return found
    return 0.5, 1.0, 1.5


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Places of `wanted` in the sorted `keys`, -1 where absent."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[index] == wanted, index, -1)
