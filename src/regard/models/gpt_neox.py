"""GPT-NeoX (Black et al. 2022) and Pythia: attention and feed-forward read the stream side by side, each through a norm
of its own; a part of each head's features is rotated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import Problem
from regard.models import decoder, rope
from regard.weights import foreign
from regard.weights.layouts import ByHead
from regard.weights.table import Drop, Table, Tie, rows, with_endings

_ROPE = rope.Rope(share=0.25)


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to Pythia 160M. bias: of q, k, v and o. parallel: how a block adds up."""

    vocab: int = 50_304
    activation: str = "gelu"
    bias: bool = True
    parallel: bool = True
    rope: rope.Rope = _ROPE

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from rope.check(self.rope, self.dim // self.heads, "heads")


def build(config: Config) -> Any:
    position = rope.position(config.rope, config.dim // config.heads)
    kind = layers.Parallel if config.parallel else layers.Block

    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block() -> Any:
        projection = decoder.every(config, bias=config.bias, output_bias=config.bias)
        attention = layers.Attention(projection, position=position, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention, feed_forward, kind)

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    return decoder.model(config, tokens, [block() for _ in range(config.depth)], norm())


initialise = decoder.initialise

TABLE = Table(
    prefix="gpt_neox.",
    instead=decoder.alone,
    rows=(
        *rows("""
            gpt_neox.embed_in.weight                         embed.tokens.weight
            embed_out.weight                                 head.weight
            score.weight                                     head.out.weight
        """),
        *with_endings("""
            gpt_neox.layers.*.input_layernorm                stack.blocks.*.attention_before
            gpt_neox.layers.*.post_attention_layernorm       stack.blocks.*.feed_forward_before
            gpt_neox.layers.*.attention.dense                stack.blocks.*.attention.o
            gpt_neox.layers.*.mlp.dense_h_to_4h              stack.blocks.*.feed_forward.up
            gpt_neox.layers.*.mlp.dense_4h_to_h              stack.blocks.*.feed_forward.down
            gpt_neox.final_layer_norm                        stack.norm
            classifier                                       head.tag
            qa_outputs                                       head.span
        """, ".weight", ".bias"),
        *(row for end in (".weight", ".bias") for row in rows(
            f"gpt_neox.layers.*.attention.query_key_value{end}    stack.blocks.*.attention.{{q,k,v}}{end}",
            lambda config: ByHead(config.heads),
        )),
        Tie("embed_out.weight", "gpt_neox.embed_in.weight"),
        Drop("gpt_neox.layers.*.attention.bias"),
        Drop("gpt_neox.layers.*.attention.masked_bias"),
        Drop("gpt_neox.layers.*.attention.rotary_emb.inv_freq"),
    ),
    old={"lm_head.weight": "embed_out.weight"},
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim",
        "num_hidden_layers": "depth", "num_attention_heads": "heads", "intermediate_size": "hidden",
        "layer_norm_eps": "eps", "hidden_dropout": "dropout", "tie_word_embeddings": "tied",
        "use_parallel_residual": "parallel", "attention_bias": "bias",
    },
    harmless=frozenset({
        "attention_dropout", "classifier_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob",
    }),
    default={
        "layer_norm_eps": 1e-5, "hidden_dropout": 0.0, "tie_word_embeddings": False, "use_parallel_residual": True,
        "attention_bias": True,
    },
)  # fmt: skip
HEADS = decoder.names("GPTNeoX", "tag", "span")
_ACTIVATION = ("hidden_act", "gelu")
_SHARE = {"partial_rotary_factor": "share"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, *rope.KEYS, "rotary_pct", "rotary_emb_base")
    older = {"rope_theta": data.get("rotary_emb_base"), "partial_rotary_factor": data.get("rotary_pct", 0.25)}
    values["rope"] = rope.read(data, where, also=_SHARE, usual={key: value for key, value in older.items() if value})
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION) | rope.write(config.rope, _SHARE)
    return made | {
        "model_type": "gpt_neox",
        "attention_dropout": config.dropout,
        "rotary_pct": config.rope.share,
        "rotary_emb_base": config.rope.base,
    }
