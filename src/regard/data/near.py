"""Rows that say nearly what another row says: candidates from their sketches, then compared shingle by shingle.

What is reported is therefore near by the definition, whatever the sketches said; how many of those that are near the
sketches find is 1 - (1 - s**ROWS)**BANDS at likeness s (`shingles`). Takes 64 bytes a row, 24 more while one band is
sorted, and 8 for each pair of rows that shares a band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from regard.data.shingles import BANDS, alike, shingles

LIKENESS = 0.8
_BEHIND = 2  # how many neighbours within a bucket a row is compared with, besides the bucket's first
_HELD = 8192  # rows whose shingles are held while pairs are compared


@dataclass(frozen=True, eq=False)
class Near:
    """(N,) each: row `number` says nearly what row `of` says; `likeness` is their Jaccard index. Rising by number."""

    number: np.ndarray
    of: np.ndarray
    likeness: np.ndarray

    def __len__(self) -> int:
        return len(self.number)

    def some(self, which: np.ndarray) -> Near:
        """Those of which `which` (N,) bool is true."""
        return Near(self.number[which], self.of[which], self.likeness[which])


def near(keys: np.ndarray, text: Callable[[int], str], *, likeness: float = LIKENESS) -> Near:
    """The rows that are near an earlier row which is not itself one of them.

    Dropping `number` therefore leaves, for each row dropped, a row (`of`) as much like it as `likeness`. `keys` are
    the rows' sketches (N, BANDS), `text` gives the text of a row.
    """
    held = lru_cache(maxsize=_HELD)(lambda number: shingles(text(number)))
    keeper = np.arange(len(keys))
    found: list[tuple[int, int, float]] = []
    for number, earlier in _by_row(candidates(keys)):
        for other in dict.fromkeys(int(keeper[each]) for each in earlier):
            share = alike(held(number), held(other))
            if share >= likeness:
                keeper[number] = other
                found.append((number, other, share))
                break
    return _near(found)


def leaks(
    keys: np.ndarray,
    held_out: np.ndarray,
    text: Callable[[int], str],
    held_out_text: Callable[[int], str],
    *,
    likeness: float = LIKENESS,
) -> Near:
    """The rows that are near a held-out row; `of` counts in the held-out rows."""
    border = len(held_out)
    held = lru_cache(maxsize=_HELD)(
        lambda number: shingles(held_out_text(number) if number < border else text(number - border))
    )
    found: list[tuple[int, int, float]] = []
    crossing = candidates(np.concatenate([held_out, keys]), border=border)
    for number, earlier in _by_row(crossing):
        share, other = max((alike(held(number), held(each)), -each) for each in earlier)
        if share >= likeness:
            found.append((number - border, -other, share))
    return _near(found)


def candidates(keys: np.ndarray, *, border: int | None = None) -> np.ndarray:
    """(C, 2) pairs (later row, earlier row) that share a band, in rising order; with `border`, those on two sides."""
    count = len(keys)
    pairs = np.zeros(0, dtype=np.int64)
    for band in range(BANDS):
        order = np.argsort(keys[:, band], kind="stable")  # within a bucket the rows stay in their order
        sorted_keys = keys[order, band]
        fresh = np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]) if count else np.zeros(0, dtype=bool)
        first = np.maximum.accumulate(np.where(fresh, np.arange(count), 0))
        places = [first, *(np.maximum(np.arange(count) - step, first) for step in range(1, _BEHIND + 1))]
        band_pairs = []
        for place in places:
            later, earlier = order, order[place]
            wanted = later != earlier if border is None else (later >= border) & (earlier < border)
            band_pairs.append(later[wanted] * count + earlier[wanted])
        pairs = np.union1d(pairs, np.concatenate(band_pairs))
    return np.stack(np.divmod(pairs, max(count, 1)), axis=1)


def _by_row(pairs: np.ndarray) -> Iterator[tuple[int, Sequence[int]]]:
    """(row, the rows it may be near), row by row."""
    later, starts = np.unique(pairs[:, 0], return_index=True)
    for number, group in zip(later.tolist(), np.split(pairs[:, 1], starts[1:]), strict=True) if len(later) else ():
        yield number, group.tolist()


def _near(found: Sequence[tuple[int, int, float]]) -> Near:
    numbers, of, share = zip(*found, strict=True) if found else ((), (), ())
    return Near(np.array(numbers, dtype=np.int64), np.array(of, dtype=np.int64), np.array(share))
