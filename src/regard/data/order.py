"""The order of the data, as pure functions of (seed, epoch): a number says where one is, on any count of workers.

Random numbers are the raw output of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
whose stream NumPy promises to keep: key (seed, stream), counter (0, index, epoch, 0). Nothing is drawn that depends on
what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW = 64  # batches whose examples are sorted by length together: like lengths meet, while the order stays random

# Streams: uses of one (seed, epoch, index) that must not share their numbers. Masking and disturbing belong to the
# tasks.
EXAMPLES, BATCHES, AUGMENT, MASK, DISTURB = range(5)


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) every index below `count` once, in the order of this epoch; int64."""
    return np.argsort(_raw(seed, epoch, 0, EXAMPLES, count), kind="stable")


def uniform(seed: int, epoch: int, index: int, count: int, *, stream: int) -> np.ndarray:
    """(count,) numbers in [0, 1) that belong to one example in one epoch; float64."""
    return (_raw(seed, epoch, index, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def plan(
    lengths: Sequence[int] | np.ndarray, *, seed: int, epoch: int, tokens: int, bucket: bool = True
) -> list[np.ndarray]:
    """The batches of one epoch: arrays of indices into `lengths`, every index in exactly one of them.

    A batch holds at most `tokens` tokens, or one example that alone is longer. With `bucket`, examples of like length
    stand together and the batches are in random order; without, the examples are in the order of `permutation`.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if tokens < 1:
        raise ValueError(f"a batch of {tokens} tokens holds nothing")
    if sizes.size == 0:
        return []
    if sizes.min() < 0:
        raise ValueError("an example has a negative length")
    shuffled = permutation(seed, epoch, sizes.size)
    if not bucket:
        return _fill(shuffled, sizes, tokens)
    batches: list[np.ndarray] = []
    for window in _fill(shuffled, sizes, WINDOW * tokens):
        batches += _fill(window[np.argsort(sizes[window], kind="stable")], sizes, tokens)
    order = np.argsort(_raw(seed, epoch, 0, BATCHES, len(batches)), kind="stable")
    return [batches[number] for number in order]


def _fill(indices: np.ndarray, sizes: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Cut `indices`, in order, into runs of at most `tokens` tokens."""
    ends = np.cumsum(sizes[indices])
    runs: list[np.ndarray] = []
    start, spent = 0, 0
    while start < len(indices):
        stop = max(int(np.searchsorted(ends, spent + tokens, side="right")), start + 1)
        runs.append(indices[start:stop])
        start, spent = stop, int(ends[stop - 1])
    return runs


def _raw(seed: int, epoch: int, index: int, stream: int, count: int) -> np.ndarray:
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, index, epoch, 0], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)
