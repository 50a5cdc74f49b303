"""What llama.cpp calls the settings and weights that Hugging Face files name otherwise, by architecture.

A GGUF file is read as if it were a Hugging Face folder, so that a family's own table reads both: `config` makes the
config.json it would have, `Weights` shows its tensors under their Hugging Face names, and `metadata` and `renamed` go
the other way.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard.errors import BadFileError
from regard.weights.gguf import blocks, ropes
from regard.weights.gguf.architectures import (
    APART,
    ARCHITECTURES,
    KEYS_PERMUTED,
    NAMES,
    PERMUTED,
    PLAIN,
    PLUS_ONE,
    TRANSPOSED,
    Architecture,
)
from regard.weights.gguf.container import Gguf, Info

# Keys that describe a file and not its model, or say again what shapes say.
_PROSE = ("general.", "tokenizer.", "quantize.", "split.")
_SAID = frozenset({"rope.dimension_count", "attention.value_length", "rope.scaling.finetuned", "attention.causal"})
_COUNTS = ("expert_count", "expert_used_count")
_WHOLE = {"hidden_size", "num_hidden_layers", "num_attention_heads", "n_embd", "n_layer", "n_head"}


def architecture(file: Gguf) -> Architecture:
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in NAMES:
        raise BadFileError("weights.gguf_architecture", file=file.path, name=repr(name)[:60], known=", ".join(NAMES))
    if file.metadata.get("split.count", 1) not in (0, 1):
        raise BadFileError("weights.gguf_split", file=file.path, count=file.metadata["split.count"])
    alike = [one for one in ARCHITECTURES if one.name == name]
    experts = bool(file.metadata.get(f"{name}.{_COUNTS[0]}"))
    return next(one for one in alike if len(alike) == 1 or one.experts == experts)


def config(file: Gguf) -> dict[str, Any]:
    """The config.json that this file would have beside Hugging Face's weights. A key that is not known is refused."""
    made, name = architecture(file), file.metadata["general.architecture"]
    data: dict[str, Any] = {"model_type": made.model_type, "architectures": [made.class_name], **made.fixed}
    said = {}
    for key, value in file.metadata.items():
        if key.startswith(_PROSE):
            continue
        if isinstance(value, list | array):  # one for each layer: nothing that is read here is
            raise BadFileError("weights.gguf_key", file=file.path, key=key, value=repr(list(value[:8]))[:60])
        short = key.removeprefix(f"{name}.")
        if short in made.keys:
            data[made.keys[short]] = _rounded(value, file.kinds[key])
        elif short in _SAID | ropes.KEYS | made.again.keys():
            said[short] = _rounded(value, file.kinds[key])
        elif short not in _COUNTS or value != 0:
            raise BadFileError("weights.gguf_key", file=file.path, key=key, value=repr(value)[:60])
    for key in _WHOLE & set(made.keys.values()):
        if type(data.get(key)) is not int or not 0 < data[key] < 1 << 24:
            raise BadFileError("weights.gguf_key", file=file.path, key=key, value=repr(data.get(key))[:60])
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise BadFileError("weights.gguf_tensor", file=file.path, name="token_embd.weight")
    data.setdefault("vocab_size", embedding.shape[0])
    data["tie_word_embeddings"] = "output.weight" not in file.tensors
    if made.model_type == "llama":
        data["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    _agree(file, made, data, said)
    if made.share:
        size = ropes.head_dim(data)
        turned = said.get("rope.dimension_count", size)
        if type(turned) is not int or not 0 < turned <= size:
            raise BadFileError("weights.gguf_key", file=file.path, key="rope.dimension_count", value=repr(turned)[:60])
        data[made.share] = turned / size
    if data.get("sliding_window") == 0:
        data["sliding_window"] = None
    return data | ropes.read(file, data, said) | _gemma(name, data)


def metadata(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(architecture, its metadata) of a config.json; what has no place in it is found when the file is read again."""
    made = _of(data)
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    flat = {**data, "rope_theta": data.get("rope_theta", rope.get("rope_theta"))}
    width = flat.get("hidden_size", flat.get("n_embd", 0))
    if flat.get("n_inner") is None:
        flat["n_inner"] = 4 * width
    if made.model_type == "phi3":  # told apart by what the files of others leave out
        flat["sliding_window"] = flat.get("sliding_window") or 0
        flat["original_max_position_embeddings"] = rope.get(
            "original_max_position_embeddings", flat["max_position_embeddings"]
        )
    keys = {**made.keys, **made.again}
    found = {f"{made.name}.{short}": flat[key] for short, key in keys.items() if flat.get(key) is not None}
    head_dim = ropes.head_dim(data)
    if "rope.freq_base" in made.keys:
        found[f"{made.name}.rope.dimension_count"] = int(head_dim * data.get(made.share, 1))
    if f"{made.name}.attention.key_length" in found:
        found[f"{made.name}.attention.value_length"] = head_dim
    return made.name, found | {f"{made.name}.{key}": value for key, value in ropes.keys(data).items()}


def _of(data: Mapping[str, Any]) -> Architecture:
    """What a config.json's model is in llama.cpp, where a Mistral without a window is a Llama."""
    by_type = {made.model_type: made for made in ARCHITECTURES}
    name = data.get("model_type")
    if name == "mistral" and data.get("sliding_window") is None:
        name = "llama"
    if name not in by_type:
        raise BadFileError("weights.gguf_no_place", name=name, known=", ".join(by_type))
    return by_type[name]


def plus_one(data: Mapping[str, Any]) -> bool:
    """Whether llama.cpp keeps the norms of a config.json's model plus one."""
    return any(how == PLUS_ONE for _, _, how in _of(data).rows)


def renamed(name: str, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Hugging Face's tensors under llama.cpp's names and in its order of rows, a layer's experts as one; those with no
    name are refused."""
    count, gathered = _experts(data), dict[str, dict[int, Tensor]]()
    plan: dict[str, tuple[str, str, int]] = {}
    for theirs, (ours, how) in _expanded(_of(data), _depth(data), 0).items():
        for expert in range(count if "#" in ours else 1):
            plan[ours.replace("#", str(expert))] = (theirs, how, expert if "#" in ours else -1)
    for ours, tensor in tensors.items():
        if ours not in plan:
            raise BadFileError("weights.gguf_tensor", file=name, name=ours)
        theirs, how, expert = plan[ours]
        if expert < 0:
            yield theirs, _stored(tensor, how, _heads(data))
            continue
        some = gathered.setdefault(theirs, {})
        some[expert] = tensor
        if len(some) == count:
            yield theirs, torch.stack([some[at] for at in range(count)])
            del gathered[theirs]
    yield from ropes.tensors(data)


class Weights:
    """A GGUF file's tensors under Hugging Face's names, decoded when asked for: what a family's table reads."""

    owned = True

    def __init__(self, file: Gguf, data: Mapping[str, Any]) -> None:
        self._file, self._heads, count = file, _heads(data), _experts(data)
        plan = _expanded(architecture(file), _depth(data), min(count, len(file.tensors)))
        self._stored: dict[str, tuple[str, str, int | None]] = {}
        for theirs, info in file.tensors.items():
            ours, how = plan.get(theirs, (theirs, PLAIN))  # an unknown one keeps its name, and is refused by it
            if "#" not in ours:
                self._stored[ours] = (theirs, how, None)
            elif len(info.shape) == 3 and info.shape[0] == count:
                self._stored |= {ours.replace("#", str(at)): (theirs, how, at) for at in range(count)}
            else:
                self._stored[theirs] = (theirs, PLAIN, None)
        for name in ropes.FACTORS:
            self._stored.pop(name, None)

    def names(self) -> set[str]:
        return set(self._stored)

    def twice(self) -> list[str]:
        return []

    def shape(self, name: str) -> tuple[int, ...]:
        info, how, part = self._of(name)
        shape = info.shape if part is None else info.shape[1:]
        return tuple(reversed(shape)) if how == TRANSPOSED else shape

    def dtype(self, name: str) -> str:
        kind = self._of(name)[0].type.name
        return kind if kind in ("F32", "F16", "BF16") else "F32"

    def read(self, name: str) -> Tensor:
        info, how, part = self._of(name)
        theirs = self._stored[name][0]
        raw = self._file.raw(theirs)
        if part is not None:  # whole rows, and so whole blocks
            size = len(raw) // info.shape[0]
            raw = raw[part * size : (part + 1) * size]
        tensor = blocks.decode(info.type, raw, info.shape if part is None else info.shape[1:])
        self._file.done(theirs)
        return _plain(tensor, how, self._heads)

    def _of(self, name: str) -> tuple[Info, str, int | None]:
        theirs, how, part = self._stored[name]
        return self._file.tensors[theirs], how, part


def _expanded(made: Architecture, depth: int, experts: int) -> dict[str, tuple[str, str]]:
    """Their name -> Hugging Face's and how it is stored, layer by layer; # stays where theirs holds all experts."""
    found: dict[str, tuple[str, str]] = {}
    for theirs, ours, how in made.rows:
        for layer in range(depth if "*" in theirs else 1):
            pair = theirs.replace("*", str(layer)), ours.replace("*", str(layer))
            alone = range(experts) if "#" in theirs else (None,)
            for expert in alone:
                one, other = pair if expert is None else (part.replace("#", str(expert)) for part in pair)
                found[one] = (other, how)
    return found


def _depth(data: Mapping[str, Any]) -> int:
    return data.get("num_hidden_layers", data.get("n_layer", 0))


def _experts(data: Mapping[str, Any]) -> int:
    count = data.get("num_local_experts", data.get("num_experts", 0))
    return count if type(count) is int else 0


def _heads(data: Mapping[str, Any]) -> tuple[int, int]:
    heads = data.get("num_attention_heads", data.get("n_head", 1))
    return heads, data.get("num_key_value_heads") or heads


def _plain(tensor: Tensor, how: str, heads: tuple[int, int]) -> Tensor:
    if how == PLUS_ONE:
        return tensor - 1
    if how == TRANSPOSED:
        return tensor.T.contiguous()
    if how == APART:
        return tensor.view(3, heads[0], -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)
    if how in (PERMUTED, KEYS_PERMUTED):  # each head's pairs of neighbours become its halves
        rows = tensor.view(heads[how == KEYS_PERMUTED], -1, 2, *tensor.shape[1:])
        return rows.transpose(1, 2).reshape(tensor.shape)
    return tensor


def _stored(tensor: Tensor, how: str, heads: tuple[int, int]) -> Tensor:
    """The inverse of `_plain`."""
    if how == PLUS_ONE:
        return tensor + 1
    if how == TRANSPOSED:
        return tensor.T.contiguous()
    if how == APART:
        return tensor.reshape(heads[0], 3, -1, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)
    if how in (PERMUTED, KEYS_PERMUTED):
        halves = tensor.reshape(heads[how == KEYS_PERMUTED], 2, -1, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)
    return tensor


def _rounded(value: Any, kind: int) -> Any:
    """A float32 as the shortest decimal that means it: 9.999999747378752e-06 was 1e-05."""
    return float(str(np.float32(value))) if kind == 6 else value


def _agree(file: Gguf, made: Architecture, data: dict[str, Any], said: Mapping[str, Any]) -> None:
    """What is said twice must be the same: the sizes of a head's keys, values and turned part."""
    for key, name in made.again.items():
        if said.get(key, data.get(name)) != data.get(name):
            raise BadFileError("weights.gguf_key", file=file.path, key=key, value=repr(said[key])[:60])
    turned = None if made.share else said.get("rope.dimension_count")
    sizes = [size for size in (data.get("head_dim"), said.get("attention.value_length"), turned) if size is not None]
    if len(set(sizes)) > 1 or not all(type(size) is int and 0 < size < 1 << 24 for size in sizes):
        raise BadFileError("weights.gguf_key", file=file.path, key="attention.key_length", value=sizes)
    if sizes and "head_dim" in made.keys.values():
        data["head_dim"] = sizes[0]


def _gemma(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What llama.cpp knows of Gemma by heart: the scale of queries (the 27B models differ), which layers are local."""
    if not name.startswith("gemma"):
        return {}
    depth, heads = data["num_hidden_layers"], data["num_attention_heads"]
    large = depth in (46, 62)
    period = 2 if name == "gemma2" else 6
    kinds: Sequence[str] = [
        "full_attention" if layer % period == period - 1 else "sliding_attention" for layer in range(depth)
    ]
    scalar = data["hidden_size"] // heads if large else data["head_dim"]
    return {"query_pre_attn_scalar": scalar, "layer_types": kinds}
