"""How llama.cpp's files say that rotary positions are stretched: by metadata, and by tensors of factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf, isclose, log, sqrt
from typing import Any

import torch
from torch import Tensor

from regard.errors import BadFileError
from regard.weights.gguf import blocks
from regard.weights.gguf.container import Gguf

_SLOWED = "rope_freqs.weight"  # Llama 3's scaling, pair by pair
_LONG, _SHORT = "rope_factors_long.weight", "rope_factors_short.weight"  # Phi 3's, beyond the first length and within
FACTORS = (_SLOWED, _LONG, _SHORT)
_SCALING = "rope.scaling."
KEYS = frozenset(_SCALING + key for key in ("type", "factor", "original_context_length", "attn_factor"))


def head_dim(data: Mapping[str, Any]) -> int:
    """Of a config.json, by its own word or by its sizes."""
    heads = data.get("num_attention_heads", data.get("n_head", 1))
    return data.get("head_dim") or data.get("hidden_size", data.get("n_embd", 0)) // max(1, heads)


def read(file: Gguf, data: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """rope_scaling as config.json has it: linear and YaRN from the metadata, Llama 3's and Phi 3's from factors."""
    kind = said.get(_SCALING + "type", "none")
    if _SLOWED in file.tensors:
        return {"rope_scaling": _llama3_of(file, data)}
    if _LONG in file.tensors or _SHORT in file.tensors:
        return {"rope_scaling": _longrope(file, data, said)}
    if kind == "none":
        return {}
    factor, original = said.get(_SCALING + "factor"), said.get(_SCALING + "original_context_length")
    if kind not in ("linear", "yarn") or factor is None or (kind == "yarn" and original is None):
        raise BadFileError("weights.gguf_key", file=file.path, key=_SCALING + "type", value=kind)
    found = {"rope_type": kind, "factor": factor}
    return {"rope_scaling": found | ({"original_max_position_embeddings": original} if kind == "yarn" else {})}


def keys(data: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a config.json's rope scaling, without the architecture's name."""
    rope, kind = _rope(data)
    original = rope.get("original_max_position_embeddings")
    if kind in ("linear", "yarn"):
        found = {_SCALING + "type": kind, _SCALING + "factor": float(rope["factor"])}
        return found | ({_SCALING + "original_context_length": original} if original else {})
    return {_SCALING + "attn_factor": _louder(data, original)} if kind == "longrope" else {}


def tensors(data: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """The factors of a config.json's rope scaling."""
    rope, kind = _rope(data)
    if kind == "llama3":
        yield _SLOWED, _llama3(rope, data)
    if kind == "longrope":
        yield _LONG, torch.tensor(rope["long_factor"], dtype=torch.float32)
        yield _SHORT, torch.tensor(rope["short_factor"], dtype=torch.float32)


def _rope(data: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    return rope, rope.get("rope_type", rope.get("type", "default"))


def _longrope(file: Gguf, data: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    factors = [_factors(file, name).tolist() for name in (_LONG, _SHORT) if name in file.tensors]
    original, context = (data.get(f"{of}max_position_embeddings") for of in ("original_", ""))
    if len(factors) != 2 or not all(type(one) is int and one > 1 for one in (original, context)):
        key = _SCALING + "original_context_length"
        raise BadFileError("weights.gguf_key", file=file.path, key=key, value=repr((original, context))[:60])
    loud = said.get(_SCALING + "attn_factor", _louder(data, original))
    if not isinstance(loud, float) or not isclose(loud, _louder(data, original), rel_tol=1e-4):
        raise BadFileError("weights.gguf_key", file=file.path, key=_SCALING + "attn_factor", value=repr(loud)[:60])
    # Single precision, as the shortest decimals that mean them.
    long, short = ([float(f"{one:.7g}") for one in each] for each in factors)
    return {
        "type": "longrope", "long_factor": long, "short_factor": short, "original_max_position_embeddings": original,
    }  # fmt: skip


def _louder(data: Mapping[str, Any], original: Any) -> float:
    """By how much queries and keys grow with the stretched length (LongRoPE, Ding et al. 2024, as Phi 3 has it)."""
    scale = data["max_position_embeddings"] / original
    return sqrt(1 + log(scale) / log(original)) if scale > 1 else 1.0


def _factors(file: Gguf, name: str) -> Tensor:
    info = file.tensors[name]
    return blocks.decode(info.type, file.raw(name), info.shape).float()


def _llama3_of(file: Gguf, data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings whose factors these are; the published ones differ in `factor` alone, which the slowest pair has."""
    factors, theta = _factors(file, _SLOWED), data.get("rope_theta", 10_000.0)
    if not isinstance(theta, float) or not 1 < theta < inf:
        raise BadFileError("weights.gguf_key", file=file.path, key="rope.freq_base", value=repr(theta)[:60])
    told = {
        "rope_type": "llama3", "factor": float(factors.max()), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    fits = head_dim(data) == 2 * factors.numel() and factors.isfinite().all() and float(factors.max()) >= 1
    if not fits or not torch.allclose(_llama3(told, data), factors, rtol=1e-3):
        raise BadFileError("weights.gguf_key", file=file.path, key=_SLOWED, value=factors.tolist()[:4])
    return told


def _llama3(rope: Mapping[str, Any], data: Mapping[str, Any]) -> Tensor:
    """By how much each pair's angle is divided (Llama 3's scaling), in float32 (head_dim / 2,)."""
    size = head_dim(data)
    theta = data.get("rope_theta") or rope.get("rope_theta", 10_000.0)
    lengths = 2 * torch.pi * theta ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    blend = (rope["original_max_position_embeddings"] / lengths - low) / (high - low)
    blend = blend.clamp(0, 1)
    return (1 / ((1 - blend) / rope["factor"] + blend)).float()
