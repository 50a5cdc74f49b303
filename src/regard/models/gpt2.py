"""GPT-2 (Radford et al. 2019): a causal stack, pre-norm, learned positions, tied vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.models import decoder
from regard.weights import foreign
from regard.weights.table import Drop, Fused, Table, Tie, rows, transpose, with_endings


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to the 124M model. scaled: scores are divided by the root of a head's width; by_layer: those of
    layer n, counted from 1, by n as well."""

    context: int = 1024
    dropout: float = 0.1
    tied: bool = True
    scaled: bool = True
    by_layer: bool = False


def build(config: Config) -> Any:
    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block(number: int) -> Any:
        projection = decoder.every(config, bias=True, output_bias=True)
        scale = (projection.head_dim**-0.5 if config.scaled else 1.0) / (number + 1 if config.by_layer else 1)
        attention = layers.Attention(projection, scale=scale, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention, feed_forward)

    positions = embed.Learned(config.context, config.dim)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    return decoder.model(config, tokens, [block(number) for number in range(config.depth)], norm())


initialise = decoder.initialise

# The layers of a block, which the first GPT names alike; matrices are stored (in, out).
BLOCK = (
    *with_endings("""
        transformer.h.*.attn.c_proj           stack.blocks.*.attention.o
        transformer.h.*.mlp.c_fc              stack.blocks.*.feed_forward.up
        transformer.h.*.mlp.c_proj            stack.blocks.*.feed_forward.down
    """, ".weight", op=transpose),
    *with_endings("""
        transformer.h.*.attn.c_proj           stack.blocks.*.attention.o
        transformer.h.*.mlp.c_fc              stack.blocks.*.feed_forward.up
        transformer.h.*.mlp.c_proj            stack.blocks.*.feed_forward.down
    """, ".bias"),
    *rows("transformer.h.*.attn.c_attn.weight    stack.blocks.*.attention.{q,k,v}.weight", Fused(transpose=True)),
    *rows("transformer.h.*.attn.c_attn.bias      stack.blocks.*.attention.{q,k,v}.bias", Fused()),
    Drop("transformer.h.*.attn.bias"),
    Drop("transformer.h.*.attn.masked_bias"),
)  # fmt: skip
TABLE = Table(
    prefix="transformer.",
    instead=decoder.alone,
    rows=(
        *rows("""
            transformer.wte.weight                embed.tokens.weight
            transformer.wpe.weight                embed.positions.weight
            lm_head.weight                        head.weight
            score.weight                          head.out.weight
        """),
        *with_endings("""
            transformer.h.*.ln_1                  stack.blocks.*.attention_before
            transformer.h.*.ln_2                  stack.blocks.*.feed_forward_before
            transformer.ln_f                      stack.norm
            classifier                            head.tag
            qa_outputs                            head.span
        """, ".weight", ".bias"),
        *BLOCK,
        Tie("lm_head.weight", "transformer.wte.weight"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "n_positions": "context", "n_embd": "dim", "n_layer": "depth", "n_head": "heads",
        "n_inner": "hidden", "layer_norm_epsilon": "eps", "resid_pdrop": "dropout", "tie_word_embeddings": "tied",
        "scale_attn_weights": "scaled", "scale_attn_by_inverse_layer_idx": "by_layer",
    },
    only={"reorder_and_upcast_attn": (False, True)},
    harmless=frozenset({
        "n_ctx", "embd_pdrop", "attn_pdrop", "summary_type", "summary_use_proj",
        "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    }),
    default={
        "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "vocab_size": 50_257, "n_positions": 1024, "n_inner": None,
        "tie_word_embeddings": True, "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
    },
)  # fmt: skip
HEADS = decoder.names("GPT2", "tag", "span", language="LMHeadModel")
_ACTIVATION = ("activation_function", "gelu_new")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION)
    decoder.fill_hidden(values)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION)
    return made | {"model_type": "gpt2", "embd_pdrop": config.dropout, "attn_pdrop": config.dropout}
