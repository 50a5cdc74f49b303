"""PEGASUS (Zhang et al. 2019): an encoder and a decoder with sinusoids and their norms before the sublayers, trained to
write the sentences that a text lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed
from regard.models import seq2seq
from regard.weights import foreign
from regard.weights.table import Drop


@dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Seq2Seq):
    """Sizes default to the large model."""

    vocab: int = 96_103
    depth: int = 16
    decoder_depth: int = 16
    activation: str = "relu"
    scaled: bool = True
    start: int = 0
    pad: int = 0

    def check(self) -> Any:
        yield from super().check()
        if self.dim % 2:
            yield "dim", "models.even", {}


def build(config: Config) -> Any:
    scale = config.dim**0.5 if config.scaled else 1.0

    def tokens() -> Any:
        positions = embed.Sinusoidal(config.dim)
        return embed.Tokens(config.vocab, config.dim, positions=positions, scale=scale, dropout=config.dropout)

    return seq2seq.build(config, tokens, "before")


initialise = seq2seq.initialise


def _positions(model: Any) -> Any:
    """The sinusoids, which the library stores."""
    weight = model.source_embed.tokens.weight
    return model.source_embed.positions.table(model.config.context, weight.device)[: model.config.context]


TABLE = seq2seq.table(
    "before", *(Drop(f"model.{side}.embed_positions.weight", _positions) for side in ("encoder", "decoder"))
)

FIELDS = seq2seq.fields(
    only={
        "normalize_before": (True,), "normalize_embedding": (False,), "static_position_embeddings": (True,),
        "add_final_layer_norm": (True,), "extra_pos_embeddings": (0, 1),
    },
    default={"decoder_start_token_id": 0, "pad_token_id": 0},
)  # fmt: skip
HEADS = {name: head for name, head in seq2seq.names("Pegasus").items() if head != "classify"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(Config, seq2seq.values(data, where, FIELDS, HEADS), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return seq2seq.written(config, FIELDS, HEADS, "pegasus")
