"""BLOOM (Scao et al. 2022): GPT without position embeddings; distance weakens attention (ALiBi), a norm follows the
token embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import Problem
from regard.errors import BadFileError
from regard.models import decoder
from regard.weights import foreign
from regard.weights.layouts import ByHead
from regard.weights.table import Table, Tie, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to the 560M model."""

    vocab: int = 250_880
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    hidden: int = 4096
    tied: bool = True

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from decoder.fixed(self, hidden=4 * self.dim, activation="gelu_tanh")


def build(config: Config) -> Any:
    position = layers.Alibi(config.heads)

    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block() -> Any:
        projection = decoder.every(config, bias=True, output_bias=True)
        attention = layers.Attention(projection, position=position, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention, feed_forward)

    tokens = embed.Tokens(config.vocab, config.dim, norm=norm(), dropout=config.dropout)
    return decoder.model(config, tokens, [block() for _ in range(config.depth)], norm())


initialise = decoder.initialise

TABLE = Table(
    prefix="transformer.",
    instead=decoder.alone,
    rows=(
        *rows("""
            transformer.word_embeddings.weight               embed.tokens.weight
            lm_head.weight                                   head.weight
            score.weight                                     head.out.weight
        """),
        *with_endings("""
            transformer.word_embeddings_layernorm            embed.norm
            transformer.h.*.input_layernorm                  stack.blocks.*.attention_before
            transformer.h.*.post_attention_layernorm         stack.blocks.*.feed_forward_before
            transformer.h.*.self_attention.dense             stack.blocks.*.attention.o
            transformer.h.*.mlp.dense_h_to_4h                stack.blocks.*.feed_forward.up
            transformer.h.*.mlp.dense_4h_to_h                stack.blocks.*.feed_forward.down
            transformer.ln_f                                 stack.norm
            classifier                                       head.tag
            qa_outputs                                       head.span
        """, ".weight", ".bias"),
        *(row for end in (".weight", ".bias") for row in rows(
            f"transformer.h.*.self_attention.query_key_value{end}    stack.blocks.*.attention.{{q,k,v}}{end}",
            lambda config: ByHead(config.heads),
        )),
        Tie("lm_head.weight", "transformer.word_embeddings.weight"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "hidden_size": "dim", "n_layer": "depth", "n_head": "heads",
        "layer_norm_epsilon": "eps", "hidden_dropout": "dropout", "tie_word_embeddings": "tied",
        "seq_length": "context",
    },
    only={"apply_residual_connection_post_layernorm": (False,)},
    harmless=frozenset({
        "attention_dropout", "pretraining_tp", "slow_but_exact", "unk_token_id", "offset_alibi",
        "skip_bias_add", "skip_bias_add_qkv", "masked_softmax_fusion", "attention_softmax_in_fp32",
        "bias_dropout_fusion",
    }),
    default={
        "layer_norm_epsilon": 1e-5, "hidden_dropout": 0.0, "tie_word_embeddings": True, "seq_length": 2048,
        "hidden_size": None, "n_layer": None, "n_head": None,
    },
)  # fmt: skip
HEADS = decoder.names("Bloom", "tag", "span")
# Older files name sizes otherwise.
_OLD = {"n_embed": "dim", "num_hidden_layers": "depth", "num_attention_heads": "heads"}
_NEW = {"dim": "hidden_size", "depth": "n_layer", "heads": "n_head"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, ("hidden_act", "gelu_new"), *_OLD, "n_inner")
    for theirs, ours in _OLD.items():
        values[ours] = data.get(theirs) if values[ours] is None else values[ours]
    if missing := [_NEW[name] for name in _NEW if values[name] is None]:
        raise BadFileError("weights.missing_setting", where=where, keys=", ".join(missing))
    values["hidden"] = None
    decoder.fill_hidden(values)
    if data.get("n_inner") not in (None, values.get("hidden")):
        raise BadFileError(
            "weights.setting", where=where, key="n_inner", value=data["n_inner"], accepted=values.get("hidden")
        )
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, ("hidden_act", "gelu_new"))
    del made["hidden_act"]
    return made | {"model_type": "bloom", "attention_dropout": config.dropout}
