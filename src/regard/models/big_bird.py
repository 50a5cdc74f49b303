"""BigBird (Zaheer et al. 2020): BERT on long texts, by blocks that see their neighbours, the ends and random others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, heads, layers
from regard.config import between
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """types: kinds of token. block: tokens in a block, None where every token sees all. random: how many blocks each
    sees at random. biased: q, k and v have a bias. scaled: token vectors are multiplied by sqrt(dim)."""

    vocab: int = 50_358
    context: int = 4096
    activation: str = "gelu_tanh"
    types: int = 2
    block: int | None = 64
    random: int = 3
    biased: bool = True
    scaled: bool = False

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "types")
        yield from between(self, 1, shared.LARGEST, "block")
        yield from between(self, 0, shared.LARGEST, "random")


def build(config: Config) -> Any:
    rate = encoder.attention_rate(config)

    def attention() -> Any:
        projection = encoder.projection(config, bias=config.biased)
        if config.block is None:
            return layers.Attention(projection, dropout=rate)
        return layers.BlockSparseAttention(projection, block=config.block, random=config.random, dropout=rate)

    tokens = embed.Tokens(
        config.vocab,
        config.dim,
        positions=embed.Learned(config.context, config.dim),
        types=config.types,
        norm=layers.LayerNorm(config.dim, eps=config.eps),
        scale=config.dim**0.5 if config.scaled else 1.0,
        dropout=config.dropout,
    )
    stack = layers.Stack([encoder.block(config, attention()) for _ in range(config.depth)])
    # A choice is made like BERT's, a class through the activation of the stack.
    pooler = "tanh" if config.head == "choice" else config.activation
    if config.head == "span":
        head = heads.Span(config.dim, deeper=encoder.block(config, None))
    else:
        head = encoder.head(config, tokens, transform=config.activation, pooler=pooler, pooled="tanh")
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise

TABLE = encoder.table(
    "bert.",
    *encoder.body("bert."),
    *encoder.ends("""
        bert.pooler                              head.dense
        bert.pooler                              head.pooler.dense
        cls.predictions.transform.dense          head.transform.linear
        cls.predictions.transform.LayerNorm      head.transform.norm
        classifier.dense                         head.pool.dense
        classifier.out_proj                      head.out
        classifier                               head.tag
        classifier                               head.choice
        qa_classifier.intermediate.dense         head.deeper.feed_forward.up
        qa_classifier.output.dense               head.deeper.feed_forward.down
        qa_classifier.output.LayerNorm           head.deeper.feed_forward_then
        qa_classifier.qa_outputs                 head.span
    """),
    *rows("cls.predictions.bias                  head.bias"),
    *encoder.tied("bert.", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "cls.predictions.bias"),
    # What the published files carry for next-sentence prediction, a task that is not trained here.
    *encoder.unused("bert.pooler", "cls.seq_relationship"),
)

FIELDS = encoder.fields(
    same={
        "type_vocab_size": "types", "num_random_blocks": "random", "use_bias": "biased", "rescale_embeddings": "scaled",
    },
    default={
        "type_vocab_size": 2, "num_random_blocks": 3, "use_bias": True, "rescale_embeddings": False,
        "max_position_embeddings": 4096,
    },
)  # fmt: skip
HEADS = encoder.names("BigBird", BigBirdForPreTraining="language")
_TYPES = ("block_sparse", "original_full")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    own = frozenset({"attention_type", "block_size"})
    values = encoder.values(data, where, FIELDS, HEADS, activation="gelu_new", own=own)
    kind = data.get("attention_type", "block_sparse")
    if kind not in _TYPES:
        shared.refuse("attention_type", kind, _TYPES, where)
    values["block"] = data.get("block_size", 64) if kind == "block_sparse" else None
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = encoder.written(config, FIELDS, HEADS, "big_bird")
    if config.block is None:
        return made | {"attention_type": "original_full"}
    return made | {"attention_type": "block_sparse", "block_size": config.block}
