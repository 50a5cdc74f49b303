"""ELECTRA (Clark et al. 2020): BERT with a narrower embedding, taught to tell which tokens a generator replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import heads, layers
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """Sizes default to the small model. width: that of the embedding. types: kinds of token."""

    dim: int = 256
    heads: int = 4
    hidden: int = 1024
    width: int = 128
    types: int = 2
    head: Literal["language", "classify", "score", "tag", "span", "choice", "pool", "discriminate"] = "discriminate"

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "types", "width")


def build(config: Config) -> Any:
    tokens = encoder.tokens(config, types=config.types, width=config.width)
    stack = layers.Stack([encoder.block(config, encoder.attention(config)) for _ in range(config.depth)])
    if config.head == "discriminate":
        head = heads.Discriminate(config.dim, config.activation)
    else:
        head = encoder.head(config, tokens, transform="gelu", pooler="gelu", pooled=None)
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise

TABLE = encoder.table(
    "electra.",
    *encoder.body("electra."),
    *encoder.ends("""
        electra.embeddings_project                   embed.project
        discriminator_predictions.dense              head.linear
        discriminator_predictions.dense_prediction   head.replaced
        generator_predictions.dense                  head.transform.linear
        generator_predictions.LayerNorm              head.transform.norm
        classifier.dense                             head.pool.dense
        classifier.out_proj                          head.out
        sequence_summary.summary                     head.pooler.dense
        classifier                                   head.choice
        classifier                                   head.tag
        qa_outputs                                   head.span
    """),
    *rows("generator_lm_head.bias                    head.bias"),
    *encoder.tied("electra.", "generator_lm_head.weight"),
)

FIELDS = encoder.fields(
    same={"type_vocab_size": "types", "embedding_size": "width"},
    only={"summary_type": ("first",), "summary_use_proj": (True,), "summary_activation": ("gelu",)},
    harmless=frozenset({"summary_last_dropout"}),
    default={"type_vocab_size": 2, "embedding_size": 128},
)
HEADS = encoder.names("Electra", ElectraForPreTraining="discriminate")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(Config, encoder.values(data, where, FIELDS, HEADS), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return encoder.written(config, FIELDS, HEADS, "electra")
