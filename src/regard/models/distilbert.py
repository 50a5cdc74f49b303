"""DistilBERT (Sanh et al. 2019): half of BERT's layers, taught by the whole; no sentence types and no pooler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import layers
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import Drop, rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """Sizes default to the published model."""

    depth: int = 6


def build(config: Config) -> Any:
    tokens = encoder.tokens(config)
    stack = layers.Stack([encoder.block(config, encoder.attention(config)) for _ in range(config.depth)])
    head = encoder.head(config, tokens, transform=config.activation, pooler="relu", pooled=None)
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise

TABLE = encoder.table(
    "distilbert.",
    *rows("""
        distilbert.embeddings.word_embeddings.weight         embed.tokens.weight
        distilbert.embeddings.position_embeddings.weight     embed.positions.weight
    """),
    *encoder.ends("""
        distilbert.embeddings.LayerNorm                      embed.norm
        distilbert.transformer.layer.*.attention.q_lin       stack.blocks.*.attention.q
        distilbert.transformer.layer.*.attention.k_lin       stack.blocks.*.attention.k
        distilbert.transformer.layer.*.attention.v_lin       stack.blocks.*.attention.v
        distilbert.transformer.layer.*.attention.out_lin     stack.blocks.*.attention.o
        distilbert.transformer.layer.*.sa_layer_norm         stack.blocks.*.attention_then
        distilbert.transformer.layer.*.ffn.lin1              stack.blocks.*.feed_forward.up
        distilbert.transformer.layer.*.ffn.lin2              stack.blocks.*.feed_forward.down
        distilbert.transformer.layer.*.output_layer_norm     stack.blocks.*.feed_forward_then
        vocab_transform                                      head.transform.linear
        vocab_layer_norm                                     head.transform.norm
        pre_classifier                                       head.pool.dense
        pre_classifier                                       head.pooler.dense
        classifier                                           head.out
        classifier                                           head.tag
        classifier                                           head.choice
        qa_outputs                                           head.span
    """),
    *rows("vocab_projector.bias                              head.bias"),
    *encoder.tied("distilbert.", "vocab_projector.weight"),
    Drop("distilbert.embeddings.position_ids"),
)

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "dim": "dim", "n_layers": "depth",
        "n_heads": "heads", "hidden_dim": "hidden", "dropout": "dropout",
        "attention_dropout": "attention_dropout",
    },
    only={"sinusoidal_pos_embds": (False, True), "tie_word_embeddings": (True,)},
    harmless=frozenset({"qa_dropout", "seq_classif_dropout", "tie_weights_"}),
    default={"dropout": 0.1, "attention_dropout": 0.1, "max_position_embeddings": 512},
)  # fmt: skip
HEADS = encoder.names("DistilBert")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs. Positions that began as sinusoids are stored, and read, as what they became."""
    values = encoder.values(data, where, FIELDS, HEADS, act="activation")
    return foreign.config(Config, values | {"eps": 1e-12}, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return encoder.written(config, FIELDS, HEADS, "distilbert", act="activation")
