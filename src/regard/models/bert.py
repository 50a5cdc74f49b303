"""BERT (Devlin et al. 2018): the same stack seen from both sides, post-norm, learned positions and sentence types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from regard import layers
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """types: kinds of token, such as those of a first and of a second sentence."""

    types: int = 2

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "types")


def build(config: Config) -> Any:
    tokens = encoder.tokens(config, types=config.types)
    stack = layers.Stack([encoder.block(config, encoder.attention(config)) for _ in range(config.depth)])
    head = encoder.head(config, tokens, transform=config.activation, pooler="tanh", pooled="tanh")
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise


def _follows(config: Any) -> bool:
    return config.head == "follows"


def _decides(config: Any) -> bool:
    return not _follows(config)


TABLE = encoder.table(
    "bert.",
    *encoder.body("bert."),
    *encoder.ends("""
        bert.pooler.dense                        head.dense
        bert.pooler.dense                        head.pool.dense
        bert.pooler.dense                        head.pooler.dense
        cls.predictions.transform.dense          head.transform.linear
        cls.predictions.transform.LayerNorm      head.transform.norm
        classifier                               head.tag
        classifier                               head.choice
        qa_outputs                               head.span
    """),
    *(replace(one, when=_decides) for one in encoder.ends("classifier head.out")),
    *rows("cls.predictions.bias                  head.bias"),
    *encoder.tied("bert.", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "cls.predictions.bias"),
    *(replace(one, when=_follows) for one in encoder.ends("cls.seq_relationship head.out")),
    # Beside a vocabulary the original files carry the same for two texts, which is not trained here along with it.
    *encoder.unused("bert.pooler.dense", "cls.seq_relationship"),
)

FIELDS = encoder.fields(
    same={"type_vocab_size": "types"},
    harmless=frozenset({
        "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
        "pooler_size_per_head", "pooler_type",
    }),
    default={"type_vocab_size": 2},
)  # fmt: skip
HEADS = encoder.names("Bert", BertForPreTraining="language", BertForNextSentencePrediction="follows")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(Config, encoder.values(data, where, FIELDS, HEADS), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return encoder.written(config, FIELDS, HEADS, "bert")
