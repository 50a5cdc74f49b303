"""Gemma 2 (2024): norms before and behind each sublayer, scores and logits squashed by tanh, a window in every other
layer, scores scaled by a size of their own, and norms that store their weight less one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem
from regard.models import decoder, rope
from regard.weights import foreign
from regard.weights.table import Drop, Table, Tie, rows


@dataclass(frozen=True, kw_only=True)
class Attend(decoder.Attend):
    """Scores are divided by the root of ``scale`` and squashed into (-cap, cap), None: not."""

    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 256
    window: int | None = 4096
    local: tuple[int, ...] = tuple(range(0, 26, 2))
    scale: int = 256
    cap: float | None = 50.0
    bias: bool = False

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from decoder.positive(self, "scale", "cap")


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to the 2B model. cap: logits are squashed into (-cap, cap), None: not."""

    vocab: int = 256_000
    context: int = 8192
    dim: int = 2304
    depth: int = 26
    hidden: int = 9216
    attention: Attend = Attend()
    activation: str = "gelu_tanh"
    tied: bool = True
    cap: float | None = 30.0

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from decoder.positive(self, "cap")


def build(config: Config) -> Any:
    wants = config.attention
    position = rope.position(wants.rope, wants.head_dim)
    near = layers.Mask(window=wants.window)

    def attention(number: int) -> Any:
        projection = decoder.grouped(config, bias=wants.bias, output_bias=wants.bias)
        return layers.Attention(
            projection,
            position=position,
            mask=near if number in wants.local else None,
            core=layers.fused if wants.cap is None else layers.soft_capped(wants.cap),
            scale=wants.scale**-0.5,
            dropout=config.dropout,
        )

    return assemble(config, attention)


def assemble(config: Any, attention: Any) -> Any:
    """The model of attentions by their layer: everything of it that Gemma 3 has as well."""

    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps, offset=1.0)

    def between(sublayer: Any) -> Any:
        return layers.Residual(sublayer=sublayer, before=norm(), after=norm(), dropout=config.dropout)

    def block(number: int) -> Any:
        feed_forward = layers.Gated(config.dim, config.hidden, config.activation)
        return layers.Block(attention=between(attention(number)), feed_forward=between(feed_forward))

    tokens = embed.Tokens(config.vocab, config.dim, scale=config.dim**0.5, dropout=config.dropout)
    vocabulary = None if config.cap is None else partial(heads.Capped, cap=config.cap)
    blocks = [block(number) for number in range(config.depth)]
    return decoder.model(config, tokens, blocks, norm(), vocabulary=vocabulary)


initialise = decoder.initialise

ROWS = (
    *decoder.LLAMA_ENDS,
    *decoder.LLAMA_ATTENTION,
    *decoder.LLAMA_FEED_FORWARD,
    *rows("""
        model.layers.*.input_layernorm.weight              stack.blocks.*.attention_before.weight
        model.layers.*.post_attention_layernorm.weight     stack.blocks.*.attention_after.weight
        model.layers.*.pre_feedforward_layernorm.weight    stack.blocks.*.feed_forward_before.weight
        model.layers.*.post_feedforward_layernorm.weight   stack.blocks.*.feed_forward_after.weight
    """),
    Tie("lm_head.weight", "model.embed_tokens.weight"),
    Drop("model.layers.*.self_attn.rotary_emb.inv_freq"),
)
TABLE = Table(prefix="model.", instead=decoder.alone, rows=ROWS)

SIZES = decoder.LLAMA_FIELDS | {
    "head_dim": "attention.head_dim", "attention_bias": "attention.bias", "sliding_window": "attention.window",
    "query_pre_attn_scalar": "attention.scale", "final_logit_softcapping": "cap",
}  # fmt: skip
DEFAULTS = decoder.LLAMA_DEFAULTS | {
    "tie_word_embeddings": True, "head_dim": 256, "attention_bias": False, "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
}  # fmt: skip
# What the two libraries that these models come from leave in their files, and neither reads.
HARMLESS = frozenset({"hidden_act", "cache_implementation"})
FIELDS = foreign.Fields(
    same=SIZES | {"attn_logit_softcapping": "attention.cap"},
    only={"use_bidirectional_attention": (None, False)},
    harmless=HARMLESS,
    default=DEFAULTS | {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0},
)
HEADS = decoder.names("Gemma2", "tag")
ACTIVATION = ("hidden_activation", "gelu_pytorch_tanh")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, ACTIVATION, "layer_types", *rope.KEYS)
    decoder.fill_heads(values)
    values |= {"attention.rope": rope.read(data, where), "attention.local": ()}
    config = foreign.config(Config, values, where, FIELDS)
    local = decoder.local_layers(data, config.depth, where)
    values["attention.local"] = tuple(range(0, config.depth, 2)) if local is None else local
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, ACTIVATION) | rope.write(config.attention.rope)
    return made | {"model_type": "gemma2", "layer_types": decoder.layer_types(config)}
