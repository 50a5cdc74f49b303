"""mBART (Liu et al. 2020): BART in many languages, with its norms before the sublayers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard.models import bart, seq2seq
from regard.weights import foreign


@dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Seq2Seq):
    """Sizes default to the published model. start: usually the code of the target's language."""

    vocab: int = 250_027
    scaled: bool = True


def build(config: Config) -> Any:
    return seq2seq.build(config, lambda: bart.tokens(config), "before")


initialise = seq2seq.initialise

TABLE = seq2seq.table("before")

FIELDS = seq2seq.fields(
    only={
        "normalize_before": (True,), "normalize_embedding": (True,), "static_position_embeddings": (False,),
        "add_final_layer_norm": (True,), "extra_pos_embeddings": (bart.OFFSET,),
    },
    default={"decoder_start_token_id": None},
)  # fmt: skip
HEADS = seq2seq.names("MBart") | {"MBartForQuestionAnswering": "span"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs; where no language is named, a target begins with the end token, as when training."""
    values = seq2seq.values(data, where, FIELDS, HEADS)
    if values["start"] is None:
        values["start"] = data.get("eos_token_id", 2)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return seq2seq.written(config, FIELDS, HEADS, "mbart")
