"""The number types of GGUF tensors: how many numbers and bytes a block has, and what its bits mean.

A quantised block holds integers of few bits with one scale (``_0``), a scale and a minimum (``_1``), or, in the K
types, 256 numbers with scales of their own that are quantised too. Source: ggml's block structures (ggml-common.h),
named field by field below: ``d`` and ``m`` are the block's scale and minimum as float16, ``qs`` the low bits, ``qh``
the high ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Blocks = Any  # uint8 array (number of blocks, bytes of a block)


@dataclass(frozen=True)
class Type:
    """``block`` numbers in ``bytes`` bytes; ``decode`` turns (N, bytes) uint8 into (N, block) float32."""

    name: str
    block: int
    bytes: int
    decode: Callable[[Blocks], Any]


def decode(kind: Type, raw: memoryview, shape: tuple[int, ...]) -> Tensor:
    """The tensor of these bytes: float32, or as stored where it is F32, F16 or BF16 in memory of its own."""
    made = torch.empty(shape, dtype=_PLAIN.get(kind.name, torch.float32))
    if kind.name in _PLAIN:
        made.reshape(-1).view(torch.uint8).numpy()[:] = np.frombuffer(raw, dtype=np.uint8)
        return made
    blocks = np.frombuffer(raw, dtype=np.uint8).reshape(-1, kind.bytes)
    out = made.numpy().reshape(-1, kind.block)
    for at in range(0, len(blocks), _AT_ONCE):  # the pieces of a block are many arrays: few blocks at a time
        out[at : at + _AT_ONCE] = kind.decode(blocks[at : at + _AT_ONCE])
    return made


def encode(kind: Type, tensor: Tensor) -> bytes:
    """The bytes of a tensor as F32, F16, BF16 or Q8_0."""
    if kind.name in _PLAIN:
        plain = tensor.detach().to("cpu", _PLAIN[kind.name]).contiguous()
        return plain.view(torch.uint8).numpy().tobytes()
    rows = tensor.detach().to("cpu", torch.float32).contiguous().numpy().reshape(-1, 32)
    scale = np.abs(rows).max(1, keepdims=True) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    whole = _away_from_zero(rows * inverse).astype(np.int8)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), whole.view(np.uint8)], 1).tobytes()


def writable() -> tuple[str, ...]:
    """The types that tensors are written as."""
    return ("F32", "F16", "BF16", "Q8_0")


def named(name: str) -> Type:
    return next(kind for kind in TYPES.values() if kind.name == name)


def number(name: str) -> int:
    """The number a file gives a type."""
    return next(number for number, kind in TYPES.items() if kind.name == name)


_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_AT_ONCE = 1 << 14
_SHIFTS_4 = np.array([0, 4], dtype=np.uint8).reshape(1, 2, 1)
_SHIFTS_2 = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)


def _away_from_zero(x: Any) -> Any:
    """Rounded to the nearest, halves away from zero, as C's roundf."""
    return np.trunc(x + np.copysign(0.5, x))


def _half(blocks: Blocks, at: int) -> Any:
    """The float16 at byte ``at`` of each block, (N, 1) float32."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: Blocks) -> Any:
    """(N, B) bytes -> (N, 2 B): all low halves, then all high ones."""
    return ((packed[:, None, :] >> _SHIFTS_4) & 15).reshape(len(packed), -1)


def _fifth_bits(packed: Blocks) -> Any:
    """4 bytes of each block -> its 32 numbers' fifth bit, in its place."""
    return np.unpackbits(packed, axis=1, bitorder="little") << 4


def _q8_0(b: Blocks) -> Any:  # d, 32 int8
    return _half(b, 0) * b[:, 2:].view(np.int8).astype(np.float32)


def _q4_0(b: Blocks) -> Any:  # d, qs[16]
    return _half(b, 0) * (_nibbles(b[:, 2:]).astype(np.float32) - 8)


def _q4_1(b: Blocks) -> Any:  # d, m, qs[16]
    return _half(b, 0) * _nibbles(b[:, 4:]) + _half(b, 2)


def _q5_0(b: Blocks) -> Any:  # d, qh[4], qs[16]
    return _half(b, 0) * ((_nibbles(b[:, 6:]) | _fifth_bits(b[:, 2:6])).astype(np.float32) - 16)


def _q5_1(b: Blocks) -> Any:  # d, m, qh[4], qs[16]
    return _half(b, 0) * (_nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8])) + _half(b, 2)


def _q2_k(b: Blocks) -> Any:  # scales[16] (4 bits scale, 4 bits minimum), qs[64], d, m
    scales = b[:, :16]
    low = ((b[:, 16:80].reshape(-1, 2, 1, 32) >> _SHIFTS_2) & 3).reshape(-1, 16, 16)
    scale, least = _half(b, 80) * (scales & 15), _half(b, 82) * (scales >> 4)
    return (scale[..., None] * low - least[..., None]).reshape(-1, 256)


def _q3_k(b: Blocks) -> Any:  # hmask[32], qs[64], scales[12] (16 of 6 bits), d
    low = ((b[:, 32:96].reshape(-1, 2, 1, 32) >> _SHIFTS_2) & 3).reshape(-1, 256)
    masks = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    high = ((b[:, None, :32] >> masks) & 1).reshape(-1, 256)
    packed = b[:, 96:108]
    nibbles = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], 1)  # the low 4 bits of scales 0..7 and 8..15
    pairs = ((packed[:, None, 8:] >> (2 * np.arange(4, dtype=np.uint8)).reshape(1, 4, 1)) & 3).reshape(-1, 16)
    scale = _half(b, 108) * ((nibbles | pairs << 4).astype(np.float32) - 32)
    whole = low.astype(np.float32) - 4 * (1 - high.astype(np.float32))
    return (scale[..., None] * whole.reshape(-1, 16, 16)).reshape(-1, 256)


def _six_bits(packed: Blocks) -> tuple[Any, Any]:
    """12 bytes -> 8 scales and 8 minima of 6 bits: four of each whole, the other four's high bits lie above those."""
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6) << 4], 1)
    minima = np.concatenate([second & 63, (third >> 4) | (second >> 6) << 4], 1)
    return scales, minima


def _q4_k(b: Blocks) -> Any:  # d, m, scales[12], qs[128]
    scales, minima = _six_bits(b[:, 4:16])
    whole = ((b[:, 16:].reshape(-1, 4, 1, 32) >> _SHIFTS_4[:, None]) & 15).reshape(-1, 8, 32)
    scale, least = _half(b, 0) * scales, _half(b, 2) * minima
    return (scale[..., None] * whole - least[..., None]).reshape(-1, 256)


def _q5_k(b: Blocks) -> Any:  # d, m, scales[12], qh[32], qs[128]
    scales, minima = _six_bits(b[:, 4:16])
    low = ((b[:, 48:].reshape(-1, 4, 1, 32) >> _SHIFTS_4[:, None]) & 15).reshape(-1, 8, 32)
    high = (b[:, None, 16:48] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)) & 1
    scale, least = _half(b, 0) * scales, _half(b, 2) * minima
    return (scale[..., None] * (low | high << 4) - least[..., None]).reshape(-1, 256)


def _q6_k(b: Blocks) -> Any:  # ql[128], qh[64], scales[16] int8, d
    low = ((b[:, :128].reshape(-1, 2, 1, 64) >> _SHIFTS_4[:, None]) & 15).reshape(-1, 2, 4, 32)
    high = (b[:, 128:192].reshape(-1, 2, 1, 32) >> _SHIFTS_2) & 3
    whole = (low | high << 4).reshape(-1, 16, 16).astype(np.float32) - 32
    scale = _half(b, 208) * np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    return (scale[..., None] * whole).reshape(-1, 256)


def _stored(b: Blocks) -> Any:
    raise NotImplementedError  # plain numbers need no decoding, see `decode`


TYPES = {
    0: Type("F32", 1, 4, _stored),
    1: Type("F16", 1, 2, _stored),
    2: Type("Q4_0", 32, 18, _q4_0),
    3: Type("Q4_1", 32, 20, _q4_1),
    6: Type("Q5_0", 32, 22, _q5_0),
    7: Type("Q5_1", 32, 24, _q5_1),
    8: Type("Q8_0", 32, 34, _q8_0),
    10: Type("Q2_K", 256, 84, _q2_k),
    11: Type("Q3_K", 256, 110, _q3_k),
    12: Type("Q4_K", 256, 144, _q4_k),
    13: Type("Q5_K", 256, 176, _q5_k),
    14: Type("Q6_K", 256, 210, _q6_k),
    30: Type("BF16", 1, 2, _stored),
}
