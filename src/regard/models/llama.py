"""Llama (Touvron et al. 2023): pre-norm with RMS norms, rotary positions, grouped heads, gated feed-forward, no biases.

Mistral (Jiang et al. 2023) adds a window to every layer, Qwen 2 (Yang et al. 2024) biases to q, k and v.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, layers
from regard.config import Problem
from regard.errors import BadFileError
from regard.models import decoder, rope
from regard.weights import foreign
from regard.weights.table import Drop, Table, Tie


@dataclass(frozen=True, kw_only=True)
class Attend(decoder.Attend):
    """bias: of q, k and v; output_bias: of o."""

    bias: bool = False
    output_bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to Llama 2 7B. bias: of the feed-forward layers. kind: the model type that files name."""

    kind: Literal["llama", "mistral", "qwen2"] = "llama"
    vocab: int = 32_000
    context: int = 4096
    dim: int = 4096
    depth: int = 32
    hidden: int = 11_008
    attention: Attend = Attend()
    bias: bool = False

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        wants, whole = self.attention, set(range(self.depth))
        said = {
            "llama": wants.bias == wants.output_bias and not wants.local,
            "mistral": not (wants.bias or wants.output_bias or self.bias) and set(wants.local) in (set(), whole),
            "qwen2": wants.bias and not (wants.output_bias or self.bias),
        }
        if not said[self.kind]:
            yield "kind", "models.kind", {}


def build(config: Config) -> Any:
    wants = config.attention
    position = rope.position(wants.rope, wants.head_dim)
    near = layers.Mask(window=wants.window)

    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps)

    def block(number: int) -> Any:
        projection = decoder.grouped(config, bias=wants.bias, output_bias=wants.output_bias)
        mask = near if number in wants.local else None
        attention = layers.Attention(projection, position=position, mask=mask, dropout=config.dropout)
        feed_forward = layers.Gated(config.dim, config.hidden, config.activation, bias=config.bias)
        return decoder.pre_norm(config, norm, attention, feed_forward)

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    return decoder.model(config, tokens, [block(number) for number in range(config.depth)], norm())


initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=lambda config: (decoder.alone if config.kind == "mistral" else decoder.answering)(config),
    rows=(
        *decoder.LLAMA_ENDS,
        *decoder.LLAMA_NORMS,
        *decoder.LLAMA_ATTENTION,
        *decoder.LLAMA_FEED_FORWARD,
        Tie("lm_head.weight", "model.embed_tokens.weight"),
        Drop("model.layers.*.self_attn.rotary_emb.inv_freq"),
    ),
)

_SIZES = decoder.LLAMA_FIELDS | {"head_dim": "attention.head_dim"}
_DEFAULTS = decoder.LLAMA_DEFAULTS | {"head_dim": None}
FIELDS = {
    "llama": foreign.Fields(
        same=_SIZES | {"attention_bias": "attention.bias", "mlp_bias": "bias"},
        only={"rope_interleaved": (False,)},
        harmless=frozenset({"pretraining_tp", "is_llama_config"}),
        default=_DEFAULTS | {"attention_bias": False, "mlp_bias": False},
    ),
    "mistral": foreign.Fields(
        same=_SIZES | {"sliding_window": "attention.window"},
        default=_DEFAULTS | {"sliding_window": 4096, "num_key_value_heads": 8},
    ),
    "qwen2": foreign.Fields(
        same=_SIZES,
        only={"use_mrope": (False,)},
        harmless=frozenset({"max_window_layers"}),
        default=_DEFAULTS,
    ),
}
HEADS = {
    kind: decoder.names(name, "tag", "span")
    for kind, name in {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2"}.items()
}
_ACTIVATION = ("hidden_act", "silu")
_OWN = {"llama": (), "mistral": (), "qwen2": ("use_sliding_window", "sliding_window", "layer_types")}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    kind = data["model_type"]
    fields = FIELDS[kind]
    values = decoder.values(data, where, fields, HEADS[kind], _ACTIVATION, *_OWN[kind], *rope.KEYS)
    decoder.fill_heads(values)
    values |= {"kind": kind, "attention.rope": rope.read(data, where)}
    if kind == "llama":
        values["attention.output_bias"] = values["attention.bias"]
    if kind == "qwen2":
        values["attention.bias"] = True
    config = foreign.config(Config, values | {"attention.window": None}, where, fields)
    local = tuple(range(config.depth)) if kind == "mistral" and values["attention.window"] is not None else ()
    if kind == "qwen2":
        local, values["attention.window"] = local_layers(data, config.depth, where), data.get("sliding_window", 4096)
    return foreign.config(Config, values | {"attention.local": local}, where, fields) if local else config


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    kind, wants = config.kind, config.attention
    made = decoder.written(config, FIELDS[kind], HEADS[kind], _ACTIVATION) | rope.write(wants.rope)
    if kind == "qwen2":
        made |= written_layers(config)
    return made | {"model_type": kind}


def local_layers(data: Mapping[str, Any], depth: int, where: str) -> tuple[int, ...]:
    """Qwen's layers with a window: as listed, or, in older files, those from ``max_window_layers`` on."""
    if not data.get("use_sliding_window"):
        return ()
    listed = decoder.local_layers(data, depth, where)
    if listed is not None:
        return listed
    first = data.get("max_window_layers", 28)
    if type(first) is not int or first < 0:
        raise BadFileError("weights.setting", where=where, key="max_window_layers", value=first, accepted=depth)
    return tuple(range(first, depth))


def written_layers(config: decoder.Llama) -> dict[str, Any]:
    """The same, written."""
    window, local = config.attention.window, config.attention.local
    last_ones = local and local == tuple(range(local[0], config.depth))
    return {
        "use_sliding_window": bool(local),
        "sliding_window": window,
        "layer_types": decoder.layer_types(config),
        **({"max_window_layers": local[0]} if last_ones else {}),
    }
