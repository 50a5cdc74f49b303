"""Writing a GGUF file: version 3, little-endian, tensors as F32, F16, BF16 or Q8_0."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from regard import limits
from regard.errors import RegardError
from regard.weights.gguf import blocks
from regard.weights.gguf.container import ARRAY, BOOL, MAGIC, STRING, VERSIONS

ALIGNED = 32
_WHOLE, _SIGNED, _REAL = 4, 5, 6  # u32, i32 (in arrays: of token types), f32


def write(path: Path, metadata: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor]], kind: str) -> None:
    """Writes beside and renames, so that the file is whole or not there. Vectors stay F32, as llama.cpp wants them;
    so do matrices whose rows the type's blocks do not divide."""
    try:
        with limits.replacing(path) as file:
            _write(file, metadata, list(tensors), kind)
    except OSError as error:
        raise RegardError("weights.not_written", path=path, why=error.strerror or error) from error


def type_of(tensor: Tensor, kind: str) -> blocks.Type:
    wanted = blocks.named(kind)
    return wanted if tensor.ndim > 1 and tensor.shape[-1] % wanted.block == 0 else blocks.named("F32")


def _write(file: BinaryIO, metadata: Mapping[str, Any], tensors: list[tuple[str, Tensor]], kind: str) -> None:
    head = bytearray(MAGIC + struct.pack("<IQQ", VERSIONS[-1], len(tensors), len(metadata)))
    for key, value in metadata.items():
        head += _text(key) + _value(value)
    offset = 0
    for name, tensor in tensors:
        made = type_of(tensor, kind)
        shape = tuple(reversed(tensor.shape))
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, blocks.number(made.name), offset)
        offset += _padded(tensor.numel() // made.block * made.bytes)
    file.write(head + bytes(_padded(len(head)) - len(head)))
    for _, tensor in tensors:
        data = blocks.encode(type_of(tensor, kind), tensor)
        file.write(data + bytes(_padded(len(data)) - len(data)))


def _padded(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, list):
        kind = _SIGNED if _kind(value[0]) == _WHOLE else _kind(value[0])
        return struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(_single(one, kind) for one in value)
    kind = _kind(value)
    return struct.pack("<I", kind) + _single(value, kind)


def _kind(value: Any) -> int:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return _WHOLE if value >= 0 else _SIGNED
    return _REAL if isinstance(value, float) else STRING


def _single(value: Any, kind: int) -> bytes:
    forms = {BOOL: "<B", _WHOLE: "<I", _SIGNED: "<i", _REAL: "<f"}
    return _text(value) if kind == STRING else struct.pack(forms[kind], value)
