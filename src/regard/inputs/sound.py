"""Sound files that nobody vouched for, as one channel of samples: WAV by this file alone, others by soundfile."""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from regard import limits
from regard.errors import BadFileError, RegardError, need

LARGEST = 2048 * limits.MIB  # of a file
MOST_FRAMES = 1 << 29  # nine hours at 16 kHz: checked before anything is decoded
MOST_CHANNELS, MOST_RATE = 64, 768_000
UNKNOWN = (0, 0xFFFF_FFFF)  # the length of what was written into a pipe: all that follows
_PCM, _REAL, _EXTENSIBLE = 1, 3, 0xFFFE
_BLOCK = 1 << 16
CROSSINGS, CUT, BETA = 64, 0.95, 10.06  # of the filter in ``resampled``
LARGEST_FILTER = 1 << 24


@dataclass(frozen=True, eq=False)
class Sound:
    """samples (N,) float32, in -1 .. 1, ``rate`` of them a second."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def opened(path: str | os.PathLike[str]) -> Sound:
    """The sound in the file ``path``, as ``decoded`` gives it."""
    return decoded(limits.read_bytes(path, most=LARGEST), str(path))


def decoded(data: bytes, where: str) -> Sound:
    """The mean of all channels. Raises BadFileError for what is damaged, cut short, lies about its size, or is longer
    than MOST_FRAMES; MissingPackage where another format than WAV wants soundfile."""
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        return _wav(data, where)
    return _other(data, where)


def resampled(sound: Sound, rate: int) -> Sound:
    """The same sound at another rate, by a windowed sinc in as many phases as the two rates need.

    Below 0.9 of half the lower rate what comes out is right to 1e-4 of its amplitude, and what lies above half of it
    is gone to 1e-4. Raises RegardError for two rates without a common divisor to speak of.
    """
    if sound.rate == rate:
        return sound
    common = math.gcd(sound.rate, rate)
    up, down = rate // common, sound.rate // common
    width = math.ceil(CROSSINGS * max(1.0, sound.rate / rate))
    if up * (2 * width + down) > LARGEST_FILTER:
        raise RegardError("inputs.sound.rates", rate=sound.rate, to=rate)
    length = -(-len(sound.samples) * up // down)
    padded = F.pad(torch.from_numpy(sound.samples), (width, width + down))[None, None]
    found = F.conv1d(padded, _phases(up, down, width), stride=down)[0]  # (phases, steps)
    return Sound(found.T.reshape(-1)[:length].numpy(), rate)


@cache
def _phases(up: int, down: int, width: int) -> torch.Tensor:
    """For each output between two steps of the input, the weights of the samples around it: (up, 1, taps)."""
    at = torch.arange(-width, width + down).double() - torch.arange(up).double()[:, None] * down / up
    cut = CUT * min(1.0, up / down)
    inside = (1 - (at / width).square()).clamp(min=0)
    window = torch.special.i0(BETA * inside.sqrt()) / torch.special.i0(torch.tensor(BETA, dtype=torch.float64))
    return (cut * torch.sinc(cut * at) * window * (at.abs() <= width)).float()[:, None]


def _wav(data: bytes, where: str) -> Sound:
    """RIFF/WAVE: whole numbers of 8 to 32 bits, or real ones of 32 or 64."""
    form: tuple[int, int, int, int] | None = None
    for name, begin, size in _chunks(data, where):
        if name == b"fmt ":
            form = _form(data[begin : begin + size], where)
        elif name == b"data":
            if form is None:
                raise BadFileError("inputs.sound.damaged", where=where, why="data before fmt")
            return _samples(memoryview(data)[begin : begin + size], form, where)
    raise BadFileError("inputs.sound.damaged", where=where, why="no data")


def _chunks(data: bytes, where: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, place, size) of each chunk. A size that goes past the end of the file is refused, but for the one that
    says that it was not known."""
    at = 12
    if data[:4] != b"RIFF":
        raise BadFileError("inputs.sound.damaged", where=where, why=data[:4].decode("ascii", "replace"))
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data" and size in UNKNOWN:
            size = len(data) - at
        if size > len(data) - at:
            raise BadFileError("inputs.sound.lies", where=where, claimed=size, there=len(data) - at)
        yield name, at, size
        at += size + size % 2


def _form(raw: bytes, where: str) -> tuple[int, int, int, int]:
    """(kind, channels, rate, bits)."""
    if len(raw) < 16:
        raise BadFileError("inputs.sound.damaged", where=where, why="fmt")
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", raw)
    if kind == _EXTENSIBLE and len(raw) >= 26:
        kind = struct.unpack_from("<H", raw, 24)[0]
    _check(channels, rate, where)
    known = (kind == _PCM and bits in (8, 16, 24, 32)) or (kind == _REAL and bits in (32, 64))
    if not known or block != channels * bits // 8:
        raise BadFileError("inputs.sound.numbers", where=where, kind=kind, bits=bits, block=block)
    return kind, channels, rate, bits


def _check(channels: int, rate: int, where: str) -> None:
    if not 1 <= channels <= MOST_CHANNELS:
        raise BadFileError("inputs.sound.channels", where=where, channels=channels, most=MOST_CHANNELS)
    if not 1 <= rate <= MOST_RATE:
        raise BadFileError("inputs.sound.rate", where=where, rate=rate, most=MOST_RATE)


def _samples(raw: memoryview, form: tuple[int, int, int, int], where: str) -> Sound:
    kind, channels, rate, bits = form
    step = channels * bits // 8
    count = len(raw) // step
    if count > MOST_FRAMES:
        raise BadFileError("inputs.sound.long", where=where, frames=count, most=MOST_FRAMES)
    mono = np.empty(count, np.float32)
    for first in range(0, count, _BLOCK):
        part = raw[first * step : min(first + _BLOCK, count) * step]
        mono[first : first + _BLOCK] = _numbers(part, kind, bits).reshape(-1, channels).mean(1)
    return Sound(_finite(mono, where), rate)


def _numbers(raw: memoryview, kind: int, bits: int) -> np.ndarray:
    if kind == _REAL:
        return np.frombuffer(raw, f"<f{bits // 8}")
    if bits == 8:
        return np.frombuffer(raw, np.uint8).astype(np.float32) / 128 - 1
    if bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return wide.reshape(-1).view("<i4") / np.float64(1 << 31)
    return np.frombuffer(raw, f"<i{bits // 8}") / np.float64(1 << (bits - 1))


def _other(data: bytes, where: str) -> Sound:
    soundfile = need("soundfile", "audio")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check(file.channels, file.samplerate, where)
            parts, count = [], 0
            # What a header says of the length is not believed: blocks are counted as they come.
            for block in file.blocks(_BLOCK, dtype="float32", always_2d=True):
                count += len(block)
                if count > MOST_FRAMES:
                    raise BadFileError("inputs.sound.long", where=where, frames=count, most=MOST_FRAMES)
                parts.append(block.mean(1))
            rate = int(file.samplerate)
    except BadFileError:
        raise
    except Exception as error:  # what a decoder raises on bytes made to break it is nobody's promise
        # Its text is not shown: it may hold an address in memory.
        raise BadFileError("inputs.sound.damaged", where=where, why=type(error).__name__) from error
    return Sound(_finite(np.concatenate(parts) if parts else np.empty(0, np.float32), where), rate)


def _finite(samples: np.ndarray, where: str) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise BadFileError("inputs.sound.damaged", where=where, why="NaN")
    return samples.astype(np.float32)


def written(sound: Sound) -> bytes:
    """The sound as a WAV file of 16-bit PCM; what is louder than full scale is cut there."""
    data = np.round(np.clip(sound.samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, sound.rate, 2 * sound.rate, 2, 16)
    begin, body = struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE"), struct.pack("<4sI", b"data", len(data))
    return begin + form + body + data
