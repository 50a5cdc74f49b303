"""RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): BERT, trained longer and on more, whose positions
are counted on from the id of the padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import layers
from regard.config import between
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """pad: the id of the padding; position 0 has the row after it. types: kinds of token. published: by which name."""

    vocab: int = 50_265
    eps: float = 1e-5
    types: int = 1
    pad: int = 1
    published: Literal["roberta", "xlm-roberta"] = "roberta"

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "types")
        yield from between(self, 0, self.vocab - 1, "pad")


def build(config: Config) -> Any:
    tokens = encoder.tokens(config, types=config.types, offset=config.pad + 1)
    stack = layers.Stack([encoder.block(config, encoder.attention(config)) for _ in range(config.depth)])
    head = encoder.head(config, tokens, transform="gelu", pooler="tanh", pooled="tanh")
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise

TABLE = encoder.table(
    "roberta.",
    *encoder.body("roberta."),
    *encoder.ends("""
        roberta.pooler.dense                     head.dense
        roberta.pooler.dense                     head.pooler.dense
        lm_head.dense                            head.transform.linear
        lm_head.layer_norm                       head.transform.norm
        classifier.dense                         head.pool.dense
        classifier.out_proj                      head.out
        classifier                               head.tag
        classifier                               head.choice
        qa_outputs                               head.span
    """),
    *rows("lm_head.bias                          head.bias"),
    *encoder.tied("roberta.", "lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.bias"),
    *encoder.unused("roberta.pooler.dense"),
)

FIELDS = encoder.fields(
    same={"type_vocab_size": "types", "pad_token_id": "pad"},
    default={"type_vocab_size": 2, "pad_token_id": 1},
)
HEADS = {"roberta": encoder.names("Roberta"), "xlm-roberta": encoder.names("XLMRoberta")}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    published = data.get("model_type", "roberta")
    values = encoder.values(data, where, FIELDS, HEADS[published]) | {"published": published}
    return foreign.config(Config, values | encoder.counted(values, values["pad"], where), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = encoder.written(config, FIELDS, HEADS[config.published], config.published)
    rows = config.context + config.pad + 1
    return made | {"max_position_embeddings": rows}
