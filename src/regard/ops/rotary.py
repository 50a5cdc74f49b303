"""Rotary position embedding (Su et al. 2021) in half-split layout, and the frequencies of its long-context scalings."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs ``(x[i], x[i + R/2])`` of the first R features by their angles.

    x (B, H, T, K); cos, sin (B|1, 1, T, R) with the two halves alike. Features beyond R pass through.
    """
    R = cos.shape[-1]
    turned = x if x.shape[-1] == R else x[..., :R]
    left, right = turned.chunk(2, -1)
    turned = turned * cos + torch.cat((-right, left), -1) * sin
    return turned if x.shape[-1] == R else torch.cat((turned, x[..., R:]), -1)


def frequencies(size: int, base: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Angle per position of each of ``size / 2`` pairs: ``base ** (-2 i / size)``.

    Always on the CPU: a model laid out without memory still knows its angles.
    """
    return 1.0 / base ** (torch.arange(0, size, 2, dtype=torch.int64, device="cpu").to(dtype) / size)


def between(size: int, base: float) -> Tensor:
    """Like ``frequencies``, but the slowest pair turns by exactly ``1 / base`` (tensor2tensor's and fairseq's)."""
    half = size // 2
    steps = torch.arange(half, dtype=torch.int64, device="cpu").float()
    return torch.exp(steps * -(math.log(base) / (half - 1)))


def linear(inverse: Tensor, factor: float) -> Tensor:
    """Position interpolation (Chen et al. 2023): every angle divided by ``factor``."""
    return inverse / factor


def ntk(size: int, base: float, factor: float) -> Tensor:
    """NTK-aware scaling: a larger base, so that the slowest pair is stretched by ``factor`` and the fastest not."""
    return frequencies(size, base * factor ** (size / (size - 2)))


def yarn(size: int, base: float, factor: float, original: int, fast: float, slow: float) -> Tensor:
    """YaRN (Peng et al. 2023, section 3.2): pairs that turn more than ``fast`` times within ``original`` tokens keep
    their angle, those that turn less than ``slow`` times are interpolated, between them a ramp."""

    def pair_that_turns(times: float) -> float:
        return size * math.log(original / (times * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_that_turns(fast)), 0)
    high = min(math.ceil(pair_that_turns(slow)), size - 1)
    ramp = (torch.arange(size // 2, device="cpu").float() - low) / max(high - low, 0.001)
    keep = 1.0 - ramp.clamp(0.0, 1.0)
    inverse = frequencies(size, base)
    return inverse / factor * (1.0 - keep) + inverse * keep


def yarn_temperature(factor: float, share: float = 1.0) -> float:
    """What YaRN multiplies cos and sin by, so that attention keeps its entropy over longer texts (its eq. 22)."""
    return 0.1 * share * math.log(factor) + 1.0 if factor > 1.0 else 1.0


def long_temperature(factor: float, original: int) -> float:
    """The same of LongRoPE (Ding et al. 2024)."""
    return math.sqrt(1.0 + math.log(factor) / math.log(original)) if factor > 1.0 else 1.0


def llama3(inverse: Tensor, factor: float, original: int, low: float, high: float) -> Tensor:
    """Llama 3.1's scaling: long wavelengths are interpolated, short ones kept, a linear blend between them."""
    wavelength = 2 * math.pi / inverse
    blend = ((original / wavelength - low) / (high - low)).clamp(0.0, 1.0)
    return inverse / factor * (1.0 - blend) + inverse * blend
