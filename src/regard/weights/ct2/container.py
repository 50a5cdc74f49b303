"""What stands in a model.bin of CTranslate2, held to every rule of the format before a tensor is read. Version 6.

    version u32, name of the architecture, its revision u32, number of variables u32
    each variable:  name, axes u8, size of each axis u32 (slowest first), type u8, bytes u32, the numbers
    number of aliases u32, each: its name, the variable's name
    a name is u16 length, then letters and one NUL

Format: CTranslate2's python/ctranslate2/specs/model_spec.py. Nothing is made that the bytes left in the file do not pay
for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard.errors import BadFileError
from regard.weights.front import Front
from regard.words import say

FILE = "model.bin"
VERSION = 6
MOST_VARIABLES = 1 << 17
MOST_AXES = 8
LONGEST_NAME = 512
TYPES = {0: "F32", 1: "I8", 2: "I16", 3: "I32", 4: "F16", 5: "BF16"}
_NUMPY = {"F32": "<f4", "I8": "i1", "I16": "<i2", "I32": "<i4", "F16": "<f2", "BF16": "<i2"}


@dataclass(frozen=True)
class Info:
    """One variable: its shape, the type of its numbers, and where their bytes stand in the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    begin: int
    size: int


@dataclass(frozen=True)
class Ct2:
    """An open file: the architecture's name, its variables by name, and what else some of them are called."""

    path: Path
    architecture: str
    variables: dict[str, Info]
    aliases: dict[str, str]
    bytes: memoryview

    def tensor(self, name: str) -> Tensor:
        """The numbers as they are stored, in memory of their own."""
        info = self.variables[name]
        raw = np.frombuffer(self.bytes[info.begin : info.begin + info.size], _NUMPY[info.type]).copy()
        tensor = torch.from_numpy(raw).view(info.shape)
        return tensor.view(torch.bfloat16) if info.type == "BF16" else tensor

    def number(self, name: str) -> int:
        """A setting, which is a variable without axes."""
        return int(self.tensor(name).item())


def is_ct2(folder: Path) -> bool:
    """Whether the folder holds such a model: PyTorch's pickles, which are called the same by some, begin otherwise."""
    path = folder / FILE
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(6)
    return len(head) == 6 and int.from_bytes(head[:4], "little") < 1 << 8 and head[4] > 0 and head[5] == 0


def open_file(path: str | os.PathLike[str]) -> Ct2:
    """The file's variables (memory-mapped); a BadFileError names the first broken rule."""
    return _Reader(path).file()


class _Reader(Front):
    def file(self) -> Ct2:
        version = self.number("I")
        if version != VERSION:
            raise self.broken("version", version=version, known=VERSION)
        architecture, _ = self.name(), self.number("I")
        count = self.number("I")
        if count > MOST_VARIABLES:
            raise self.broken("many", count=count)
        variables: dict[str, Info] = {}
        for _ in range(count):
            info = self.info()
            if info.name in variables:
                raise self.broken("twice", name=info.name)
            variables[info.name] = info
        aliases = self.aliases(variables)
        if self.at < len(self.data):
            raise self.broken("trailing", at=self.at, size=len(self.data))
        return Ct2(self.path, architecture, variables, aliases, self.data)

    def info(self) -> Info:
        name, axes = self.name(), self.number("B")
        if axes > MOST_AXES:
            raise self.broken("axes", name=name, axes=axes, most=MOST_AXES)
        shape = tuple(self.number("I") for _ in range(axes))
        number, size = self.number("B"), self.number("I")
        if number not in TYPES:
            raise self.broken("type", name=name, type=number, known=", ".join(TYPES.values()))
        wanted = np.dtype(_NUMPY[TYPES[number]]).itemsize
        for axis in shape:
            wanted *= axis
        if wanted != size or not wanted:
            raise self.broken("size", name=name, shape=shape, type=TYPES[number], size=size)
        self.take(size)
        return Info(name, shape, TYPES[number], self.at - size, size)

    def aliases(self, variables: dict[str, Info]) -> dict[str, str]:
        count = self.number("I")
        if count > MOST_VARIABLES:
            raise self.broken("many", count=count)
        found: dict[str, str] = {}
        for _ in range(count):
            name, first = self.name(), self.name()
            if name in variables or name in found:
                raise self.broken("twice", name=name)
            if first not in variables:
                raise self.broken("alias", name=name, first=first)
            found[name] = first
        return found

    def name(self) -> str:
        length = self.number("H")
        if not 2 <= length <= LONGEST_NAME:
            raise self.broken("name", name=f"{length} bytes")
        raw = bytes(self.take(length))
        if raw.find(b"\0") != length - 1 or not raw.isascii():
            raise self.broken("name", name=ascii(raw)[:80])
        return raw[:-1].decode("ascii")

    def broken(self, rule: str, /, **values: Any) -> BadFileError:
        return self.damaged(say(f"weights.ct2.{rule}", **values))

    def damaged(self, why: object) -> BadFileError:
        return BadFileError("weights.ct2_damaged", file=self.path, why=why)
