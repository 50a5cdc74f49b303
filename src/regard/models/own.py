"""What the families share for which nobody else has a layout: their files bear our own names of layers and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import decoder, shared
from regard.weights import foreign
from regard.weights.table import Table, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Own:
    """A pre-norm stack. causal: tokens see those before, and the model writes; else it fills
    gaps. labels: the classes of a sequence or, with head "tag", of a token."""

    vocab: int = 32_000
    context: int = 8192
    dim: int = 512
    depth: int = 6
    heads: int = 8
    hidden: int = 2048
    activation: str = "gelu"
    eps: float = 1e-5
    dropout: float = 0.1
    causal: bool = True
    tied: bool = True
    head: Literal["language", "classify", "score", "tag", "pool"] = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout")
        yield from shared.check_heads(self)
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def model(config: Own, attention: Callable[[], Any], *, places: bool = True) -> Any:
    """The model whose blocks each hold an ``attention()``. places: each position has a vector of its own."""

    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block() -> Any:
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention(), feed_forward)

    positions = embed.Learned(config.context, config.dim) if places else None
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    stack = layers.Stack([block() for _ in range(config.depth)], norm=norm())
    return shared.transformer(config, tokens, stack, _head(config, tokens), causal=config.causal)


def projection(config: Own) -> Any:
    """Heads that divide the width, with biases."""
    return decoder.every(config, bias=True, output_bias=True)  # type: ignore[arg-type]


def _head(config: Own, tokens: Any) -> Any:
    """A sequence is judged by its first token where all see all, by its last where that alone has seen the rest."""
    dim, count, rate = config.dim, len(config.labels), config.dropout
    pool = heads.Pool(dim, "last" if config.causal else "first")
    return {
        "language": lambda: heads.Language(shared.vocabulary(config, tokens)),
        "classify": lambda: heads.Classify(pool, dim, count, dropout=rate),
        "score": lambda: heads.Score(pool, dim, dropout=rate),
        "tag": lambda: heads.Tag(dim, count, dropout=rate),
        "pool": lambda: pool,
    }[config.head]()


def table(*further: str) -> Table:
    """Every parameter under its own name, and ``further`` ones."""
    weights = ("embed.tokens.weight", "embed.positions.weight", "head.weight", *further)
    ends = ("stack.norm", "head.out", "head.tag", *(f"stack.blocks.*.{name}" for name in _LAYERS))
    return Table(
        rows=(
            *rows("\n".join(f"{name} {name}" for name in weights)),
            *with_endings("\n".join(f"{name} {name}" for name in ends), ".weight", ".bias"),
        )
    )


_LAYERS = (
    "attention_before", "attention.q", "attention.k", "attention.v", "attention.o", "feed_forward_before",
    "feed_forward.up", "feed_forward.down",
)  # fmt: skip


def read(cls: Any, data: Mapping[str, Any], where: str) -> Any:
    """A config out of its file; every setting has to be there."""
    known = settings(cls)
    values = known.read(data, where) | {"labels": foreign.labels(data, where) if data.get("id2label") else ()}
    return foreign.config(cls, values, where, known)


def write(config: Own, model_type: str) -> dict[str, Any]:
    """Its file."""
    made = settings(type(config)).write(config) | {"model_type": model_type}
    made["architectures"] = [f"{model_type}-{config.head}"]
    return made | (foreign.with_labels(config.labels) if config.labels else {})


def settings(cls: Any) -> foreign.Fields:
    """What a file says: every field of the config under its own name."""
    return foreign.Fields(same={one.name: one.name for one in fields(cls) if one.name != "labels"})
