"""The first GPT (Radford et al. 2018): GPT-2's parts with the norms behind the sublayers, and none at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import Problem
from regard.errors import BadFileError
from regard.models import decoder, gpt2
from regard.weights import foreign
from regard.weights.table import Table, Tie, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to the 117M model."""

    vocab: int = 40_478
    context: int = 512
    dropout: float = 0.1
    tied: bool = True

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from decoder.fixed(self, hidden=4 * self.dim)


def build(config: Config) -> Any:
    def after(sublayer: Any) -> Any:
        norm = layers.LayerNorm(config.dim, eps=config.eps)
        return layers.Residual(sublayer=sublayer, then=norm, dropout=config.dropout)

    def block() -> Any:
        attention = layers.Attention(decoder.every(config, bias=True, output_bias=True), dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return layers.Block(attention=after(attention), feed_forward=after(feed_forward))

    positions = embed.Learned(config.context, config.dim)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    return decoder.model(config, tokens, [block() for _ in range(config.depth)], None)


initialise = decoder.initialise

TABLE = Table(
    prefix="transformer.",
    instead=decoder.alone,
    rows=(
        *rows("""
            transformer.tokens_embed.weight       embed.tokens.weight
            transformer.positions_embed.weight    embed.positions.weight
            lm_head.weight                        head.weight
            score.weight                          head.out.weight
        """),
        *with_endings("""
            transformer.h.*.ln_1                  stack.blocks.*.attention_then
            transformer.h.*.ln_2                  stack.blocks.*.feed_forward_then
        """, ".weight", ".bias"),
        *gpt2.BLOCK,
        Tie("lm_head.weight", "transformer.tokens_embed.weight"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "n_positions": "context", "n_embd": "dim", "n_layer": "depth", "n_head": "heads",
        "layer_norm_epsilon": "eps", "resid_pdrop": "dropout", "tie_word_embeddings": "tied",
    },
    harmless=frozenset({
        "n_ctx", "embd_pdrop", "attn_pdrop", "predict_special_tokens", "n_special", "summary_type",
        "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    }),
    default={"layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "tie_word_embeddings": True},
)  # fmt: skip
HEADS = decoder.names("OpenAIGPT", language="LMHeadModel")
# Its files say "gelu" and mean the approximation by tanh.
_ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    name = data.get("afn", "gelu")
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise BadFileError("weights.setting", where=where, key="afn", value=name, accepted=tuple(_ACTIVATIONS))
    values = decoder.values(data, where, FIELDS, HEADS, ("activation", "gelu"), "afn")
    values |= {"activation": _ACTIVATIONS[name], "hidden": None}
    decoder.fill_hidden(values)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, ("afn", "gelu"))
    named = [theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.activation]
    if not named:
        raise BadFileError("models.activation", known=", ".join(_ACTIVATIONS.values()))
    ends = {"afn": named[0], "embd_pdrop": config.dropout, "attn_pdrop": config.dropout}
    return made | {"model_type": "openai-gpt", **ends}
