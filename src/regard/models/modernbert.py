"""ModernBERT (Warner et al. 2024): an encoder of today's parts: rotary positions, gated feed-forward, norms before the
sublayers and no biases; two layers of three see only their neighbourhood, and turn by a base of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import Fused, Table, Tie, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Bases:
    """Of the rotary positions of the layers that see all, and of those that see ``window`` tokens around each."""

    full: float = 160_000.0
    local: float = 10_000.0
    window: int = 128

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 2, shared.LARGEST, "window")
        for name in ("full", "local"):
            if not getattr(self, name) > 1.0:
                yield name, "models.base", {}


@dataclass(frozen=True, kw_only=True)
class Biases:
    """Which layers have one: attention, feed_forward, norms, transform (before a decision), vocabulary."""

    attention: bool = False
    feed_forward: bool = False
    norms: bool = False
    transform: bool = False
    vocabulary: bool = True


_BASES, _BIASES = Bases(), Biases()


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the base model. every: each so-manieth layer, from the first, sees the whole text. pool: what a
    decision on a whole sequence is read off. transform: the activation before a decision. pad: the id of the padding.
    labels: the classes."""

    vocab: int = 50_368
    context: int = 8192
    dim: int = 768
    depth: int = 22
    heads: int = 12
    hidden: int = 1152
    every: int = 3
    bases: Bases = _BASES
    bias: Biases = _BIASES
    activation: str = "gelu"
    transform: str = "gelu"
    pool: Literal["first", "mean"] = "first"
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float | None = None
    hidden_dropout: float = 0.0
    pad: int = 50_283
    head: encoder.Head = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden", "every")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout", "hidden_dropout")
        yield from between(self, 0, self.vocab - 1, "pad")
        yield from shared.check_heads(self)
        if self.dim // self.heads % 2:
            yield "heads", "models.even", {}
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def build(config: Config) -> Any:
    from regard.ops import rotary

    head_dim, rate = config.dim // config.heads, encoder.attention_rate(config)
    wide = layers.Rotary(rotary.frequencies(head_dim, config.bases.full))
    near = layers.Rotary(rotary.frequencies(head_dim, config.bases.local))
    window = layers.Mask(window=config.bases.window // 2 + 1)

    def block(number: int) -> Any:
        local = number % config.every != 0
        projection = layers.Grouped(
            dim=config.dim, heads=config.heads, kv_heads=config.heads, head_dim=head_dim,
            bias=config.bias.attention, output_bias=config.bias.attention,
        )  # fmt: skip
        attention = layers.Attention(
            projection,
            position=near if local else wide,
            mask=window if local else None,
            dropout=rate,
        )
        before = _norm(config) if number else None  # the first reads the embedding, which is normed already
        feed_forward = layers.Gated(
            config.dim, config.hidden, config.activation, bias=config.bias.feed_forward, dropout=config.hidden_dropout
        )  # fmt: skip
        return layers.Block(
            attention=layers.Residual(sublayer=attention, before=before, dropout=rate),
            feed_forward=layers.Residual(sublayer=feed_forward, before=_norm(config)),
        )

    tokens = embed.Tokens(config.vocab, config.dim, norm=_norm(config), dropout=config.dropout)
    stack = layers.Stack([block(number) for number in range(config.depth)], norm=_norm(config))
    return shared.transformer(config, tokens, stack, _head(config, tokens), causal=False)


def _norm(config: Config) -> Any:
    return layers.LayerNorm(config.dim, eps=config.eps, bias=config.bias.norms)


def _head(config: Config, tokens: Any) -> Any:
    dim, count = config.dim, len(config.labels)

    def transform() -> Any:
        return heads.Transform(dim, config.transform, _norm(config), bias=config.bias.transform)

    def decides() -> Any:
        return heads.Pool(dim, config.pool, transform=transform())

    return {
        "language": lambda: heads.Language(
            tokens.tokens.weight, bias=config.bias.vocabulary, transform=transform()
        ),
        "classify": lambda: heads.Classify(decides(), dim, count),
        "score": lambda: heads.Score(decides(), dim),
        "tag": lambda: heads.Tag(dim, count, transform=transform()),
        "span": lambda: heads.Span(dim, transform=transform()),
        "choice": lambda: heads.Choice(decides(), dim),
        "pool": lambda: heads.Pool(dim, "first"),
    }[config.head]()  # fmt: skip


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02; what writes to the residual stream is scaled down by its 2 L writes."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02, outputs=0.02 / (2 * model.config.depth) ** 0.5))


TABLE = Table(
    prefix="model.",
    rows=(
        *rows("model.embeddings.tok_embeddings.weight    embed.tokens.weight"),
        *with_endings("""
            model.embeddings.norm                        embed.norm
            model.layers.*.attn_norm                     stack.blocks.*.attention_before
            model.layers.*.attn.Wo                       stack.blocks.*.attention.o
            model.layers.*.mlp_norm                      stack.blocks.*.feed_forward_before
            model.layers.*.mlp.Wo                        stack.blocks.*.feed_forward.down
            model.final_norm                             stack.norm
            head.dense                                   head.transform.linear
            head.norm                                    head.transform.norm
            head.dense                                   head.pool.transform.linear
            head.norm                                    head.pool.transform.norm
            head.dense                                   head.pooler.transform.linear
            head.norm                                    head.pooler.transform.norm
            classifier                                   head.out
            classifier                                   head.tag
            classifier                                   head.span
            classifier                                   head.choice
        """, ".weight", ".bias"),
        *with_endings("""
            model.layers.*.attn.Wqkv                     stack.blocks.*.attention.{q,k,v}
            model.layers.*.mlp.Wi                        stack.blocks.*.feed_forward.{gate,up}
        """, ".weight", ".bias", op=Fused()),
        *rows("decoder.bias                              head.bias"),
        Tie("decoder.weight", "model.embeddings.tok_embeddings.weight"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim", "num_hidden_layers": "depth",
        "num_attention_heads": "heads", "intermediate_size": "hidden", "norm_eps": "eps",
        "embedding_dropout": "dropout", "attention_dropout": "attention_dropout", "mlp_dropout": "hidden_dropout",
        "local_attention": "bases.window", "attention_bias": "bias.attention", "mlp_bias": "bias.feed_forward",
        "norm_bias": "bias.norms", "classifier_bias": "bias.transform", "decoder_bias": "bias.vocabulary",
        "pad_token_id": "pad",
    },
    only={"tie_word_embeddings": (True,), "position_embedding_type": ("absolute",)},
    harmless=frozenset({
        "initializer_cutoff_factor", "classifier_dropout", "deterministic_flash_attn", "sparse_prediction",
        "sparse_pred_ignore_index", "reference_compile", "repad_logits_with_grad", "layer_norm_eps",
        "sliding_window",
    }),
    default={
        "norm_eps": 1e-5, "embedding_dropout": 0.0, "attention_dropout": 0.0, "mlp_dropout": 0.0,
        "local_attention": 128, "attention_bias": False, "mlp_bias": False, "norm_bias": False,
        "classifier_bias": False, "decoder_bias": True, "pad_token_id": 50_283,
    },
)  # fmt: skip
HEADS = encoder.names("ModernBert")
_POOLS = {"cls": "first", "mean": "mean"}
_OWN = frozenset({
    "classifier_activation", "classifier_pooling", "global_attn_every_n_layers", "layer_types", "rope_parameters",
    "rope_scaling", "global_rope_theta", "local_rope_theta",
})  # fmt: skip


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = encoder.values(data, where, FIELDS, HEADS, act="hidden_activation", own=_OWN)
    pool = data.get("classifier_pooling", "cls")
    if pool not in _POOLS:
        shared.refuse("classifier_pooling", pool, tuple(_POOLS), where)
    values |= {
        "pool": _POOLS[pool],
        "transform": foreign.activation(data.get("classifier_activation", "gelu"), where),
        "every": _every(data, values["depth"], where),
        "bases.full": _base(data, "full_attention", "global_rope_theta", 160_000.0, where),
        "bases.local": _base(data, "sliding_attention", "local_rope_theta", 10_000.0, where),
    }
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours, in the words of both newer and older files."""
    bases = {"full_attention": config.bases.full, "sliding_attention": config.bases.local}
    return encoder.written(config, FIELDS, HEADS, "modernbert", act="hidden_activation") | {
        "classifier_pooling": next(theirs for theirs, ours in _POOLS.items() if ours == config.pool),
        "classifier_activation": foreign.foreign_activation(config.transform),
        "global_attn_every_n_layers": config.every,
        "layer_types": _kinds(config.every, config.depth),
        "global_rope_theta": config.bases.full,
        "local_rope_theta": config.bases.local,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": base} for kind, base in bases.items()},
    }


def _kinds(every: int, depth: int) -> list[str]:
    return ["sliding_attention" if number % every else "full_attention" for number in range(depth)]


def _every(data: Mapping[str, Any], depth: Any, where: str) -> Any:
    """From the list of newer files or the number of older ones."""
    kinds = data.get("layer_types")
    if kinds is None:
        return data.get("global_attn_every_n_layers", 3)
    for step in range(1, depth + 1 if type(depth) is int and depth <= shared.DEEPEST else 1):
        if kinds == _kinds(step, depth):
            return step
    shared.refuse("layer_types", kinds, ("full_attention", "sliding_attention"), where)


def _base(data: Mapping[str, Any], kind: str, old: str, usual: float, where: str) -> Any:
    given = data.get("rope_parameters") or {}
    part = given.get(kind, {}) if isinstance(given, dict) else None
    if data.get("rope_scaling") is not None or not isinstance(part, dict) or part.keys() - {"rope_type", "rope_theta"}:
        shared.refuse("rope_parameters", data.get("rope_scaling", given), (kind, "rope_theta"), where)
    if part.get("rope_type", "default") != "default":
        shared.refuse("rope_type", part["rope_type"], ("default",), where)
    return part.get("rope_theta", data.get(old, usual))
