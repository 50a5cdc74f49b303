"""MPNet (Song et al. 2020): RoBERTa with T5's buckets of distances, taught to predict tokens in a permuted order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import layers
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import Drop, rows

_BUCKETS, _PAD = 32, 1  # numbers that no file of this family changes


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """Sizes default to the base model."""

    vocab: int = 30_527
    eps: float = 1e-5


def build(config: Config) -> Any:
    tokens = encoder.tokens(config, offset=_PAD + 1)
    position = layers.Buckets(config.heads, buckets=_BUCKETS, furthest=128, both_sides=True)
    blocks = [encoder.block(config, encoder.attention(config, position=position)) for _ in range(config.depth)]
    head = encoder.head(config, tokens, transform="gelu", pooler="tanh", pooled="tanh")
    return shared.transformer(config, tokens, layers.Stack(blocks), head, causal=False)


initialise = encoder.initialise

TABLE = encoder.table(
    "mpnet.",
    *rows("""
        mpnet.embeddings.word_embeddings.weight            embed.tokens.weight
        mpnet.embeddings.position_embeddings.weight        embed.positions.weight
        mpnet.encoder.relative_attention_bias.weight       stack.blocks.0.attention.position.weight
    """),
    *encoder.ends("""
        mpnet.embeddings.LayerNorm                         embed.norm
        mpnet.encoder.layer.*.attention.attn.q             stack.blocks.*.attention.q
        mpnet.encoder.layer.*.attention.attn.k             stack.blocks.*.attention.k
        mpnet.encoder.layer.*.attention.attn.v             stack.blocks.*.attention.v
        mpnet.encoder.layer.*.attention.attn.o             stack.blocks.*.attention.o
        mpnet.encoder.layer.*.attention.LayerNorm          stack.blocks.*.attention_then
        mpnet.encoder.layer.*.intermediate.dense           stack.blocks.*.feed_forward.up
        mpnet.encoder.layer.*.output.dense                 stack.blocks.*.feed_forward.down
        mpnet.encoder.layer.*.output.LayerNorm             stack.blocks.*.feed_forward_then
        mpnet.pooler.dense                                 head.dense
        mpnet.pooler.dense                                 head.pooler.dense
        lm_head.dense                                      head.transform.linear
        lm_head.layer_norm                                 head.transform.norm
        classifier.dense                                   head.pool.dense
        classifier.out_proj                                head.out
        classifier                                         head.tag
        classifier                                         head.choice
        qa_outputs                                         head.span
    """),
    *rows("lm_head.bias                                    head.bias"),
    *encoder.tied("mpnet.", "lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.bias"),
    *encoder.unused("mpnet.pooler.dense"),
    Drop("mpnet.embeddings.position_ids"),
)

FIELDS = encoder.fields(only={"relative_attention_num_buckets": (_BUCKETS,)})
HEADS = encoder.names("MPNet")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = encoder.values(data, where, FIELDS, HEADS)
    return foreign.config(Config, values | encoder.counted(values, _PAD, where), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = encoder.written(config, FIELDS, HEADS, "mpnet")
    rows = config.context + _PAD + 1
    return made | {"max_position_embeddings": rows}
