"""Reformer (Kitaev et al. 2020): attention to neighbouring chunks and to what a hash brings together, a stack that can
be run backwards, and positions on a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import lcm
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import Drop, Table, Tie, column, row, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """Chunks of ``size`` tokens see so many ``before`` and ``after`` them; dropout is that of their weights."""

    size: int = 64
    before: int = 1
    after: int = 0
    dropout: float = 0.05

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "size")
        yield from between(self, 0, shared.LARGEST, "before", "after")
        yield from between(self, 0.0, 0.99, "dropout")


_LOCAL, _HASHED = Chunks(), Chunks(dropout=0.0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the small model. kinds: of each layer's attention. buckets: how many directions a hash tells
    apart, as factors, None by the length; hashes: how many of them. grid: rows and columns of positions, None where
    each has a vector of its own; parts: the widths of a row's and of a column's. causal: tokens see those before.
    """

    vocab: int = 320
    context: int = 4096
    dim: int = 256
    heads: int = 12
    head_dim: int = 64
    hidden: int = 512
    kinds: tuple[Literal["local", "lsh"], ...] = ("local", "lsh") * 3
    local: Chunks = _LOCAL
    lsh: Chunks = _HASHED
    buckets: tuple[int, ...] | None = None
    hashes: int = 1
    seed: int | None = None
    grid: tuple[int, int] | None = (64, 64)
    parts: tuple[int, int] = (64, 192)
    activation: str = "relu"
    eps: float = 1e-12
    dropout: float = 0.05
    causal: bool = True
    head: Literal["language", "classify", "score", "span", "pool"] = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    @property
    def depth(self) -> int:
        return len(self.kinds)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "heads", "head_dim", "hidden", "hashes")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout")
        yield from shared.check_head(self)
        yield from shared.check_activation(self)
        if not 1 <= self.depth <= shared.DEEPEST:
            yield "kinds", "config.between", {"least": 1, "most": shared.DEEPEST}
        if self.buckets is not None and (not self.buckets or any(count < 2 or count % 2 for count in self.buckets)):
            yield "buckets", "models.even", {}
        if self.grid is not None and (min(self.grid) < 1 or self.grid[0] * self.grid[1] > shared.LARGEST):
            yield "grid", "config.between", {"least": 1, "most": shared.LARGEST}
        if self.grid is not None and (sum(self.parts) != self.dim or min(self.parts) < 1):
            yield "parts", "models.parts", {"dim": self.dim}
        for name in ("local", "lsh"):
            if self.causal and getattr(self, name).after:
                yield name, "models.after", {}


def build(config: Config) -> Any:
    def norm(dim: int = config.dim) -> Any:
        return layers.LayerNorm(dim, eps=config.eps)

    def block(kind: str) -> Any:
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation, dropout=config.dropout)
        return layers.Block(
            attention=layers.Residual(sublayer=_attention(config, kind), before=norm(), dropout=config.dropout),
            feed_forward=layers.Residual(sublayer=feed_forward, before=norm(), dropout=config.dropout),
        )

    if config.grid is None:
        positions = embed.Learned(config.context, config.dim)
    else:
        positions = embed.Axial(config.grid, config.parts)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    stack = layers.Reversible([block(kind) for kind in config.kinds], norm=norm(2 * config.dim))
    return shared.transformer(config, tokens, stack, _head(config), causal=config.causal)


def _attention(config: Config, kind: str) -> Any:
    sizes = [getattr(config, name).size for name in set(config.kinds)]
    wants = getattr(config, kind)
    cut = layers.Cut(size=wants.size, before=wants.before, after=wants.after, align=lcm(*sizes), least=min(sizes))
    if kind == "local":
        projection = layers.Grouped(
            dim=config.dim, heads=config.heads, kv_heads=config.heads, head_dim=config.head_dim
        )  # fmt: skip
        return layers.ChunkAttention(projection, cut=cut, dropout=wants.dropout)
    projection = layers.SharedQK(dim=config.dim, heads=config.heads, head_dim=config.head_dim)
    return layers.HashedAttention(
        projection, cut=cut, hashes=config.hashes, longest=config.context, buckets=config.buckets,
        seed=config.seed or 0, dropout=wants.dropout,
    )  # fmt: skip


def _head(config: Config) -> Any:
    wide, count, rate = 2 * config.dim, len(config.labels), config.dropout
    pool = heads.Pool(wide, "first", dense=True, width=config.dim)
    return {
        "language": lambda: heads.Language(_vocabulary(config.vocab, wide), bias=True),
        "classify": lambda: heads.Classify(pool, config.dim, count, dropout=rate),
        "score": lambda: heads.Score(pool, config.dim, dropout=rate),
        "span": lambda: heads.Span(wide),
        "pool": lambda: heads.Pool(wide, "first"),
    }[config.head]()


def _vocabulary(vocab: int, dim: int) -> Any:
    import torch

    return torch.nn.Parameter(torch.zeros(vocab, dim))


initialise = encoder.initialise

TABLE = Table(
    prefix="reformer.",
    rows=(
        *rows("""
            reformer.embeddings.word_embeddings.weight                            embed.tokens.weight
            reformer.embeddings.position_embeddings.embedding.weight              embed.positions.weight
            reformer.encoder.layers.*.attention.self_attention.query_key.weight   stack.blocks.*.attention.qk.weight
            reformer.encoder.layers.*.attention.self_attention.query.weight       stack.blocks.*.attention.q.weight
            reformer.encoder.layers.*.attention.self_attention.key.weight         stack.blocks.*.attention.k.weight
            reformer.encoder.layers.*.attention.self_attention.value.weight       stack.blocks.*.attention.v.weight
            reformer.encoder.layers.*.attention.output.dense.weight               stack.blocks.*.attention.o.weight
            lm_head.decoder.weight                                                head.weight
            lm_head.bias                                                          head.bias
        """),
        *rows("reformer.embeddings.position_embeddings.weights.0                  embed.positions.rows", column),
        *rows("reformer.embeddings.position_embeddings.weights.1                  embed.positions.columns", row),
        *with_endings("""
            reformer.encoder.layers.*.attention.layer_norm           stack.blocks.*.attention_before
            reformer.encoder.layers.*.feed_forward.layer_norm        stack.blocks.*.feed_forward_before
            reformer.encoder.layers.*.feed_forward.dense.dense       stack.blocks.*.feed_forward.up
            reformer.encoder.layers.*.feed_forward.output.dense      stack.blocks.*.feed_forward.down
            reformer.encoder.layer_norm                              stack.norm
            classifier.dense                                         head.pool.dense
            classifier.out_proj                                      head.out
            qa_outputs                                               head.span
        """, ".weight", ".bias"),
        Tie("lm_head.decoder.bias", "lm_head.bias"),
        # Numbers that older files hold beside each attention: what is put in the place of hidden scores.
        *(
            Drop(f"reformer.encoder.layers.*.attention.self_attention.{name}_float{bits}")
            for name in ("self_mask_value", "mask_value")
            for bits in (16, 32)
        ),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim",
        "num_attention_heads": "heads", "attention_head_size": "head_dim", "feed_forward_size": "hidden",
        "attn_layers": "kinds", "hidden_dropout_prob": "dropout", "layer_norm_eps": "eps", "num_hashes": "hashes",
        "hash_seed": "seed", "axial_pos_embds_dim": "parts",
        "local_attn_chunk_length": "local.size", "local_num_chunks_before": "local.before",
        "local_num_chunks_after": "local.after", "local_attention_probs_dropout_prob": "local.dropout",
        "lsh_attn_chunk_length": "lsh.size", "lsh_num_chunks_before": "lsh.before",
        "lsh_num_chunks_after": "lsh.after", "lsh_attention_probs_dropout_prob": "lsh.dropout",
    },
    only={"tie_word_embeddings": (False,), "is_decoder": (False, True)},
    harmless=frozenset({
        "axial_norm_std", "chunk_size_lm_head", "classifier_dropout", "num_hidden_layers",
        "intermediate_size", "attention_probs_dropout_prob", "num_chunks_before", "num_chunks_after",
        "type_vocab_size", "sinusoidal_pos_embds",
    }),
    default={
        "hidden_dropout_prob": 0.05, "layer_norm_eps": 1e-12, "num_hashes": 1, "hash_seed": None,
        "axial_pos_embds_dim": (64, 192),
        "local_attn_chunk_length": 64, "local_num_chunks_before": 1, "local_num_chunks_after": 0,
        "local_attention_probs_dropout_prob": 0.05, "lsh_attn_chunk_length": 64, "lsh_num_chunks_before": 1,
        "lsh_num_chunks_after": 0, "lsh_attention_probs_dropout_prob": 0.0,
    },
)  # fmt: skip
HEADS = {
    "ReformerModel": "pool",
    "ReformerModelWithLMHead": "language",
    "ReformerForMaskedLM": "language",
    "ReformerForSequenceClassification": "classify",
    "ReformerForQuestionAnswering": "span",
}
_OWN = frozenset({"num_buckets", "axial_pos_embds", "axial_pos_shape"})


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = encoder.values(data, where, FIELDS, HEADS, activation="relu", own=_OWN)
    buckets, axial = data.get("num_buckets"), data.get("axial_pos_embds", True)
    if type(axial) is not bool:
        shared.refuse("axial_pos_embds", axial, (True, False), where)
    values |= {
        "buckets": [buckets] if type(buckets) is int else buckets,
        "grid": data.get("axial_pos_shape", (64, 64)) if axial else None,
        "causal": data.get("is_decoder", False),
    }
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = encoder.written(config, FIELDS, HEADS, "reformer")
    if config.head == "language":
        made["architectures"] = ["ReformerModelWithLMHead" if config.causal else "ReformerForMaskedLM"]
    buckets = config.buckets
    return made | {
        "num_buckets": list(buckets) if buckets is not None and len(buckets) > 1 else (buckets or [None])[0],
        "attn_layers": list(config.kinds),
        "num_hidden_layers": config.depth,
        "is_decoder": config.causal,
        "axial_pos_embds": config.grid is not None,
        "axial_pos_shape": list(config.grid or (64, 64)),
        "axial_pos_embds_dim": list(config.parts),
    }
