"""What CTranslate2 calls the settings and weights of Whisper.

Its folder is read as if it were one of Hugging Face, so that the family's own table reads both: ``config`` makes the
config.json it would have, ``Weights`` shows its tensors under their Hugging Face names, and ``variables`` goes the
other way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regard import limits
from regard.errors import BadFileError
from regard.weights.ct2.container import FILE, Ct2

ARCHITECTURE, REVISION = "WhisperSpec", 3
ACTIVATIONS = ("relu", "gelu_new", "swish", "gelu")  # by number
SCALE = "_scale"  # behind the name of a matrix of integers: what each of its rows was multiplied by

# Theirs -> Hugging Face's, where one tensor holds several; * is a layer's number.
_ATTENTION = {"linear_0": ("q_proj", "k_proj", "v_proj"), "linear_1": ("out_proj",)}
_CROSS = {"linear_0": ("q_proj",), "linear_1": ("k_proj", "v_proj"), "linear_2": ("out_proj",)}
_ENDS = {"weight": "weight", "bias": "bias"}
_NORM_ENDS = {"gamma": "weight", "beta": "bias"}
_WHOLE = {
    "encoder/conv1": "model.encoder.conv1",
    "encoder/conv2": "model.encoder.conv2",
    "decoder/projection": "proj_out",
}
_ALONE = {
    "encoder/position_encodings/encodings": "model.encoder.embed_positions.weight",
    "decoder/position_encodings/encodings": "model.decoder.embed_positions.weight",
    "decoder/embeddings/weight": "model.decoder.embed_tokens.weight",
}
# Settings that must be as they are in every Whisper: what else they could say is not built.
_FIXED = {"decoder/pre_norm": 1, "decoder/scale_embeddings": 0, "decoder/alibi": 0,
          "decoder/start_from_zero_embedding": 0}  # fmt: skip
_HARMLESS = ("decoder/alignment_heads", "decoder/alignment_layer")
_READ = ("decoder/activation", "decoder/num_heads", "encoder/num_heads")
_LISTS = {"suppress_ids": "suppress_tokens", "suppress_ids_begin": "begin_suppress_tokens"}
_KEYS = (*_LISTS, "lang_ids", "alignment_heads")
MULTILINGUAL = 51_865  # words of the models of many languages, or more; those of English have one word less


def _rows() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Theirs, and the names of what it holds."""
    yield from ((theirs, (ours,)) for theirs, ours in _ALONE.items())
    for theirs, ours in _WHOLE.items():
        yield from ((f"{theirs}/{end}", (f"{ours}.{end}",)) for end in _ENDS)
    for side in ("encoder", "decoder"):
        below = f"model.{side}.layers.*"
        for end, ours in _NORM_ENDS.items():
            yield f"{side}/layer_norm/{end}", (f"model.{side}.layer_norm.{ours}",)
            yield f"{side}/layer_*/self_attention/layer_norm/{end}", (f"{below}.self_attn_layer_norm.{ours}",)
            yield f"{side}/layer_*/ffn/layer_norm/{end}", (f"{below}.final_layer_norm.{ours}",)
        for end in _ENDS:
            for linear, parts in _ATTENTION.items():
                held = tuple(f"{below}.self_attn.{part}.{end}" for part in parts)
                yield f"{side}/layer_*/self_attention/{linear}/{end}", held
            for number, part in enumerate(("fc1", "fc2")):
                yield f"{side}/layer_*/ffn/linear_{number}/{end}", (f"{below}.{part}.{end}",)
    for end in _ENDS:
        for linear, parts in _CROSS.items():
            held = tuple(f"model.decoder.layers.*.encoder_attn.{part}.{end}" for part in parts)
            yield f"decoder/layer_*/attention/{linear}/{end}", held
    for end, ours in _NORM_ENDS.items():
        yield f"decoder/layer_*/attention/layer_norm/{end}", (f"model.decoder.layers.*.encoder_attn_layer_norm.{ours}",)


def config(file: Ct2) -> dict[str, Any]:
    """The config.json that the model would have, of the file's settings and shapes and the config.json beside it."""
    if file.architecture != ARCHITECTURE:
        raise BadFileError(
            "weights.ct2_architecture", file=file.path, name=ascii(file.architecture)[:80], known=ARCHITECTURE
        )
    for name, value in _settings(file).items():
        if name in _FIXED and value != _FIXED[name]:
            raise _setting(file, name, value, (_FIXED[name],))
        if name not in (*_FIXED, *_HARMLESS, *_READ):
            raise BadFileError("weights.unknown_setting", where=file.path, key=name, value=value)
    vocab, dim = _shape(file, "decoder/embeddings/weight", 2)
    activation = _number(file, "decoder/activation")
    if not 0 <= activation < len(ACTIVATIONS):
        raise _setting(file, "decoder/activation", activation, tuple(range(len(ACTIVATIONS))))
    end = 50_257 if vocab >= MULTILINGUAL else 50_256
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "vocab_size": vocab,
        "d_model": dim,
        "num_mel_bins": _shape(file, "encoder/conv1/weight", 3)[1],
        "max_source_positions": _shape(file, "encoder/position_encodings/encodings", 2)[0],
        "max_target_positions": _shape(file, "decoder/position_encodings/encodings", 2)[0],
        "encoder_layers": _depth(file, "encoder"),
        "decoder_layers": _depth(file, "decoder"),
        "encoder_attention_heads": _number(file, "encoder/num_heads"),
        "decoder_attention_heads": _number(file, "decoder/num_heads"),
        "encoder_ffn_dim": _shape(file, "encoder/layer_0/ffn/linear_0/weight", 2)[0],
        "decoder_ffn_dim": _shape(file, "decoder/layer_0/ffn/linear_0/weight", 2)[0],
        "activation_function": ACTIVATIONS[activation],
        "dropout": 0.0,
        "decoder_start_token_id": end + 1,
        "pad_token_id": end,
        **_beside(file.path.parent),
    }


def _beside(folder: Path) -> dict[str, Any]:
    path = limits.member(folder, "config.json")
    data = limits.read_json(path)
    if not isinstance(data, dict):
        raise BadFileError("weights.ct2_config", file=path)
    for key in data:
        if key not in _KEYS:
            raise BadFileError("weights.unknown_setting", where=path, key=key, value=repr(data[key])[:80])
    return {ours: data.get(theirs) for theirs, ours in _LISTS.items()}


def processor(file: Ct2) -> dict[str, Any]:
    """The preprocessor_config.json that it would have."""
    mels = _shape(file, "encoder/conv1/weight", 3)[1]
    return {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": mels}


class Weights:
    """A file's tensors under Hugging Face's names, multiplied out when asked for: what the family's table reads."""

    owned = False

    def __init__(self, file: Ct2) -> None:
        self._file = file
        self._stored: dict[str, tuple[str, int, int]] = {}  # Hugging Face's name -> theirs, which part of how many
        plan = dict(_rows())
        for theirs, info in file.variables.items():
            if not info.shape or (theirs.endswith(SCALE) and theirs.removesuffix(SCALE) in file.variables):
                continue
            layer = _LAYER.search(theirs)
            held = plan.get(_LAYER.sub("/layer_*/", theirs), (theirs,))  # an unknown one is refused by its name
            for part, name in enumerate(held):
                name = name.replace("*", layer[1] if layer else "")
                if name.endswith("k_proj.bias"):
                    self._unbiased(theirs, part, len(held))
                else:
                    self._stored[name] = (theirs, part, len(held))

    def names(self) -> set[str]:
        return set(self._stored)

    def twice(self) -> list[str]:
        return []

    def shape(self, name: str) -> tuple[int, ...]:
        theirs, _, parts = self._stored[name]
        shape = self._file.variables[theirs].shape
        return (shape[0] // parts if shape[0] % parts == 0 else -1, *shape[1:])

    def dtype(self, name: str) -> str:
        theirs = self._stored[name][0]
        kind = self._file.variables[theirs].type
        return "F32" if theirs + SCALE in self._file.variables else kind

    def read(self, name: str) -> Tensor:
        theirs, part, parts = self._stored[name]
        tensor = self._whole(theirs).chunk(parts)[part]
        return tensor.clone() if parts > 1 else tensor

    def _whole(self, theirs: str) -> Tensor:
        tensor = self._file.tensor(theirs)
        if theirs + SCALE not in self._file.variables:
            return tensor
        scale = self._file.tensor(theirs + SCALE).float()
        if scale.numel() not in (1, tensor.shape[0]) or not (scale > 0).all():
            raise BadFileError("weights.ct2_scale", file=self._file.path, name=theirs)
        return tensor.float() / scale.view(-1, *[1] * (tensor.dim() - 1))

    def _unbiased(self, theirs: str, part: int, parts: int) -> None:
        bias = self._whole(theirs)
        if bias.shape[0] % parts or bias.chunk(parts)[part].any():
            raise BadFileError("weights.ct2_key_bias", file=self._file.path, name=theirs)


def variables(data: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Their variables of a model's config.json and its tensors under Hugging Face's names."""
    made: dict[str, Tensor] = {}
    deepest = max(int(data["encoder_layers"]), int(data["decoder_layers"]))
    for theirs, held in _rows():
        for layer in range(deepest if "*" in theirs else 1):
            names = [name.replace("*", str(layer)) for name in held]
            parts = [tensors.get(name) for name in names]
            known = [part for part in parts if part is not None]
            if known:  # a key's bias is zero where it shares a tensor, and missing where it does not
                filled = [torch.zeros_like(known[0]) if part is None else part for part in parts]
                made[theirs.replace("*", str(layer))] = torch.cat(filled).to(dtype)
    settings = {name: torch.tensor(value, dtype=torch.int8) for name, value in _FIXED.items()}
    settings |= {
        "decoder/activation": torch.tensor(ACTIVATIONS.index(data["activation_function"]), dtype=torch.int8),
        "encoder/num_heads": torch.tensor(data["encoder_attention_heads"], dtype=torch.int16),
        "decoder/num_heads": torch.tensor(data["decoder_attention_heads"], dtype=torch.int16),
        "decoder/alignment_heads": torch.tensor(1, dtype=torch.int16),
        "decoder/alignment_layer": torch.tensor(-1, dtype=torch.int16),
    }
    return dict(sorted((settings | made).items()))


ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}


def settings(data: Mapping[str, Any], languages: list[int]) -> dict[str, Any]:
    """Their config.json."""
    return {theirs: data.get(ours) or [] for theirs, ours in _LISTS.items()} | {"lang_ids": languages}


_LAYER = re.compile(r"/layer_(0|[1-9]\d{0,3})/")


def _settings(file: Ct2) -> dict[str, int]:
    return {name: file.number(name) for name, info in file.variables.items() if not info.shape}


def _number(file: Ct2, name: str) -> int:
    if name not in file.variables or file.variables[name].shape:
        raise BadFileError("weights.missing_setting", where=file.path, keys=name)
    return file.number(name)


def _shape(file: Ct2, name: str, axes: int) -> tuple[int, ...]:
    info = file.variables.get(name)
    if info is None or len(info.shape) != axes:
        raise BadFileError("weights.missing_setting", where=file.path, keys=name)
    return info.shape


def _depth(file: Ct2, side: str) -> int:
    layers = (_LAYER.search(name) for name in file.variables if name.startswith(side))
    return 1 + max((int(found[1]) for found in layers if found), default=-1)


def _setting(file: Ct2, name: str, value: int, accepted: tuple[int, ...]) -> BadFileError:
    return BadFileError("weights.setting", where=file.path, key=name, value=value, accepted=accepted)


__all__ = ["ALIASES", "ARCHITECTURE", "FILE", "REVISION", "Weights", "config", "processor", "settings", "variables"]
