"""The header of a safetensors file, held to every rule of the format before any other code sees the file.

    8 bytes, little-endian: how long the header is
    the header, JSON:       {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {…}}
    the numbers:            each byte belongs to exactly one tensor

Rules: the format's README (huggingface/safetensors) and, beyond it, no name twice, names and sizes within reason. Sizes
are Python's integers, which do not overflow.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard import limits
from regard.errors import BadFileError
from regard.words import say

LARGEST = 64 * limits.MIB  # of a header; the format's own bound is 100 MB, the largest known one has 12
MOST_AXES = 64
LONGEST_NAME = 4096
METADATA = "__metadata__"
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What the header says of one tensor; ``begin`` and ``end`` count bytes from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of the file in the order of their bytes; a BadFileError names the file and the first broken rule."""
    try:
        return _check(Path(path))
    except _Broken as error:
        raise BadFileError("weights.damaged", file=path, why=say(error.key, **error.values)) from None


class _Broken(Exception):
    def __init__(self, key: str, **values: Any) -> None:
        super().__init__(key)
        self.key, self.values = f"weights.header.{key}", values


def _check(path: Path) -> list[Entry]:
    raw, data = _read(path)
    document = limits.parse_json(raw, str(path))
    if not isinstance(document, dict):
        raise _Broken("start")
    metadata = document.pop(METADATA, None)
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    ):
        raise _Broken("metadata")
    entries = sorted((_entry(name, value) for name, value in document.items()), key=lambda one: (one.begin, one.end))
    place = 0
    for one in entries:
        if one.begin != place:
            raise _Broken("overlap" if one.begin < place else "hole", name=one.name, begin=one.begin, place=place)
        place = one.end
    if place > data:
        raise _Broken("short", wanted=place, there=data)
    if place < data:
        raise _Broken("trailing", wanted=place, there=data)
    return entries


def _read(path: Path) -> tuple[bytes, int]:
    """The header's bytes, and how many bytes follow it."""
    size = limits.file_size(path)
    try:
        with open(path, "rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if len(first) < 8 or length > size - 8:
                raise _Broken("length", length=length if len(first) == 8 else 8, size=size)
            if length > LARGEST:
                raise _Broken("large", length=length, most=LARGEST)
            raw = file.read(length)
    except OSError as error:
        raise _Broken("unreadable", why=error.strerror or type(error).__name__) from error
    if not raw.startswith(b"{"):
        raise _Broken("start")
    return raw, size - 8 - length


def _entry(name: str, value: Any) -> Entry:
    shown = ascii(name)[:80]
    if not name or len(name) > LONGEST_NAME or not isinstance(value, dict):
        raise _Broken("entry", name=shown)
    if value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Broken("entry", name=shown)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _Broken("dtype", name=shown, dtype=ascii(dtype)[:40])
    if not _counts(shape) or len(shape) > MOST_AXES:
        raise _Broken("shape", name=shown, shape=repr(shape)[:80])
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _Broken("offsets", name=shown, offsets=repr(offsets)[:80])
    bits = BITS[dtype]
    for axis in shape:
        bits *= axis
    # Ours and the reference's counts are of 64 bits: of a shape that has more the product elsewhere would wrap around.
    if bits >= 1 << 63 or any(axis >= 1 << 63 for axis in shape):
        raise _Broken("shape", name=shown, shape=repr(shape)[:80])
    if bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        raise _Broken("size", name=shown, shape=tuple(shape), dtype=dtype, bytes=offsets[1] - offsets[0])
    return Entry(name, dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)
