"""What stands in a GGUF file, held to every rule of the format before a tensor is read. Versions 2 and 3.

    magic "GGUF", version u32, number of tensors u64, number of metadata entries u64
    each entry:  key string, kind u32, value
                 a string is u64 length and bytes, an array is kind u32, u64 length and values
    each tensor: name string, axes u32, size of each axis u64 (fastest first), type u32, offset u64
    the numbers: from the next multiple of general.alignment on; each tensor begins at such a multiple

Format: docs/gguf.md of ggml. Sizes are Python's integers, which do not overflow, and nothing is made that the bytes
left in the file do not pay for.
"""

from __future__ import annotations

import mmap
import os
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard import limits
from regard.errors import BadFileError
from regard.weights.front import Front
from regard.weights.gguf.blocks import TYPES, Type
from regard.words import say

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
MOST_ENTRIES = 1 << 16
MOST_TENSORS = 1 << 17
MOST_VALUES = 1 << 22  # of one array: a vocabulary or its merges
MOST_AXES = 4
LONGEST_NAME = 512
LONGEST_TEXT = 4 * limits.MIB
MOST_MEMORY = 48 * limits.MIB  # of all metadata: a short text takes many times its bytes

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9


@dataclass(frozen=True)
class Info:
    """One tensor: its shape slowest axis first, as everywhere here, and where its bytes stand in the file."""

    name: str
    shape: tuple[int, ...]
    type: Type
    begin: int
    size: int


@dataclass(frozen=True)
class Gguf:
    """An open file: ``metadata`` by key, ``kinds`` of its arrays by key, ``tensors`` by name, and its bytes.

    A list of texts or truths is a list; one of numbers stays as small as it is in the file, in an ``array``."""

    path: Path
    metadata: dict[str, Any]
    kinds: dict[str, int]
    tensors: dict[str, Info]
    bytes: memoryview

    def raw(self, name: str) -> memoryview:
        info = self.tensors[name]
        return self.bytes[info.begin : info.begin + info.size]

    def done(self, name: str) -> None:
        """The tensor's pages of the file need no memory any more; they can be read again."""
        info, page = self.tensors[name], mmap.PAGESIZE
        begin = info.begin // page * page
        if hasattr(mmap, "MADV_DONTNEED") and isinstance(self.bytes.obj, mmap.mmap):
            self.bytes.obj.madvise(mmap.MADV_DONTNEED, begin, info.begin + info.size - begin)


def is_gguf(path: Path) -> bool:
    """Whether it calls itself one, by its name or its first bytes."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return path.suffix == ".gguf" or file.read(4) == MAGIC


def open_file(path: str | os.PathLike[str]) -> Gguf:
    """The file's metadata and tensors (memory-mapped); a BadFileError names the first broken rule."""
    return _Reader(path).file()


class _Reader(Front):
    empty = "magic"
    kept = 0  # bytes of memory that the metadata read so far take

    def file(self) -> Gguf:
        if bytes(self.take(4)) != MAGIC:
            raise self.broken("magic")
        version = self.number("I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            raise self.broken("big_endian" if swapped else "version", version=version)
        count, entries = self.number("Q"), self.number("Q")
        if count > MOST_TENSORS or entries > MOST_ENTRIES:
            raise self.broken("many", tensors=count, entries=entries)
        metadata: dict[str, Any] = {}
        kinds: dict[str, int] = {}
        for _ in range(entries):
            key = self.name()
            if key in metadata:
                raise self.broken("twice", name=key)
            metadata[key], kinds[key] = self.value(key)
        alignment = self.alignment(metadata, kinds)
        infos = [self.info() for _ in range(count)]
        return Gguf(self.path, metadata, kinds, self.placed(infos, alignment), self.data)

    def alignment(self, metadata: dict[str, Any], kinds: dict[str, int]) -> int:
        alignment = metadata.get(ALIGNMENT, 32)
        whole = kinds.get(ALIGNMENT, 4) == 4 and type(alignment) is int and alignment >= 8
        if not whole or alignment & (alignment - 1) or alignment > 1 << 20:
            raise self.broken("alignment", value=repr(alignment)[:40])
        return alignment

    def info(self) -> Info:
        self.keep(512)  # what is kept of a tensor
        name = self.name()
        axes = self.number("I")
        if not 1 <= axes <= MOST_AXES:
            raise self.broken("axes", name=name, axes=axes, most=MOST_AXES)
        sizes = [self.number("Q") for _ in range(axes)]
        if any(size == 0 or size >= 1 << 63 for size in sizes):
            raise self.broken("shape", name=name, shape=sizes)
        number = self.number("I")
        kind = TYPES.get(number)
        if kind is None:
            raise self.broken("type", name=name, type=number, known=", ".join(one.name for one in TYPES.values()))
        if sizes[0] % kind.block:
            raise self.broken("block", name=name, size=sizes[0], block=kind.block, type=kind.name)
        count = 1
        for size in sizes:
            count *= size
        return Info(name, tuple(reversed(sizes)), kind, self.number("Q"), count // kind.block * kind.bytes)

    def placed(self, infos: list[Info], alignment: int) -> dict[str, Info]:
        """The tensors with their place in the whole file; none may overlap, be elsewhere or go past the end."""
        start = -(-self.at // alignment) * alignment
        found: dict[str, Info] = {}
        end = 0
        for info in sorted(infos, key=lambda info: info.begin):
            if info.name in found:
                raise self.broken("twice", name=info.name)
            if info.begin % alignment:
                raise self.broken("misplaced", name=info.name, offset=info.begin, alignment=alignment)
            if info.begin < end:
                raise self.broken("overlap", name=info.name)
            end = info.begin + info.size
            if start + end > len(self.data):
                raise self.broken("past_end", name=info.name, size=len(self.data))
            found[info.name] = Info(info.name, info.shape, info.type, start + info.begin, info.size)
        return found

    def value(self, key: str) -> tuple[Any, int]:
        """(value, kind); of an array the kind of what it holds."""
        kind = self.number("I")
        if kind != ARRAY:
            return self.single(kind, key), kind
        inner, length = self.number("I"), self.number("Q")
        if inner == ARRAY:
            raise self.broken("nested", key=key)
        if length > MOST_VALUES:
            raise self.broken("long", key=key, count=length, most=MOST_VALUES)
        if inner == STRING:
            if 8 * length > len(self.data) - self.at:
                raise self.broken("cut")
            self.keep(8 * length)
            return [self.text() for _ in range(length)], inner
        form = self.form(inner, key)
        values = array(form)
        values.frombytes(self.take(length * values.itemsize))
        if sys.byteorder == "big":
            values.byteswap()
        self.keep(sys.getsizeof(values) + (8 * length if inner == BOOL else 0))
        return ([self.truth(value, key) for value in values] if inner == BOOL else values), inner

    def single(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self.text()
        value = self.number(self.form(kind, key))
        return self.truth(value, key) if kind == BOOL else value

    def truth(self, value: int, key: str) -> bool:
        if value > 1:
            raise self.broken("truth", key=key, value=value)
        return bool(value)

    def form(self, kind: int, key: str) -> str:
        if kind not in _NUMBERS:
            raise self.broken("kind", key=key, kind=kind)
        return _NUMBERS[kind]

    def name(self) -> str:
        name = self.text(LONGEST_NAME)
        if not name or "\0" in name:
            raise self.broken("name", name=ascii(name)[:80])
        return name

    def text(self, longest: int = LONGEST_TEXT) -> str:
        length = self.number("Q")
        if length > longest:
            raise self.broken("long_text", length=length, most=longest)
        try:
            text = str(self.take(length), "utf-8")
        except UnicodeDecodeError as error:
            raise self.broken("utf8", at=self.at - length + error.start) from error
        self.keep(sys.getsizeof(text))
        return text

    def keep(self, size: int) -> None:
        """Counts memory before more of it is taken."""
        self.kept += size
        if self.kept > MOST_MEMORY:
            raise self.broken("memory", most=MOST_MEMORY // limits.MIB)

    def broken(self, rule: str, /, **values: Any) -> BadFileError:
        return self.damaged(say(f"weights.gguf.{rule}", **values))

    def damaged(self, why: object) -> BadFileError:
        return BadFileError("weights.gguf_damaged", file=self.path, why=why)
