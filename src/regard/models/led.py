"""LED (Beltagy et al. 2020, section 7): BART whose encoder is a Longformer's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import between
from regard.models import longformer, seq2seq, shared
from regard.weights import foreign
from regard.weights.table import with_endings


@dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Seq2Seq):
    """Sizes default to the base model. context is the encoder's, decoder_context the decoder's. window: how many tokens
    around each one each layer of the encoder sees."""

    context: int = 16_384
    decoder_context: int = 1024
    dim: int = 768
    depth: int = 6
    decoder_depth: int = 6
    heads: int = 12
    decoder_heads: int = 12
    hidden: int = 3072
    decoder_hidden: int = 3072
    window: tuple[int, ...] = (1024,) * 6

    def check(self) -> Any:
        yield from super().check()
        yield from between(self, 1, shared.LARGEST, "decoder_context")
        yield from longformer.check_window(self)


def build(config: Config) -> Any:
    lengths = iter((config.context, config.decoder_context))

    def tokens() -> Any:
        return embed.Tokens(
            config.vocab,
            config.dim,
            positions=embed.Learned(next(lengths), config.dim),
            norm=layers.LayerNorm(config.dim),
            dropout=config.dropout,
        )

    def attention(number: int) -> Any:
        projection = seq2seq.grouped(config, config.heads)
        reach = config.window[number] // 2
        return layers.WindowAttention(projection, reach=reach, dropout=config.attention_dropout)

    return seq2seq.build(config, tokens, "then", attention=attention)


initialise = seq2seq.initialise

_ATTENTION = with_endings("""
    led.encoder.layers.*.self_attn.longformer_self_attn.query          encoder.blocks.*.attention.q
    led.encoder.layers.*.self_attn.longformer_self_attn.key            encoder.blocks.*.attention.k
    led.encoder.layers.*.self_attn.longformer_self_attn.value          encoder.blocks.*.attention.v
    led.encoder.layers.*.self_attn.longformer_self_attn.query_global   encoder.blocks.*.attention.whole.q
    led.encoder.layers.*.self_attn.longformer_self_attn.key_global     encoder.blocks.*.attention.whole.k
    led.encoder.layers.*.self_attn.longformer_self_attn.value_global   encoder.blocks.*.attention.whole.v
    led.encoder.layers.*.self_attn.output                              encoder.blocks.*.attention.o
""", ".weight", ".bias")  # fmt: skip
TABLE = seq2seq.table("then", *_ATTENTION, prefix="led.")

FIELDS = seq2seq.fields(
    same={
        "max_encoder_position_embeddings": "context", "max_decoder_position_embeddings": "decoder_context",
    },
    only={"scale_embedding": (False,)},
    default={"decoder_start_token_id": 2, "max_decoder_position_embeddings": 1024},
)  # fmt: skip
HEADS = {name: head for name, head in seq2seq.names("LED").items() if head != "classify"}
HEADS |= {"LEDForQuestionAnswering": "span"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = seq2seq.values(data, where, FIELDS, HEADS, own=frozenset({"attention_window"}))
    return foreign.config(
        Config, values | {"window": longformer.windows(data, values["depth"])}, where, FIELDS
    )  # fmt: skip


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return seq2seq.written(config, FIELDS, HEADS, "led") | {"attention_window": list(config.window)}
