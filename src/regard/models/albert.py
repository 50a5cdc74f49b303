"""ALBERT (Lan et al. 2019): BERT whose layers share their weights, with a factorised embedding."""

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
    """Sizes default to the base model. groups: sets of weights that the layers share, neighbours the same one.
    width: that of the embedding."""

    vocab: int = 30_000
    activation: str = "gelu_tanh"
    dropout: float = 0.0
    width: int = 128
    groups: int = 1
    types: int = 2

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "types", "width", "groups")
        if self.groups > self.depth:
            yield "groups", "models.groups", {"depth": self.depth}


def build(config: Config) -> Any:
    tokens = encoder.tokens(config, types=config.types, width=config.width)
    blocks = [encoder.block(config, encoder.attention(config)) for _ in range(config.groups)]
    order = [layer * config.groups // config.depth for layer in range(config.depth)]
    stack = layers.Stack(blocks, order=order)
    head = encoder.head(config, tokens, transform=config.activation, pooler="tanh", pooled="tanh")
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise

_LAYER = "albert.encoder.albert_layer_groups.*.albert_layers.0"
TABLE = encoder.table(
    "albert.",
    *rows("""
        albert.embeddings.word_embeddings.weight           embed.tokens.weight
        albert.embeddings.position_embeddings.weight       embed.positions.weight
        albert.embeddings.token_type_embeddings.weight     embed.types.weight
    """),
    *encoder.ends(f"""
        albert.embeddings.LayerNorm                        embed.norm
        albert.encoder.embedding_hidden_mapping_in         embed.project
        {_LAYER}.attention.query                           stack.blocks.*.attention.q
        {_LAYER}.attention.key                             stack.blocks.*.attention.k
        {_LAYER}.attention.value                           stack.blocks.*.attention.v
        {_LAYER}.attention.dense                           stack.blocks.*.attention.o
        {_LAYER}.attention.LayerNorm                       stack.blocks.*.attention_then
        {_LAYER}.ffn                                       stack.blocks.*.feed_forward.up
        {_LAYER}.ffn_output                                stack.blocks.*.feed_forward.down
        {_LAYER}.full_layer_layer_norm                     stack.blocks.*.feed_forward_then
        albert.pooler                                      head.dense
        albert.pooler                                      head.pool.dense
        albert.pooler                                      head.pooler.dense
        predictions.dense                                  head.transform.linear
        predictions.LayerNorm                              head.transform.norm
        classifier                                         head.out
        classifier                                         head.tag
        classifier                                         head.choice
        qa_outputs                                         head.span
    """),
    *rows("predictions.bias                                head.bias"),
    *encoder.tied("albert.", "predictions.decoder.weight", "predictions.decoder.bias", "predictions.bias"),
    # Beside a vocabulary the published files tell the order of two texts, which is not trained here along with it.
    *encoder.unused("albert.pooler", "sop_classifier.classifier"),
    Drop("albert.embeddings.position_ids"),
)  # fmt: skip

FIELDS = encoder.fields(
    same={"type_vocab_size": "types", "embedding_size": "width", "num_hidden_groups": "groups"},
    only={"inner_group_num": (1,), "net_structure_type": (0,), "gap_size": (0,), "num_memory_blocks": (0,)},
    harmless=frozenset({"classifier_dropout_prob", "down_scale_factor", "layers_to_keep"}),
    default={
        "type_vocab_size": 2,
        "embedding_size": 128,
        "num_hidden_groups": 1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
)
HEADS = encoder.names("Albert", AlbertForPreTraining="language")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = encoder.values(data, where, FIELDS, HEADS, activation="gelu_new")
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return encoder.written(config, FIELDS, HEADS, "albert")
