"""A memory for sequence to sequence: the answer is the target of the most similar training source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

SIZES = (1, 2, 3)  # lengths of the character n-grams that are compared


class Memory:
    """Training pairs; `answer` gives the target whose source shares most with the one asked.

    Similarity is Dice's coefficient on multisets of character n-grams: 2 |A and B| / (|A| + |B|); of equals the first.
    """

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        if len(sources) != len(targets) or not sources:
            raise ValueError(f"{len(sources)} sources and {len(targets)} targets")
        self._targets = list(targets)
        counted = [grams(source) for source in sources]
        self._sizes = np.asarray([counts.total() for counts in counted])
        places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for index, counts in enumerate(counted):
            for gram, times in counts.items():
                places[gram].append((index, times))
        self._places = {gram: np.asarray(found, dtype=np.int64).T for gram, found in places.items()}

    def answer(self, source: str) -> str:
        """The target of the nearest training source."""
        asked = grams(source)
        shared = np.zeros(len(self._targets))
        for gram, times in asked.items():
            if gram in self._places:
                indices, counts = self._places[gram]
                shared[indices] += np.minimum(counts, times)
        similarity = 2 * shared / np.maximum(self._sizes + asked.total(), 1)
        return self._targets[int(similarity.argmax())]


def grams(text: str) -> Counter[str]:
    """How often each character n-gram of the lengths SIZES occurs."""
    return Counter(text[i : i + n] for n in SIZES for i in range(len(text) - n + 1))
