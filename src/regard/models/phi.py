"""Phi 1, 1.5 and 2 (Li et al. 2023): GPT-J's block with biases everywhere, and half of each head rotated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from regard import embed, heads, layers
from regard.models import decoder, rope
from regard.weights import foreign
from regard.weights.table import Drop, Table, Tie, rows, with_endings

_ATTEND = decoder.Attend(head_dim=64, rope=rope.Rope(share=0.5))


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to Phi 1.5."""

    vocab: int = 51_200
    dim: int = 2048
    depth: int = 24
    hidden: int = 8192
    attention: decoder.Attend = _ATTEND
    activation: str = "gelu_tanh"
    eps: float = 1e-5

    def check(self) -> Any:
        yield from super().check()
        if self.attention.head_dim * self.attention.heads != self.dim or self.attention.local:
            yield "attention", "models.heads", {"dim": self.dim}


def build(config: Config) -> Any:
    position = rope.position(config.attention.rope, config.attention.head_dim)

    def block() -> Any:
        norm = layers.LayerNorm(config.dim, eps=config.eps)
        projection = decoder.grouped(config, bias=True, output_bias=True)
        attention = layers.Attention(projection, position=position, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, lambda: norm, attention, feed_forward, layers.Parallel)

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    norm = layers.LayerNorm(config.dim, eps=config.eps)
    blocks = [block() for _ in range(config.depth)]
    return decoder.model(config, tokens, blocks, norm, vocabulary=partial(heads.Language, bias=True))


initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=decoder.alone,
    rows=(
        *rows("""
            model.embed_tokens.weight            embed.tokens.weight
            score.weight                         head.out.weight
        """),
        *with_endings("""
            model.layers.*.input_layernorm       stack.blocks.*.attention_before
            model.layers.*.self_attn.q_proj      stack.blocks.*.attention.q
            model.layers.*.self_attn.k_proj      stack.blocks.*.attention.k
            model.layers.*.self_attn.v_proj      stack.blocks.*.attention.v
            model.layers.*.self_attn.dense       stack.blocks.*.attention.o
            model.layers.*.mlp.fc1               stack.blocks.*.feed_forward.up
            model.layers.*.mlp.fc2               stack.blocks.*.feed_forward.down
            model.final_layernorm                stack.norm
            lm_head                              head
            score                                head.tag
        """, ".weight", ".bias"),
        Tie("lm_head.weight", "model.embed_tokens.weight"),
        Drop("model.layers.*.self_attn.rotary_emb.inv_freq"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim",
        "num_hidden_layers": "depth", "intermediate_size": "hidden", "layer_norm_eps": "eps",
        "resid_pdrop": "dropout", "tie_word_embeddings": "tied", "num_attention_heads": "attention.heads",
        "num_key_value_heads": "attention.kv_heads",
    },
    only={"qk_layernorm": (False,)},
    harmless=frozenset({"attention_dropout", "embd_pdrop"}),
    default={
        "layer_norm_eps": 1e-5, "resid_pdrop": 0.0, "tie_word_embeddings": False, "num_key_value_heads": None,
    },
)  # fmt: skip
HEADS = decoder.names("Phi", "tag")
_ACTIVATION = ("hidden_act", "gelu_new")
_SHARE = {"partial_rotary_factor": "share"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, *rope.KEYS, "partial_rotary_factor")
    decoder.fill_heads(values)
    usual = {"partial_rotary_factor": data.get("partial_rotary_factor", 0.5)}
    values["attention.rope"] = rope.read(data, where, also=_SHARE, usual=usual)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    wants = config.attention
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION) | rope.write(wants.rope, _SHARE)
    return made | {
        "model_type": "phi",
        "partial_rotary_factor": wants.rope.share,
        "attention_dropout": config.dropout,
        "embd_pdrop": config.dropout,
    }
