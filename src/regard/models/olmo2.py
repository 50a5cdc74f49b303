"""OLMo 2 (2025): Llama with norms behind the sublayers, not before them, and over q and k of all heads together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.models import decoder, rope
from regard.weights import foreign
from regard.weights.table import Table, Tie, rows

_ROPE = rope.Rope(base=500_000.0)


@dataclass(frozen=True, kw_only=True)
class Attend(decoder.Attend):
    """bias: of q, k, v and o."""

    bias: bool = False
    rope: rope.Rope = _ROPE


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to the 7B model."""

    vocab: int = 100_352
    context: int = 4096
    dim: int = 4096
    depth: int = 32
    hidden: int = 11_008
    attention: Attend = Attend()

    def check(self) -> Any:
        yield from super().check()
        if self.attention.head_dim * self.attention.heads != self.dim or self.attention.local:
            yield "attention", "models.heads", {"dim": self.dim}


def build(config: Config) -> Any:
    wants = config.attention
    position = rope.position(wants.rope, wants.head_dim)
    sizes = {"heads": wants.heads, "kv_heads": wants.kv_heads, "head_dim": wants.head_dim}

    def norm(size: int = config.dim) -> Any:
        return layers.RMSNorm(size, eps=config.eps)

    def after(sublayer: Any) -> Any:
        return layers.Residual(sublayer=sublayer, after=norm(), dropout=config.dropout)

    def block() -> Any:
        projection = layers.NormedTogether(
            dim=config.dim, **sizes, bias=wants.bias, output_bias=wants.bias, norm=norm
        )  # fmt: skip
        attention = layers.Attention(projection, position=position, dropout=config.dropout)
        feed_forward = layers.Gated(config.dim, config.hidden, config.activation)
        return layers.Block(attention=after(attention), feed_forward=after(feed_forward))

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    return decoder.model(config, tokens, [block() for _ in range(config.depth)], norm())


initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=decoder.alone,
    rows=(
        *decoder.LLAMA_ENDS,
        *decoder.LLAMA_ATTENTION,
        *decoder.LLAMA_FEED_FORWARD,
        *rows("""
            model.layers.*.self_attn.q_norm.weight             stack.blocks.*.attention.q_norm.weight
            model.layers.*.self_attn.k_norm.weight             stack.blocks.*.attention.k_norm.weight
            model.layers.*.post_attention_layernorm.weight     stack.blocks.*.attention_after.weight
            model.layers.*.post_feedforward_layernorm.weight   stack.blocks.*.feed_forward_after.weight
        """),
        Tie("lm_head.weight", "model.embed_tokens.weight"),
    ),
)

FIELDS = foreign.Fields(
    same=decoder.LLAMA_FIELDS | {"attention_bias": "attention.bias"},
    default=decoder.LLAMA_DEFAULTS | {"attention_bias": False, "rms_norm_eps": 1e-5},
)
HEADS = decoder.names("Olmo2")
_ACTIVATION = ("hidden_act", "silu")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, *rope.KEYS)
    decoder.fill_heads(values)
    values["attention.rope"] = rope.read(data, where)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION) | rope.write(config.attention.rope)
    return made | {"model_type": "olmo2"}
