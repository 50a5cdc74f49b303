"""Image GPT (Chen et al. 2020): GPT-2 over the pixels of a small image, row by row, each the number of its colour;
norms divide by the root mean square, and nothing predicts the token that every image begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem, between
from regard.models import decoder, gpt2, shared
from regard.weights import foreign
from regard.weights.table import Table, rows

READS = ("image",)


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to the small model. vocab: the colours, and the token an image begins with, which is the last."""

    vocab: int = 513
    context: int = 1024
    dim: int = 512
    depth: int = 24
    heads: int = 8
    hidden: int = 2048
    activation: str = "quick_gelu"
    dropout: float = 0.1

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from between(self, 2, shared.LARGEST, "vocab")
        yield from decoder.fixed(self, tied=False)
        if self.head not in ("language", "classify", "score", "pool"):
            yield "head", "models.fixed", {"value": "language"}

    @property
    def start(self) -> int:
        """The token that every image begins with."""
        return self.vocab - 1


def build(config: Config) -> Any:
    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps)

    def block() -> Any:
        attention = layers.Attention(decoder.every(config, bias=True, output_bias=True), dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention, feed_forward)

    positions = embed.Learned(config.context, config.dim)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    stack = layers.Stack([block() for _ in range(config.depth)], norm=norm())
    return shared.transformer(config, tokens, stack, _head(config), causal=True)


def _head(config: Config) -> Any:
    import torch

    pool = heads.Pool(config.dim, "mean")
    if config.head == "classify":
        return heads.Classify(pool, config.dim, len(config.labels), bias=False)
    if config.head == "score":
        return heads.Score(pool, config.dim, bias=False)
    if config.head == "pool":
        return pool
    return heads.Language(torch.nn.Parameter(torch.zeros(config.vocab - 1, config.dim)))


initialise = decoder.initialise

TABLE = Table(
    prefix="transformer.",
    instead=decoder.alone,
    rows=(
        *rows("""
            transformer.wte.weight                embed.tokens.weight
            transformer.wpe.weight                embed.positions.weight
            transformer.h.*.ln_1.weight           stack.blocks.*.attention_before.weight
            transformer.h.*.ln_2.weight           stack.blocks.*.feed_forward_before.weight
            transformer.ln_f.weight               stack.norm.weight
            lm_head.weight                        head.weight
            score.weight                          head.out.weight
        """),
        *gpt2.BLOCK,
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "n_positions": "context", "n_embd": "dim", "n_layer": "depth", "n_head": "heads",
        "n_inner": "hidden", "layer_norm_epsilon": "eps", "resid_pdrop": "dropout",
    },
    only={
        "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False, True), "tie_word_embeddings": (False,),
    },
    harmless=frozenset({"embd_pdrop", "attn_pdrop"}),
    default={
        "n_positions": 1024, "n_inner": None, "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1,
    },
)  # fmt: skip
HEADS = {
    "ImageGPTForCausalImageModeling": "language", "ImageGPTForImageClassification": "classify", "ImageGPTModel": "pool",
}  # fmt: skip
_ACTIVATION = ("activation_function", "quick_gelu")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION)
    decoder.fill_hidden(values)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION)
    return made | {"model_type": "imagegpt", "embd_pdrop": config.dropout, "attn_pdrop": config.dropout}
