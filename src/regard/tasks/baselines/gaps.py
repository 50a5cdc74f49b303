"""Masked tokens filled in from counts: the commonest token, or the commonest one between these neighbours."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Unigram:
    """Always the commonest token."""

    def __init__(self, texts: Iterable[np.ndarray], vocab: int) -> None:
        counts = np.zeros(vocab, dtype=np.int64)
        for text in texts:
            counts += np.bincount(text, minlength=vocab)
        self.answer = int(counts.argmax())

    def fill(self, tokens: np.ndarray, where: np.ndarray) -> np.ndarray:
        """(M,) answers for the positions `where` of `tokens` (T,), which may be masked there."""
        return np.full(len(where), self.answer)


class Bigram:
    """The token x that makes p(x | left neighbour) p(right neighbour | x) largest, counts smoothed by `added`.

    Neighbours are taken as they stand in the masked text; one that was never seen, as a mask, says nothing.
    """

    def __init__(self, texts: Iterable[np.ndarray], vocab: int, added: float = 0.01) -> None:
        pairs = [np.stack([text[:-1], text[1:]]) for text in texts if len(text) > 1]
        left, right = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), dtype=np.int64)
        self._vocab = vocab
        self._added = added
        self._as_left = np.bincount(left, minlength=vocab).astype(np.float64)
        self._as_right = np.bincount(right, minlength=vocab).astype(np.float64)
        self._after = _Followers(left, right, vocab)
        self._before = _Followers(right, left, vocab)

    def fill(self, tokens: np.ndarray, where: np.ndarray) -> np.ndarray:
        """(M,) answers for the positions `where` of `tokens` (T,)."""
        return np.asarray([self._best(tokens, int(place)) for place in where], dtype=np.int64)

    def _best(self, tokens: np.ndarray, place: int) -> int:
        added, rest = self._added, self._added * self._vocab
        score = np.log(self._as_right + added)
        if place > 0 and self._as_left[tokens[place - 1]]:
            others, counts = self._after.of(int(tokens[place - 1]))
            score = np.full(self._vocab, np.log(added))
            score[others] = np.log(counts + added)
        if place + 1 < len(tokens) and self._as_right[tokens[place + 1]]:
            others, counts = self._before.of(int(tokens[place + 1]))
            score = score - np.log(self._as_left + rest)
            score[others] += np.log(counts + added)
            missing = np.ones(self._vocab, dtype=bool)
            missing[others] = False
            score[missing] += np.log(added)
        return int(score.argmax())


class _Followers:
    """For each token, which tokens stand on one side of it and how often."""

    def __init__(self, ones: np.ndarray, others: np.ndarray, vocab: int) -> None:
        keys, self._counts = np.unique(ones.astype(np.int64) * vocab + others, return_counts=True)
        self._others = keys % vocab
        self._starts = np.searchsorted(keys // vocab, np.arange(vocab + 1))

    def of(self, token: int) -> tuple[np.ndarray, np.ndarray]:
        here = slice(self._starts[token], self._starts[token + 1])
        return self._others[here], self._counts[here]
