"""A bundle in other programs' formats, read again and compared before it counts as written.

export(bundle, "poet.gguf", "gguf", "F16")      # for llama.cpp
export(bundle, "poet", "hf")                    # a folder for transformers
export(bundle, "ears", "ct2")                   # a folder for CTranslate2
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from regard import bundle as bundles
from regard import limits, models
from regard.bundle import Bundle
from regard.errors import BadFileError, ConfigError, RegardError
from regard.inputs import advice, sentences
from regard.inputs import gguf as words
from regard.inputs.spoken import START, TASKS, spoken
from regard.weights import table
from regard.weights.ct2 import names as ct2
from regard.weights.ct2 import writing as whisper
from regard.weights.gguf import blocks, names, writing

FORMATS = ("hf", "gguf", "ct2")
Format = Literal["hf", "gguf", "ct2"]
PLUS_ONE = 2.0**-23  # what single precision makes of adding one and taking it away
BOUNDS = {
    "F32": 0.0,
    "F16": 2.0**-11,
    "BF16": 2.0**-8,
    "Q8_0": 1 / 254 + 2.0**-11 + 2.0**-20,  # half a step of 127, the steps' own rounding, and float32's
}  # of the largest of a row: rounding, and no more
SAMPLES = (
    "Hello, world!", "今天天气很好", "def f(x):\n\treturn  x + 12345", "naïve café — 😀", "", " a  b   ", "\t\r\n\n x",
    "aaaaaaa 0000000 !!!!!!!", "<s></s><unk><pad><|eos|>[MASK]<0x0A>", "ﬁ Ａ e\u0301 \u1100\u1161 ▁▁ \u200b",
    "isn't WE'LL",
)  # fmt: skip


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
    type_ = type_ or (_stored(bundle) if to == "hf" else "F16")
    known = {"gguf": blocks.writable(), "ct2": tuple(whisper.DTYPES)}.get(to, (type_,))
    if type_ not in known:
        raise ConfigError("export.type", type=type_, known=", ".join(known))
    if to == "gguf":
        _gguf(bundle, path, type_)
    elif to == "ct2":
        _ct2(bundle, path, type_)
    else:
        bundles.save(path, bundle)
    try:
        if to == "hf":
            sentences.carry(bundle.folder, path)
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
    turns = [token for token in bundle.marks.ends if token != tokenizer.eos]
    spoken |= {words.KEY + key: token for key, token in zip(words.TURNS, turns, strict=False)}
    spoken |= advice.gguf(bundle.marks.advice)
    general = {"general.architecture": name, "general.name": path.stem, "general.quantization_version": 2}
    tensors = names.renamed(name, data, table.write(module.TABLE, bundle.model))
    writing.write(path, general | metadata | spoken, tensors, type_)


def _ct2(bundle: Bundle, path: Path, type_: str) -> None:
    """A folder of CTranslate2; only Whisper has a place in it."""
    module, config, tokenizer = models.family(bundle.family), bundle.model.config, bundle.tokenizer
    data = module.write(config)
    if data["model_type"] != "whisper":
        raise BadFileError("export.ct2_whisper", family=bundle.family)
    tensors = table.write(module.TABLE, bundle.model)
    made = ct2.variables(data, tensors, whisper.DTYPES[type_])
    path.mkdir(parents=True, exist_ok=True)
    whisper.write(path / ct2.FILE, ct2.ARCHITECTURE, ct2.REVISION, made, ct2.ALIASES)
    document = tokenizer.document()
    numbers = {one["content"]: one["id"] for one in document["added_tokens"]}
    known = spoken(bundle)
    languages = [] if known is None else sorted(known.languages.values()) or _all_languages(numbers)
    limits.write(path / "config.json", json.dumps(ct2.settings(data, languages), indent=1) + "\n")
    words = {number: word for word, number in (document["model"]["vocab"] | numbers).items()}
    first = max(words) + 1  # what the tokenizer does not name are times
    listed = [words.get(n, f"<|{(n - first) * 0.02:.2f}|>") for n in range(config.vocab)]
    limits.write(path / "vocabulary.json", json.dumps(listed, ensure_ascii=False, indent=0) + "\n")
    tokenizer.save(path)


def _all_languages(numbers: dict[str, int]) -> list[int]:
    """Those that a model of English alone has words for and never learnt."""
    first, last = numbers[START], numbers[TASKS["translate"]]
    return sorted(number for number in numbers.values() if first < number < last)


def _compared(bundle: Bundle, path: Path, to: Format, type_: str) -> Written:
    again, config = bundles.load(path), bundle.model.config
    if to == "gguf" and getattr(config, "kind", "") == "mistral":
        config = replace(config, kind="llama")  # which it is there
    if again.model.config != config:
        raise RegardError("export.differs", path=path, what="config")
    for text in SAMPLES:
        if again.tokenizer.encode(text) != bundle.tokenizer.encode(text):
            raise RegardError("export.differs", path=path, what=f"tokenizer: {text!r}")
    plus_one = to == "gguf" and names.plus_one(models.family(bundle.family).write(bundle.model.config))
    theirs, largest = dict(again.model.named_parameters()), 0.0
    own = dict(bundle.model.named_parameters())
    for name, tensor in own.items():
        one, other, bound = tensor.detach().float(), theirs[name].detach().float(), 0.0 if to == "hf" else BOUNDS[type_]
        if plus_one and tensor.dim() == 1:
            one, other, bound = one + 1, other + 1, max(bound, PLUS_ONE)
        away = _distance(one, other)
        if not away <= bound:
            raise RegardError("export.differs", path=path, what=f"{name}: {away:.3g} > {bound:.3g}")
        largest = max(largest, away)
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
    return Written(path, to, type_, size, len(own), largest)


def _distance(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-30))
