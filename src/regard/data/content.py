"""When two rows say the same: after Unicode NFKC and with white space reduced to single blanks."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

# U+FFFD stands where a decoder gave up, U+25A1 where an editor of old texts could read no character.
DAMAGE = re.compile("[\ufffd\u25a1]")


def normal(text: str) -> str:
    """The text as it is compared."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def asked(row: Mapping[str, str]) -> str:
    """What a model is given of a row: its text, or the source of a pair, as it is compared."""
    return normal(row["text"] if "text" in row else row["source"])


def parts(row: Mapping[str, str]) -> tuple[str, ...]:
    """What there is to read in a row: its text, its source and target."""
    return tuple(row[role] for role in ("text", "source", "target") if role in row)


def visible(text: str) -> str:
    """The text with escapes in place of what cannot be seen: a file must not be able to steer the terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def key(*texts: str) -> bytes:
    """16 bytes that differ where the texts differ; chance alone makes two of 10**9 rows equal once in 10**20 times."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def groups(keys: Sequence[bytes] | bytearray) -> np.ndarray:
    """(N,) int64: for each row the number of the first row that has the same 16-byte key."""
    data = keys if isinstance(keys, bytearray) else b"".join(keys)
    halves = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: within a group the first row comes first
    if not len(order):
        return order
    ordered = halves[order]
    starts = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    return first
