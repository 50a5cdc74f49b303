"""Writing a model.bin of CTranslate2, version 6."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from regard import limits
from regard.errors import RegardError
from regard.weights.ct2.container import VERSION

DTYPES = {"F32": torch.float32, "F16": torch.float16}
_NUMBERS = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.float16: 4}


def write(
    path: Path, architecture: str, revision: int, variables: Mapping[str, Tensor], aliases: Mapping[str, str]
) -> None:
    """Writes beside and renames, so that the file is whole or not there."""
    try:
        with limits.replacing(path) as file:
            _write(file, architecture, revision, variables, aliases)
    except OSError as error:
        raise RegardError("weights.not_written", path=path, why=error.strerror or error) from error


def _write(
    file: BinaryIO, architecture: str, revision: int, variables: Mapping[str, Tensor], aliases: Mapping[str, str]
) -> None:
    file.write(struct.pack("<I", VERSION) + _name(architecture) + struct.pack("<II", revision, len(variables)))
    for name, tensor in variables.items():
        axes = struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape)
        file.write(_name(name) + axes + struct.pack("<BI", _NUMBERS[tensor.dtype], tensor.nbytes))
        file.write(tensor.contiguous().numpy().tobytes())
    file.write(struct.pack("<I", len(aliases)))
    for name, first in aliases.items():
        file.write(_name(name) + _name(first))


def _name(name: str) -> bytes:
    raw = name.encode("ascii") + b"\0"
    return struct.pack("<H", len(raw)) + raw
