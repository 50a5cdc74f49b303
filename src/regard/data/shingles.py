"""What is compared of two texts to see whether they say nearly the same: the set of their shingles, and a sketch of it.

A shingle is a run of characters: three in Chinese, Japanese and Korean, five elsewhere, taken from the text without its
punctuation and in lower case. How alike two texts are is the Jaccard index of their sets: shared shingles over all.

A sketch is the MinHash signature of the set (Broder 1997, "On the resemblance and containment of documents"), cut into
BANDS of ROWS values, each band hashed to 32 bits (locality-sensitive hashing; Leskovec, Rajaraman and Ullman, "Mining
of Massive Datasets", ch. 3): two texts of index s share a band with probability 1 - (1 - s**ROWS)**BANDS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from regard.data import content

BANDS, ROWS = 16, 5
WIDTH, WIDTH_CJK = 5, 3  # characters of a shingle
_BATCH = 1 << 15  # characters hashed at once: small enough to stay in the processor's cache

_SIGNS = re.compile(r"[\W_]+")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af]+")
_DRAWS = np.random.Generator(np.random.Philox(key=20)).integers(0, 1 << 32, (2, BANDS * ROWS), dtype=np.uint32)
_FACTORS, _TERMS = _DRAWS[0] | np.uint32(1), _DRAWS[1]


def sketches(texts: Iterable[str]) -> np.ndarray:
    """(N, BANDS) uint32 for N texts: 64 bytes a text, whatever its length."""
    found = [keys for batch in _batches(texts) for keys in [_sketch(batch)]]
    return np.concatenate(found) if found else np.zeros((0, BANDS), dtype=np.uint32)


def shingles(text: str) -> frozenset[int]:
    """The shingles of one text, each as 32 bits."""
    bare, width = reduced(text)
    return frozenset(_hashes([bare], width)[0].tolist())


def alike(one: frozenset[int], other: frozenset[int]) -> float:
    """The Jaccard index of two sets of shingles."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def reduced(text: str) -> tuple[str, int]:
    """The text as it is cut into shingles, and how wide they are; one that has nothing but signs keeps them."""
    lowered = content.normal(text).casefold()
    if lowered.isascii():
        return _SIGNS.sub(" ", lowered).strip() or lowered, WIDTH
    bare = _SIGNS.sub(" ", lowered).strip() or lowered
    if 2 * len(_CJK.sub("", bare)) < len(bare):
        return bare.replace(" ", ""), WIDTH_CJK
    return bare, WIDTH


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sketch(texts: Sequence[str]) -> np.ndarray:
    keys = np.empty((len(texts), BANDS), dtype=np.uint32)
    cut = [reduced(text) for text in texts]
    for width in (WIDTH, WIDTH_CJK):
        numbers = [number for number, (_, each) in enumerate(cut) if each == width]
        if numbers:
            keys[numbers] = _bands(*_hashes([cut[number][0] for number in numbers], width))
    return keys


def _hashes(texts: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray]:
    """(the shingles of all texts one after another as uint32, where those of each text begin)."""
    padded = [text.ljust(width, "\0") for text in texts]
    lengths = np.array([len(text) for text in padded])
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    count = len(letters) - width + 1
    values = letters[:count].astype(np.uint32)
    for step in range(1, width):
        values *= np.uint32(0x9E3779B1)
        values += letters[step : step + count]
    whole = np.ones(len(letters), dtype=bool)
    for step in range(1, width):  # a shingle does not reach into the next text
        whole[np.cumsum(lengths) - step] = False
    sizes = lengths - width + 1
    return _mixed(values[whole[:count]]), np.cumsum(sizes) - sizes


def _bands(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    keys = np.zeros((len(starts), BANDS), dtype=np.uint32)
    drawn = np.empty_like(values)
    for number, (factor, term) in enumerate(zip(_FACTORS, _TERMS, strict=True)):
        np.multiply(values, factor, out=drawn)
        np.add(drawn, term, out=drawn)
        band = keys[:, number // ROWS]
        band *= np.uint32(0x01000193)
        band ^= np.minimum.reduceat(drawn, starts)
        keys[:, number // ROWS] = _mixed(band)
    return keys


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit given (the finish of MurmurHash3)."""
    values = values ^ (values >> np.uint32(16))
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))
