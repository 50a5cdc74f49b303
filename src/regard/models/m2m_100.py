"""M2M-100 (Fan et al. 2020) and NLLB (2022), translation between any two of many languages: PEGASUS with fairseq's
sinusoids and no bias at the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed
from regard.models import seq2seq
from regard.weights import foreign


@dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Seq2Seq):
    """Sizes default to the 418M model."""

    vocab: int = 128_112
    activation: str = "relu"
    attention_dropout: float = 0.1
    scaled: bool = True

    def check(self) -> Any:
        yield from super().check()
        if self.dim % 2 or self.dim < 4:
            yield "dim", "models.even", {}


def build(config: Config) -> Any:
    return seq2seq.build(config, lambda: tokens(config), "before", bias=False)


def tokens(config: Any) -> Any:
    """Tokens and sinusoids."""
    scale = config.dim**0.5 if config.scaled else 1.0
    return embed.Tokens(
        config.vocab, config.dim, positions=sinusoids(config), scale=scale, dropout=config.dropout
    )  # fmt: skip


def sinusoids(config: Any) -> Any:
    """Positions that are counted from after the padding's number."""
    from regard.ops import rotary

    return embed.Sinusoidal(config.dim, angles=rotary.between(config.dim, 10_000.0), offset=config.pad + 1)


initialise = seq2seq.initialise

TABLE = seq2seq.table("before", *seq2seq.COMPUTED)

FIELDS = seq2seq.fields(
    only={
        "normalize_before": (True,), "normalize_embedding": (False,), "static_position_embeddings": (True,),
        "add_final_layer_norm": (True,), "extra_pos_embeddings": (0, 2),
    },
    default={"decoder_start_token_id": 2, "scale_embedding": True, "attention_dropout": 0.1},
)  # fmt: skip
HEADS = {name: head for name, head in seq2seq.names("M2M100").items() if head != "classify"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = seq2seq.values(data, where, FIELDS, HEADS, activation="relu")
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return seq2seq.written(config, FIELDS, HEADS, "m2m_100")
