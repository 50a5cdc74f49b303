"""BERT (Devlin et al. 2018): the same stack seen from both sides, post-norm, learned positions and sentence types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.table import Drop, Table, Tie, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the base model. labels: the classes of a classification head."""

    vocab: int = 30_522
    context: int = 512
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    types: int = 2
    activation: str = "gelu"
    eps: float = 1e-12
    dropout: float = 0.1
    head: Literal["language", "classify", "pool"] = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden", "types")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout")
        yield from shared.check_heads(self)
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def build(config: Config) -> Any:
    head_dim = config.dim // config.heads

    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block() -> Any:
        projection = layers.Grouped(
            dim=config.dim, heads=config.heads, kv_heads=config.heads, head_dim=head_dim, bias=True, output_bias=True
        )
        attention = layers.Attention(projection, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return layers.Block(
            attention=layers.Residual(sublayer=attention, then=norm(), dropout=config.dropout),
            feed_forward=layers.Residual(sublayer=feed_forward, then=norm(), dropout=config.dropout),
        )

    positions = embed.Learned(config.context, config.dim)
    tokens = embed.Tokens(
        config.vocab, config.dim, positions=positions, types=config.types, norm=norm(), dropout=config.dropout
    )
    stack = layers.Stack([block() for _ in range(config.depth)])
    return shared.transformer(config, tokens, stack, _head(config, tokens, norm()), causal=False)


def _head(config: Config, tokens: Any, norm: Any) -> Any:
    if config.head == "language":
        transform = heads.Transform(config.dim, config.activation, norm)
        return heads.Language(tokens.tokens.weight, bias=True, transform=transform)
    pool = heads.Pool(config.dim, "first", dense=True)
    if config.head == "pool":
        return pool
    return heads.Classify(pool, config.dim, len(config.labels), dropout=config.dropout)


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02 throughout (appendix A.2)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02))


TABLE = Table(
    prefix="bert.",
    rows=(
        *rows("""
            bert.embeddings.word_embeddings.weight              embed.tokens.weight
            bert.embeddings.position_embeddings.weight          embed.positions.weight
            bert.embeddings.token_type_embeddings.weight        embed.types.weight
        """),
        *with_endings("""
            bert.embeddings.LayerNorm                           embed.norm
            bert.encoder.layer.*.attention.self.query           stack.blocks.*.attention.q
            bert.encoder.layer.*.attention.self.key             stack.blocks.*.attention.k
            bert.encoder.layer.*.attention.self.value           stack.blocks.*.attention.v
            bert.encoder.layer.*.attention.output.dense         stack.blocks.*.attention.o
            bert.encoder.layer.*.attention.output.LayerNorm     stack.blocks.*.attention_then
            bert.encoder.layer.*.intermediate.dense             stack.blocks.*.feed_forward.up
            bert.encoder.layer.*.output.dense                   stack.blocks.*.feed_forward.down
            bert.encoder.layer.*.output.LayerNorm               stack.blocks.*.feed_forward_then
            cls.predictions.transform.dense                     head.transform.linear
            cls.predictions.transform.LayerNorm                 head.transform.norm
            classifier                                          head.out
        """, ".weight", ".bias"),
        *with_endings("bert.pooler.dense                        head.dense", ".weight", ".bias"),
        *with_endings("bert.pooler.dense                        head.pool.dense", ".weight", ".bias"),
        *rows("cls.predictions.bias                             head.bias"),
        Tie("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        Tie("cls.predictions.decoder.bias", "cls.predictions.bias"),
        Drop("bert.embeddings.position_ids"),
        # What the original files carry for next-sentence prediction, a task that is not trained here.
        *(Drop(f"bert.pooler.dense.{end}") for end in ("weight", "bias")),
        *(Drop(f"cls.seq_relationship.{end}") for end in ("weight", "bias")),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim", "num_hidden_layers": "depth",
        "num_attention_heads": "heads", "intermediate_size": "hidden", "type_vocab_size": "types",
        "layer_norm_eps": "eps", "hidden_dropout_prob": "dropout",
    },
    only={
        "position_embedding_type": ("absolute",), "tie_word_embeddings": (True,),
    },
    harmless=frozenset({
        "attention_probs_dropout_prob", "classifier_dropout", "is_encoder_decoder", "directionality",
        "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
    }),
    default={"layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "type_vocab_size": 2, "max_position_embeddings": 512},
)  # fmt: skip
HEADS = {"BertForMaskedLM": "language", "BertForSequenceClassification": "classify", "BertModel": "pool"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = FIELDS.read(data, where, understood=frozenset({"hidden_act"}))
    head = shared.foreign_head(data, HEADS, "BertModel", where)
    values |= {
        "activation": foreign.activation(data.get("hidden_act", "gelu"), where),
        "head": head,
        "labels": foreign.labels(data, where) if head == "classify" else (),
    }
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = FIELDS.write(config) | {
        "model_type": "bert",
        "architectures": [shared.architecture(HEADS, config.head)],
        "hidden_act": foreign.foreign_activation(config.activation),
        "attention_probs_dropout_prob": config.dropout,
    }
    return made | (foreign.with_labels(config.labels) if config.labels else {})
