"""A bundle in other programs' formats, read again and compared before it counts as written.

export(bundle, "poet.gguf", "gguf", "F16")      # for llama.cpp
export(bundle, "poet", "hf")                    # a folder for transformers
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from regard import bundle as bundles
from regard import models
from regard.bundle import Bundle
from regard.errors import ConfigError, RegardError
from regard.inputs import gguf as words
from regard.weights import table
from regard.weights.gguf import blocks, names, writing

FORMATS = ("hf", "gguf")
Format = Literal["hf", "gguf"]
BOUNDS = {
    "F32": 0.0,
    "F16": 2.0**-11,
    "BF16": 2.0**-8,
    "Q8_0": 1 / 250,
}  # of the largest of a row: rounding, and no more
SAMPLES = ("Hello, world!", "今天天气很好", "def f(x):\n\treturn  x + 12345", "naïve café — 😀")


@dataclass(frozen=True)
class Written:
    """`largest`: how far any weight of what was written is from the model's own, relative to its tensor's largest."""

    path: Path
    format: str
    type: str
    bytes: int
    tensors: int
    largest: float


def export(bundle: Bundle, path: str | os.PathLike[str], to: Format, type_: str | None = None) -> Written:
    """Write, read again, compare. Raises RegardError where what was read is not what was written, naming the tensor;
    ConfigError for a format or type that is not known; BadFileError for a model that the format has no place for.
    """
    path = Path(path)
    if to not in FORMATS:
        raise ConfigError("export.format", format=to, known=", ".join(FORMATS))
    if path.exists() and (path.is_file() or any(path.iterdir())):
        raise RegardError("export.taken", path=path)
    type_ = type_ or ("F16" if to == "gguf" else _stored(bundle))
    if to == "gguf":
        if type_ not in blocks.writable():
            raise ConfigError("export.type", type=type_, known=", ".join(blocks.writable()))
        _gguf(bundle, path, type_)
    else:
        bundles.save(path, bundle)
    try:
        return _compared(bundle, path, to, type_)
    except RegardError:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _stored(bundle: Bundle) -> str:
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    return kinds[next(bundle.model.parameters()).dtype]


def _gguf(bundle: Bundle, path: Path, type_: str) -> None:
    module, config = models.family(bundle.family), bundle.model.config
    data = module.write(config)
    name, metadata = names.metadata(data)
    tokenizer = bundle.tokenizer
    roles = {role: number for role in words.ROLES if (number := getattr(tokenizer, role)) is not None}
    spoken = words.metadata(tokenizer.document(), roles, tokenizer.settings, config.vocab)
    general = {"general.architecture": name, "general.name": path.stem, "general.quantization_version": 2}
    tensors = names.renamed(name, data, table.write(module.TABLE, bundle.model))
    writing.write(path, general | metadata | spoken, tensors, type_)


def _compared(bundle: Bundle, path: Path, to: Format, type_: str) -> Written:
    again = bundles.load(path)
    if again.model.config != bundle.model.config:
        raise RegardError("export.differs", path=path, what="config")
    for text in SAMPLES:
        if again.tokenizer.encode(text) != bundle.tokenizer.encode(text):
            raise RegardError("export.differs", path=path, what=f"tokenizer: {text!r}")
    theirs, largest = dict(again.model.named_parameters()), 0.0
    own = dict(bundle.model.named_parameters())
    for name, tensor in own.items():
        away = _distance(tensor.detach().float(), theirs[name].detach().float())
        bound = BOUNDS[type_] if to == "gguf" else 0.0
        if not away <= bound:
            raise RegardError("export.differs", path=path, what=f"{name}: {away:.3g} > {bound:.3g}")
        largest = max(largest, away)
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    return Written(path, to, type_, size, len(own), largest)


def _distance(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-30))
