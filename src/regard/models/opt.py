"""OPT (Zhang et al. 2022): GPT with relu and positions that count from 2. The 350M model has its norms behind the
sublayers and a narrower embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, heads, layers
from regard.config import between
from regard.models import decoder, shared
from regard.weights import foreign
from regard.weights.table import Table, Tie, rows, with_endings

OFFSET = 2  # rows of the position table before that of the first position


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to the 125M model.

    width: of the token embedding, where it is not the stream's. before: norms stand before the sublayers, not behind
    them. final: one more stands at the end, where they stand before. bias: of all linear layers.
    """

    vocab: int = 50_272
    activation: str = "relu"
    dropout: float = 0.1
    tied: bool = True
    width: int | None = None
    before: bool = True
    final: bool = True
    bias: bool = True

    def check(self) -> Any:
        yield from super().check()
        yield from between(self, 1, shared.LARGEST, "width")
        if self.head != "language" and self.width is not None:
            yield "head", "models.fixed", {"value": "language"}
        yield from decoder.fixed(self, eps=1e-5)


def build(config: Config) -> Any:
    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def added(sublayer: Any) -> Any:
        place = {"before": norm()} if config.before else {"then": norm()}
        return layers.Residual(sublayer=sublayer, dropout=config.dropout, **place)

    def block() -> Any:
        attention = layers.Attention(decoder.every(config, bias=config.bias, output_bias=config.bias))
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation, bias=config.bias)
        return layers.Block(attention=added(attention), feed_forward=added(feed_forward))

    positions = embed.Learned(config.context, config.dim, offset=OFFSET)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions)
    vocabulary: Callable[[Any], Any] | None = None
    if config.width is not None:
        tokens.tokens = embed.Widened(config.vocab, config.width, config.dim)
        vocabulary = _narrowed(config.dim, config.width)
    final = norm() if config.before and config.final else None
    return decoder.model(config, tokens, [block() for _ in range(config.depth)], final, vocabulary=vocabulary)


def _narrowed(dim: int, width: int) -> Callable[[Any], Any]:
    """A head that goes back to the width of the embedding."""
    import torch

    def head(weight: Any) -> Any:
        return heads.Language(weight, transform=torch.nn.Linear(dim, width, bias=False))

    return head


initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=decoder.alone,
    rows=(
        *rows("""
            model.decoder.embed_tokens.weight                   embed.tokens.weight
            model.decoder.embed_positions.weight                embed.positions.weight
            model.decoder.project_in.weight                     embed.tokens.wide.weight
            model.decoder.project_out.weight                    head.transform.weight
            lm_head.weight                                      head.weight
            score.weight                                        head.out.weight
        """),
        *with_endings("""
            model.decoder.layers.*.self_attn_layer_norm         stack.blocks.*.attention_before
            model.decoder.layers.*.self_attn_layer_norm         stack.blocks.*.attention_then
            model.decoder.layers.*.self_attn.q_proj             stack.blocks.*.attention.q
            model.decoder.layers.*.self_attn.k_proj             stack.blocks.*.attention.k
            model.decoder.layers.*.self_attn.v_proj             stack.blocks.*.attention.v
            model.decoder.layers.*.self_attn.out_proj           stack.blocks.*.attention.o
            model.decoder.layers.*.final_layer_norm             stack.blocks.*.feed_forward_before
            model.decoder.layers.*.final_layer_norm             stack.blocks.*.feed_forward_then
            model.decoder.layers.*.fc1                          stack.blocks.*.feed_forward.up
            model.decoder.layers.*.fc2                          stack.blocks.*.feed_forward.down
            model.decoder.final_layer_norm                      stack.norm
            qa_outputs                                          head.span
        """, ".weight", ".bias"),
        Tie("lm_head.weight", "model.decoder.embed_tokens.weight"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim",
        "num_hidden_layers": "depth", "num_attention_heads": "heads", "ffn_dim": "hidden", "dropout": "dropout",
        "tie_word_embeddings": "tied", "word_embed_proj_dim": "width", "do_layer_norm_before": "before",
        "enable_bias": "bias",
    },
    only={"layer_norm_elementwise_affine": (True,)},
    harmless=frozenset({"attention_dropout", "activation_dropout", "layerdrop", "init_std"}),
    default={
        "dropout": 0.1, "tie_word_embeddings": True, "word_embed_proj_dim": None, "do_layer_norm_before": True,
        "enable_bias": True,
    },
)  # fmt: skip
HEADS = decoder.names("OPT", "span")
_ACTIVATION = ("activation_function", "relu")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, "_remove_final_layer_norm")
    values["width"] = None if values["width"] == values["dim"] else values["width"]
    values["final"] = data.get("_remove_final_layer_norm", False) is False
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION)
    return made | {"model_type": "opt", "_remove_final_layer_norm": not config.final, "attention_dropout": 0.0}
