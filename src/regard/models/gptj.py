"""GPT-J (Wang and Komatsuzaki 2021): attention and feed-forward read the stream side by side, through one norm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem, between
from regard.models import decoder
from regard.weights import foreign
from regard.weights.layouts import Interleaved
from regard.weights.table import Drop, Table, Tie, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to the 6B model. rotary: how many features of each head are rotated."""

    vocab: int = 50_400
    dim: int = 4096
    depth: int = 28
    heads: int = 16
    hidden: int = 16_384
    rotary: int = 64

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from between(self, 2, self.dim // self.heads, "rotary")
        if self.rotary % 2:
            yield "rotary", "models.even", {}


def build(config: Config) -> Any:
    from regard.ops import rotary

    position = layers.Rotary(rotary.frequencies(config.rotary, 10_000.0))

    def block() -> Any:
        norm = layers.LayerNorm(config.dim, eps=config.eps)
        attention = layers.Attention(decoder.every(config), position=position, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, lambda: norm, attention, feed_forward, layers.Parallel)

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    norm = layers.LayerNorm(config.dim, eps=config.eps)
    blocks = [block() for _ in range(config.depth)]
    return decoder.model(config, tokens, blocks, norm, vocabulary=partial(heads.Language, bias=True))


initialise = decoder.initialise


def _turned(config: Config) -> Interleaved:
    return Interleaved(config.heads, config.rotary)


TABLE = Table(
    prefix="transformer.",
    instead=decoder.alone,
    rows=(
        *rows("""
            transformer.wte.weight                  embed.tokens.weight
            transformer.h.*.attn.v_proj.weight      stack.blocks.*.attention.v.weight
            transformer.h.*.attn.out_proj.weight    stack.blocks.*.attention.o.weight
            score.weight                            head.out.weight
        """),
        *rows("""
            transformer.h.*.attn.q_proj.weight      stack.blocks.*.attention.q.weight
            transformer.h.*.attn.k_proj.weight      stack.blocks.*.attention.k.weight
        """, _turned),
        *with_endings("""
            transformer.h.*.ln_1                    stack.blocks.*.attention_before
            transformer.h.*.mlp.fc_in               stack.blocks.*.feed_forward.up
            transformer.h.*.mlp.fc_out              stack.blocks.*.feed_forward.down
            transformer.ln_f                        stack.norm
            lm_head                                 head
            qa_outputs                              head.span
        """, ".weight", ".bias"),
        Tie("lm_head.weight", "transformer.wte.weight"),
        Drop("transformer.h.*.attn.bias"),
        Drop("transformer.h.*.attn.masked_bias"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "n_positions": "context", "n_embd": "dim", "n_layer": "depth", "n_head": "heads",
        "n_inner": "hidden", "layer_norm_epsilon": "eps", "resid_pdrop": "dropout", "tie_word_embeddings": "tied",
        "rotary_dim": "rotary",
    },
    only={"scale_attn_weights": (True,), "rotary": (True,)},
    harmless=frozenset({
        "n_ctx", "embd_pdrop", "attn_pdrop", "gradient_checkpointing", "summary_type", "summary_use_proj",
        "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    }),
    default={
        "n_inner": None, "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.0, "tie_word_embeddings": False, "rotary_dim": 64,
    },
)  # fmt: skip
HEADS = decoder.names("GPTJ", "span")
_ACTIVATION = ("activation_function", "gelu_new")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION)
    decoder.fill_hidden(values)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION)
    return made | {"model_type": "gptj", "embd_pdrop": config.dropout, "attn_pdrop": config.dropout}
