"""Text to image in the manner of DALL-E (Ramesh et al. 2021): a causal pre-norm stack over text tokens and then the
codes of an autoencoder, which is part of the model. Its files are ours alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, to_dict, verify
from regard.models import decoder, shared, vq
from regard.weights import foreign
from regard.weights.table import Table, rows, with_endings

READS = ("text", "image")
_IMAGES = vq.Config()


@dataclass(frozen=True, kw_only=True)
class Config:
    """text: how many tokens of a text are read. images: the autoencoder whose codes are written."""

    vocab: int = 16_384
    text: int = 64
    dim: int = 384
    depth: int = 8
    heads: int = 6
    hidden: int = 1536
    activation: str = "gelu"
    eps: float = 1e-5
    dropout: float = 0.1
    images: vq.Config = _IMAGES

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "text", "dim", "depth", "heads", "hidden")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout")
        yield from shared.check_heads(self)
        yield from shared.check_activation(self)

    @property
    def context(self) -> int:
        """Positions there are: a text, the token after it, and all codes but the last, which nothing follows."""
        rows, columns = self.images.grid
        return self.text + rows * columns


def build(config: Config) -> Any:
    import torch

    from regard.models.pictures import TextToImage

    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block() -> Any:
        attention = layers.Attention(decoder.every(config, bias=True, output_bias=True), dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention, feed_forward)

    def vocabulary(count: int) -> Any:
        return heads.Language(torch.nn.Parameter(torch.zeros(count, config.dim)))

    positions = embed.TextThenGrid(config.text, config.images.grid, config.dim)
    total = config.vocab + 2 + config.images.codes
    return TextToImage(
        config,
        embed=embed.Tokens(total, config.dim, positions=positions, dropout=config.dropout),
        stack=layers.Stack([block() for _ in range(config.depth)], norm=norm()),
        head=vocabulary(config.images.codes),
        text_head=vocabulary(config.vocab),
        images=vq.build(config.images),
    )


def initialise(model: Any, key: Any) -> Any:
    """The Transformer as GPT-2, the autoencoder as it is alone."""
    decoder.initialise(model, key)
    vq.initialise(model.images, key)
    return model


TABLE = Table(
    rows=(
        *rows("""
            embed.tokens.weight                   embed.tokens.weight
            embed.positions.text                  embed.positions.text
            embed.positions.rows                  embed.positions.rows
            embed.positions.columns               embed.positions.columns
            head.weight                           head.weight
            text_head.weight                      text_head.weight
        """),
        *with_endings("""
            stack.norm                            stack.norm
            stack.blocks.*.attention_before       stack.blocks.*.attention_before
            stack.blocks.*.feed_forward_before    stack.blocks.*.feed_forward_before
            stack.blocks.*.attention.q            stack.blocks.*.attention.q
            stack.blocks.*.attention.k            stack.blocks.*.attention.k
            stack.blocks.*.attention.v            stack.blocks.*.attention.v
            stack.blocks.*.attention.o            stack.blocks.*.attention.o
            stack.blocks.*.feed_forward.up        stack.blocks.*.feed_forward.up
            stack.blocks.*.feed_forward.down      stack.blocks.*.feed_forward.down
        """, ".weight", ".bias"),
        *vq.names("images."),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab": "vocab", "text": "text", "dim": "dim", "depth": "depth", "num_attention_heads": "heads",
        "hidden": "hidden", "activation": "activation", "eps": "eps", "dropout": "dropout", "images": "images",
    },
)  # fmt: skip


def read(data: Mapping[str, Any], where: str) -> Config:
    """A config out of a file's settings."""
    return foreign.config(Config, FIELDS.read(data, where), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """The settings of a file."""
    return FIELDS.write(config) | {"images": to_dict(config.images), "model_type": "regard_dalle"}
