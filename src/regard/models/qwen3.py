"""Qwen 3 (2025), the recipe that trains best here: Llama with normed q and k. Its mixture (qwen3_moe) is in a file of
its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.models import decoder, llama, rope
from regard.weights import foreign
from regard.weights.table import Table, Tie, rows

_ROPE = rope.Rope(base=1_000_000.0)


@dataclass(frozen=True, kw_only=True)
class Attend(decoder.Attend):
    """bias: of q, k, v and o."""

    heads: int = 16
    kv_heads: int = 8
    bias: bool = False
    rope: rope.Rope = _ROPE


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to the 0.6B model."""

    vocab: int = 151_936
    context: int = 32_768
    dim: int = 1024
    depth: int = 28
    hidden: int = 3072
    attention: Attend = Attend()
    tied: bool = True


def build(config: Config) -> Any:
    attention = attentions(config)

    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps)

    def block(number: int) -> Any:
        feed_forward = layers.Gated(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention(number), feed_forward)

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    return decoder.model(config, tokens, [block(number) for number in range(config.depth)], norm())


def attentions(config: Any) -> Any:
    """The attention of each layer by its number; one position for all of them."""
    wants = config.attention
    position = rope.position(wants.rope, wants.head_dim)
    near = layers.Mask(window=wants.window)

    def norm(size: int) -> Any:
        return layers.RMSNorm(size, eps=config.eps)

    def attention(number: int) -> Any:
        projection = decoder.grouped(config, bias=wants.bias, output_bias=wants.bias, norm=norm)
        mask = near if number in wants.local else None
        return layers.Attention(projection, position=position, mask=mask, dropout=config.dropout)

    return attention


initialise = decoder.initialise

ROWS = (
    *decoder.LLAMA_ENDS,
    *decoder.LLAMA_NORMS,
    *decoder.LLAMA_ATTENTION,
    *rows("""
        model.layers.*.self_attn.q_norm.weight           stack.blocks.*.attention.q_norm.weight
        model.layers.*.self_attn.k_norm.weight           stack.blocks.*.attention.k_norm.weight
    """),
    *decoder.LLAMA_FEED_FORWARD,
    Tie("lm_head.weight", "model.embed_tokens.weight"),
)
TABLE = Table(prefix="model.", instead=decoder.answering, rows=ROWS)

FIELDS = foreign.Fields(
    same=decoder.LLAMA_FIELDS | {"head_dim": "attention.head_dim", "attention_bias": "attention.bias"},
    harmless=frozenset({"max_window_layers"}),
    default=decoder.LLAMA_DEFAULTS | {"head_dim": 128, "attention_bias": False},
)
HEADS = decoder.names("Qwen3", "tag", "span")
_ACTIVATION = ("hidden_act", "silu")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    own = ("use_sliding_window", "sliding_window", "layer_types", *rope.KEYS)
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, *own)
    decoder.fill_heads(values)
    values["attention.rope"] = rope.read(data, where)
    config = foreign.config(Config, values, where, FIELDS)
    local = llama.local_layers(data, config.depth, where)
    if not local:
        return config
    values |= {"attention.window": data.get("sliding_window"), "attention.local": local}
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION) | rope.write(config.attention.rope)
    return made | llama.written_layers(config) | {"model_type": "qwen3"}
