"""What llama.cpp calls the settings and weights that Hugging Face files name otherwise, by architecture.

A GGUF file is read as if it were a Hugging Face folder, so that a family's own table reads both: `config` makes the
config.json it would have, `Weights` shows its tensors under their Hugging Face names, and `metadata` and `renamed` go
the other way.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard.errors import BadFileError
from regard.weights.gguf import blocks
from regard.weights.gguf.container import Gguf

PLAIN, PERMUTED, KEYS_PERMUTED, PLUS_ONE, TRANSPOSED = "plain", "permuted", "keys permuted", "plus one", "transposed"
Row = tuple[str, str, str]  # their name, Hugging Face's, how it is stored; * is a layer's number, # an expert's


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`keys`: metadata key without the architecture's name -> key of config.json. `fixed`: settings of all such models;
    `class_name`: what config.json calls their class."""

    model_type: str
    rows: tuple[Row, ...]
    keys: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    class_name: str = ""


def _rows(text: str, how: str = PLAIN) -> tuple[Row, ...]:
    pairs = (line.split() for line in text.splitlines() if line.strip())
    return tuple((theirs, ours, how) for theirs, ours in pairs)


_ENDS = _rows("""
    token_embd.weight            model.embed_tokens.weight
    output.weight                lm_head.weight
""")
_VALUES = _rows("""
    blk.*.attn_v.weight          model.layers.*.self_attn.v_proj.weight
    blk.*.attn_v.bias            model.layers.*.self_attn.v_proj.bias
    blk.*.attn_output.weight     model.layers.*.self_attn.o_proj.weight
    blk.*.attn_output.bias       model.layers.*.self_attn.o_proj.bias
""")
_FEED_FORWARD = _rows("""
    blk.*.ffn_gate.weight        model.layers.*.mlp.gate_proj.weight
    blk.*.ffn_up.weight          model.layers.*.mlp.up_proj.weight
    blk.*.ffn_down.weight        model.layers.*.mlp.down_proj.weight
""")
_QUERIES = (
    "blk.*.attn_q.weight model.layers.*.self_attn.q_proj.weight\nblk.*.attn_q.bias model.layers.*.self_attn.q_proj.bias"
)
_KEYS = (
    "blk.*.attn_k.weight model.layers.*.self_attn.k_proj.weight\nblk.*.attn_k.bias model.layers.*.self_attn.k_proj.bias"
)
_HEAD_NORMS = """
    blk.*.attn_q_norm.weight     model.layers.*.self_attn.q_norm.weight
    blk.*.attn_k_norm.weight     model.layers.*.self_attn.k_norm.weight
"""
_LAST_NORM = "output_norm.weight model.norm.weight\n"
_PRE_NORMS = """
    blk.*.attn_norm.weight       model.layers.*.input_layernorm.weight
    blk.*.ffn_norm.weight        model.layers.*.post_attention_layernorm.weight
"""
_AFTER_NORMS = """
    blk.*.post_attention_norm.weight   model.layers.*.post_attention_layernorm.weight
    blk.*.post_ffw_norm.weight         model.layers.*.post_feedforward_layernorm.weight
"""
_SANDWICH = (
    _AFTER_NORMS
    + """
    blk.*.attn_norm.weight       model.layers.*.input_layernorm.weight
    blk.*.ffn_norm.weight        model.layers.*.pre_feedforward_layernorm.weight
"""
)

_SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
_HEAD_DIM = {"attention.key_length": "head_dim"}
_PLAIN_QK = (*_rows(_QUERIES), *_rows(_KEYS))
_GEMMA_KEYS = _SIZES | _HEAD_DIM | {"attention.sliding_window": "sliding_window"}
_CAPS = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False}

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        model_type="llama",
        class_name="LlamaForCausalLM",
        keys=_SIZES | _HEAD_DIM,
        fixed={"hidden_act": "silu", "mlp_bias": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _PRE_NORMS), *_rows(_QUERIES, PERMUTED), *_rows(_KEYS, KEYS_PERMUTED),
              *_VALUES, *_FEED_FORWARD),
    ),
    "qwen2": Architecture(
        model_type="qwen2",
        class_name="Qwen2ForCausalLM",
        keys=_SIZES,
        fixed={"hidden_act": "silu", "use_sliding_window": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _PRE_NORMS), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    "qwen3": Architecture(
        model_type="qwen3",
        class_name="Qwen3ForCausalLM",
        keys=_SIZES | _HEAD_DIM,
        fixed={"hidden_act": "silu", "use_sliding_window": False, "attention_bias": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _PRE_NORMS + _HEAD_NORMS), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    "olmo2": Architecture(
        model_type="olmo2",
        class_name="Olmo2ForCausalLM",
        keys=_SIZES,
        fixed={"hidden_act": "silu", "attention_bias": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _AFTER_NORMS + _HEAD_NORMS), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    "gemma2": Architecture(
        model_type="gemma2",
        class_name="Gemma2ForCausalLM",
        keys=_GEMMA_KEYS | _CAPS,
        fixed=_GEMMA,
        rows=(*_ENDS, *_rows(_LAST_NORM + _SANDWICH, PLUS_ONE), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    "gemma3": Architecture(
        model_type="gemma3_text",
        class_name="Gemma3ForCausalLM",
        keys=_GEMMA_KEYS,
        fixed=_GEMMA,
        rows=(*_ENDS, *_rows(_LAST_NORM + _SANDWICH + _HEAD_NORMS, PLUS_ONE), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    "gpt2": Architecture(
        model_type="gpt2",
        class_name="GPT2LMHeadModel",
        keys={
            "context_length": "n_positions", "embedding_length": "n_embd", "block_count": "n_layer",
            "feed_forward_length": "n_inner", "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon", "vocab_size": "vocab_size",
        },
        fixed={"activation_function": "gelu_new"},
        rows=(
            *_rows("""
                token_embd.weight          transformer.wte.weight
                position_embd.weight       transformer.wpe.weight
                output.weight              lm_head.weight
                output_norm.weight         transformer.ln_f.weight
                output_norm.bias           transformer.ln_f.bias
                blk.*.attn_norm.weight     transformer.h.*.ln_1.weight
                blk.*.attn_norm.bias       transformer.h.*.ln_1.bias
                blk.*.ffn_norm.weight      transformer.h.*.ln_2.weight
                blk.*.ffn_norm.bias        transformer.h.*.ln_2.bias
                blk.*.attn_qkv.bias        transformer.h.*.attn.c_attn.bias
                blk.*.attn_output.bias     transformer.h.*.attn.c_proj.bias
                blk.*.ffn_up.bias          transformer.h.*.mlp.c_fc.bias
                blk.*.ffn_down.bias        transformer.h.*.mlp.c_proj.bias
            """),
            *_rows("""
                blk.*.attn_qkv.weight      transformer.h.*.attn.c_attn.weight
                blk.*.attn_output.weight   transformer.h.*.attn.c_proj.weight
                blk.*.ffn_up.weight        transformer.h.*.mlp.c_fc.weight
                blk.*.ffn_down.weight      transformer.h.*.mlp.c_proj.weight
            """, TRANSPOSED),
        ),
    ),
}  # fmt: skip

# Keys that describe a file and not its model, or say again what shapes say.
_PROSE = ("general.", "tokenizer.", "quantize.", "split.")
_SAID = frozenset({"rope.dimension_count", "attention.value_length", "rope.scaling.finetuned", "attention.causal"})
_SCALING = frozenset({"rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length"})
_WHOLE = {"hidden_size", "num_hidden_layers", "num_attention_heads", "n_embd", "n_layer", "n_head"}
_FACTORS = "rope_freqs.weight"  # Llama 3's scaling, pair by pair


def architecture(file: Gguf) -> Architecture:
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BadFileError("weights.gguf_architecture", file=file.path, name=repr(name)[:60], known=known)
    if file.metadata.get("split.count", 1) not in (0, 1):
        raise BadFileError("weights.gguf_split", file=file.path, count=file.metadata["split.count"])
    return ARCHITECTURES[name]


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
        elif short in _SAID | _SCALING:
            said[short] = _rounded(value, file.kinds[key])
        else:
            raise BadFileError("weights.gguf_key", file=file.path, key=key, value=repr(value)[:60])
    for key in _WHOLE & set(made.keys.values()):
        if type(data.get(key)) is not int or not 0 < data[key] < 1 << 24:
            raise BadFileError("weights.gguf_key", file=file.path, key=key, value=repr(data.get(key))[:60])
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise BadFileError("weights.gguf_tensor", file=file.path, name="token_embd.weight")
    data.setdefault("vocab_size", embedding.shape[0])
    data["tie_word_embeddings"] = "output.weight" not in file.tensors
    if name == "llama":
        data["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    _agree(file, data, said)
    data |= _scaling(file, data, said) | _gemma(name, data)
    return data


def metadata(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(architecture, its metadata) of a config.json; what has no place in it is found when the file is read again."""
    by_type = {made.model_type: (name, made) for name, made in ARCHITECTURES.items()}
    if data.get("model_type") not in by_type:
        raise BadFileError("weights.gguf_no_place", name=data.get("model_type"), known=", ".join(by_type))
    name, made = by_type[data["model_type"]]
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    flat = {**data, "rope_theta": data.get("rope_theta", rope.get("rope_theta"))}
    found = {f"{name}.{short}": flat[key] for short, key in made.keys.items() if flat.get(key) is not None}
    head_dim = data.get("head_dim") or data.get("hidden_size", 0) // max(1, data.get("num_attention_heads", 1))
    if "rope.freq_base" in made.keys:
        found[f"{name}.rope.dimension_count"] = head_dim
    if f"{name}.attention.key_length" in found:
        found[f"{name}.attention.value_length"] = head_dim
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind in ("linear", "yarn"):
        found |= {f"{name}.rope.scaling.type": kind, f"{name}.rope.scaling.factor": float(rope["factor"])}
        original = rope.get("original_max_position_embeddings")
        found |= {f"{name}.rope.scaling.original_context_length": original} if original else {}
    return name, found


def renamed(name: str, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Hugging Face's tensors under llama.cpp's names and in its order of rows; those with no name are refused."""
    plan = {ours: (theirs, how) for theirs, ours, how in _expanded(ARCHITECTURES[name].rows, _depth(data))}
    for ours, tensor in tensors.items():
        if ours not in plan:
            raise BadFileError("weights.gguf_tensor", file=name, name=ours)
        theirs, how = plan[ours]
        yield theirs, _stored(tensor, how, _heads(data))
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) == "llama3":
        yield _FACTORS, _llama3(rope, data)


class Weights:
    """A GGUF file's tensors under Hugging Face's names, decoded when asked for: what a family's table reads."""

    owned = True

    def __init__(self, file: Gguf, data: Mapping[str, Any]) -> None:
        self._file, self._heads = file, _heads(data)
        plan = {theirs: (ours, how) for theirs, ours, how in _expanded(architecture(file).rows, _depth(data))}
        self._stored: dict[str, tuple[str, str]] = {}
        for theirs in file.tensors:
            if theirs != _FACTORS:
                ours, how = plan.get(theirs, (theirs, PLAIN))  # an unknown one keeps its name, and is refused by it
                self._stored[ours] = (theirs, how)

    def names(self) -> set[str]:
        return set(self._stored)

    def twice(self) -> list[str]:
        return []

    def shape(self, name: str) -> tuple[int, ...]:
        theirs, how = self._stored[name]
        shape = self._file.tensors[theirs].shape
        return tuple(reversed(shape)) if how == TRANSPOSED else shape

    def dtype(self, name: str) -> str:
        kind = self._file.tensors[self._stored[name][0]].type.name
        return kind if kind in ("F32", "F16", "BF16") else "F32"

    def read(self, name: str) -> Tensor:
        theirs, how = self._stored[name]
        info = self._file.tensors[theirs]
        tensor = blocks.decode(info.type, self._file.raw(theirs), info.shape)
        self._file.done(theirs)
        return _plain(tensor, how, self._heads)


def _expanded(rows: Iterable[Row], depth: int) -> Iterator[Row]:
    for theirs, ours, how in rows:
        for layer in range(depth if "*" in theirs else 1):
            yield theirs.replace("*", str(layer)), ours.replace("*", str(layer)), how


def _depth(data: Mapping[str, Any]) -> int:
    return data.get("num_hidden_layers", data.get("n_layer", 0))


def _heads(data: Mapping[str, Any]) -> tuple[int, int]:
    heads = data.get("num_attention_heads", 1)
    return heads, data.get("num_key_value_heads") or heads


def _plain(tensor: Tensor, how: str, heads: tuple[int, int]) -> Tensor:
    if how == PLUS_ONE:
        return tensor - 1
    if how == TRANSPOSED:
        return tensor.T.contiguous()
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
    if how in (PERMUTED, KEYS_PERMUTED):
        halves = tensor.reshape(heads[how == KEYS_PERMUTED], 2, -1, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)
    return tensor


def _rounded(value: Any, kind: int) -> Any:
    """A float32 as the shortest decimal that means it: 9.999999747378752e-06 was 1e-05."""
    return float(str(np.float32(value))) if kind == 6 else value


def _agree(file: Gguf, data: dict[str, Any], said: Mapping[str, Any]) -> None:
    """What is said twice must be the same: the sizes of a head's keys, values and turned part."""
    sizes = [data.get("head_dim"), said.get("attention.value_length"), said.get("rope.dimension_count")]
    sizes = [size for size in sizes if size is not None]
    if len(set(sizes)) > 1 or not all(type(size) is int and 0 < size < 1 << 24 for size in sizes):
        raise BadFileError("weights.gguf_key", file=file.path, key="attention.key_length", value=sizes)
    if sizes and "head_dim" in architecture(file).keys.values():
        data["head_dim"] = sizes[0]


def _scaling(file: Gguf, data: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """rope_scaling as config.json has it: linear and YaRN from the metadata, Llama 3's from its factors."""
    kind = said.get("rope.scaling.type", "none")
    if _FACTORS in file.tensors:
        return {"rope_scaling": _llama3_of(file, data)}
    if kind == "none":
        return {}
    factor, original = said.get("rope.scaling.factor"), said.get("rope.scaling.original_context_length")
    if kind not in ("linear", "yarn") or factor is None or (kind == "yarn" and original is None):
        raise BadFileError("weights.gguf_key", file=file.path, key="rope.scaling.type", value=kind)
    found = {"rope_type": kind, "factor": factor}
    return {"rope_scaling": found | ({"original_max_position_embeddings": original} if kind == "yarn" else {})}


def _llama3_of(file: Gguf, data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings whose factors these are; the published ones differ in `factor` alone, which the slowest pair has."""
    info = file.tensors[_FACTORS]
    factors = blocks.decode(info.type, file.raw(_FACTORS), info.shape).float()
    told = {
        "rope_type": "llama3", "factor": float(factors.max()), "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    size = data.get("head_dim") or data["hidden_size"] // data["num_attention_heads"]
    theta = data.get("rope_theta", 10_000.0)
    if not isinstance(theta, float) or not 1 < theta < math.inf:
        raise BadFileError("weights.gguf_key", file=file.path, key="rope.freq_base", value=repr(theta)[:60])
    fits = size == 2 * factors.numel() and factors.isfinite().all() and float(factors.max()) >= 1
    if not fits or not torch.allclose(_llama3(told, data), factors, rtol=1e-3):
        raise BadFileError("weights.gguf_key", file=file.path, key=_FACTORS, value=factors.tolist()[:4])
    return told


def _llama3(rope: Mapping[str, Any], data: Mapping[str, Any]) -> Tensor:
    """By how much each pair's angle is divided (Llama 3's scaling), in float32 (head_dim / 2,)."""
    size = data.get("head_dim") or data["hidden_size"] // data["num_attention_heads"]
    theta = data.get("rope_theta") or rope.get("rope_theta", 10_000.0)
    lengths = 2 * torch.pi * theta ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    blend = (rope["original_max_position_embeddings"] / lengths - low) / (high - low)
    blend = blend.clamp(0, 1)
    return (1 / ((1 - blend) / rope["factor"] + blend)).float()


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
