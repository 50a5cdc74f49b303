"""BART (Lewis et al. 2019): the Transformer of 2017 with learned positions and a normed embedding, trained to restore
noised text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.models import seq2seq
from regard.weights import foreign

OFFSET = 2  # rows of the position table before that of the first position


@dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Seq2Seq):
    """Sizes default to the large model."""


def build(config: Config) -> Any:
    return seq2seq.build(config, lambda: tokens(config), "then")


def tokens(config: Any) -> Any:
    """Tokens and learned positions, normed."""
    return embed.Tokens(
        config.vocab,
        config.dim,
        positions=embed.Learned(config.context, config.dim, offset=OFFSET),
        norm=layers.LayerNorm(config.dim),
        scale=config.dim**0.5 if config.scaled else 1.0,
        dropout=config.dropout,
    )


initialise = seq2seq.initialise

TABLE = seq2seq.table("then")

FIELDS = seq2seq.fields(
    only={
        "normalize_before": (False,), "normalize_embedding": (True,), "static_position_embeddings": (False,),
        "add_final_layer_norm": (False,), "extra_pos_embeddings": (OFFSET,),
    },
    default={"decoder_start_token_id": 2},
)  # fmt: skip
HEADS = seq2seq.names("Bart") | {"BartForQuestionAnswering": "span"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(Config, seq2seq.values(data, where, FIELDS, HEADS), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return seq2seq.written(config, FIELDS, HEADS, "bart")
