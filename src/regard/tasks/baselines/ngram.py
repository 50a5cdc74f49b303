"""Character n-gram language model: modified Kneser-Ney, interpolated (Chen and Goodman 1998, section 4.1.6).

It is a distribution over documents: every Unicode scalar value has a probability after every context, and so has the end, so
its bits per character stand beside those of any model that scores whole documents. The recursion over context lengths j is

    p_j(c | context) = (a - D(a)) / total + gamma(context) p_{j-1}(c | context shortened by its first character)

down to a uniform p_{-1}; `a` are counts at the longest context and numbers of distinct left neighbours below it, D(a) the
discounts for a = 1, 2 and more, gamma what they freed. A context never seen leaves p_{j-1} as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SCALARS = 0x110000 - 0x800  # Unicode scalar values: all code points but the surrogates
_OUTSIDE = -1  # a place before the document's beginning


class NGram:
    """Trained on documents when made; `order` characters are looked at together, 1 = frequencies alone."""

    def __init__(self, documents: Iterable[str], order: int = 5, discounts: tuple[float, float, float] | None = None) -> None:
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
        """What follows `context` at a document's beginning: (A,) for `alphabet`, the end, and each character never seen."""
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
        """Every place of every document and its end: (N, order - 1) what stands 1, 2, ... before it, and (N,) the symbol."""
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
    """Contexts of one length. Sorted keys; a context is its tail's number and the symbol before it, a gram its context and symbol."""

    contexts: np.ndarray  # keys; a context's number is its place here
    grams: np.ndarray  # keys
    share: np.ndarray  # per gram: (a - D(a)) / total of its context
    gamma: np.ndarray  # per context: what is left for shorter contexts


def _train(history: np.ndarray, symbols: np.ndarray, width: int, discounts: tuple[float, float, float] | None) -> list[_Level]:
    contexts = np.zeros(1, dtype=np.int64)
    context = np.zeros(len(symbols), dtype=np.int64)
    live = np.arange(len(symbols))  # the places whose history reaches this far back
    held: list[tuple[np.ndarray, ...]] = []
    for back in range(history.shape[1] + 1):
        if back:
            reach = history[live, back - 1] >= 0
            live, context = live[reach], context[reach]
            contexts, context = np.unique(context * width + history[live, back - 1], return_inverse=True)
        grams, first, gram = np.unique(context * width + symbols[live], return_index=True, return_inverse=True)
        held.append((contexts, grams, live, live[first], gram))
    levels = []
    for back, (contexts, grams, live, first, gram) in enumerate(held):
        counts = np.bincount(gram, minlength=len(grams))
        if back + 1 < len(held):
            counts = _left_neighbours(counts, history[first, back - 1] == width - 2 if back else None, live, gram, held[back + 1][3])
        levels.append(_level(contexts, grams, grams // width, counts, discounts))
    return levels


def _left_neighbours(
    counts: np.ndarray, at_start: np.ndarray | None, live: np.ndarray, gram: np.ndarray, longer: np.ndarray
) -> np.ndarray:
    """How many distinct symbols stand before each gram; grams at a document's start have none and keep their counts."""
    number = np.full(live[-1] + 1 if len(live) else 0, -1, dtype=np.int64)
    number[live] = gram
    distinct = np.bincount(number[longer], minlength=len(counts))
    return distinct if at_start is None else np.where(at_start, counts, distinct)


def _level(
    contexts: np.ndarray, grams: np.ndarray, owner: np.ndarray, counts: np.ndarray, discounts: tuple[float, float, float] | None
) -> _Level:
    discount = np.asarray((0.0, *(discounts or estimate_discounts(counts))))[np.minimum(counts, 3)]
    total = np.bincount(owner, weights=counts, minlength=len(contexts))
    freed = np.bincount(owner, weights=discount, minlength=len(contexts))
    return _Level(contexts=contexts, grams=grams, share=(counts - discount) / total[owner], gamma=_ratio(freed, total))


def estimate_discounts(counts: np.ndarray) -> tuple[float, float, float]:
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


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.ones_like(above), where=below > 0)
