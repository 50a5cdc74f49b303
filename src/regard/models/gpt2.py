"""GPT-2 (Radford et al. 2019): a causal stack, pre-norm, learned positions, tied vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, layers
from regard.config import Problem, at_least, between, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.table import Drop, Fused, Table, Tie, rows, transpose, with_endings


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the 124M model. labels: the classes of a classification head."""

    vocab: int = 50_257
    context: int = 1024
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu_tanh"
    eps: float = 1e-5
    dropout: float = 0.1
    tied: bool = True
    head: Literal["language", "classify"] = "language"
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


def build(config: Config) -> Any:
    head_dim = config.dim // config.heads

    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block() -> Any:
        projection = layers.Grouped(
            dim=config.dim, heads=config.heads, kv_heads=config.heads, head_dim=head_dim, bias=True, output_bias=True
        )
        attention = layers.Attention(projection, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return layers.Block(
            attention=layers.Residual(sublayer=attention, before=norm(), dropout=config.dropout),
            feed_forward=layers.Residual(sublayer=feed_forward, before=norm(), dropout=config.dropout),
        )

    positions = embed.Learned(config.context, config.dim)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    stack = layers.Stack([block() for _ in range(config.depth)], norm=norm())
    head = shared.decoder_head(config, tokens)
    return shared.transformer(config, tokens, stack, head, causal=True)


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02; what writes to the residual stream is scaled down by its 2 L writes (section 2.3)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02, outputs=0.02 / (2 * model.config.depth) ** 0.5))


TABLE = Table(
    prefix="transformer.",
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
        """, ".weight", ".bias"),
        *rows("""
            transformer.h.*.attn.c_proj.weight    stack.blocks.*.attention.o.weight
            transformer.h.*.mlp.c_fc.weight       stack.blocks.*.feed_forward.up.weight
            transformer.h.*.mlp.c_proj.weight     stack.blocks.*.feed_forward.down.weight
        """, transpose),
        *rows("""
            transformer.h.*.attn.c_proj.bias      stack.blocks.*.attention.o.bias
            transformer.h.*.mlp.c_fc.bias         stack.blocks.*.feed_forward.up.bias
            transformer.h.*.mlp.c_proj.bias       stack.blocks.*.feed_forward.down.bias
        """),
        *rows("""
            transformer.h.*.attn.c_attn.weight    stack.blocks.*.attention.{q,k,v}.weight
        """, Fused(transpose=True)),
        *rows("""
            transformer.h.*.attn.c_attn.bias      stack.blocks.*.attention.{q,k,v}.bias
        """, Fused()),
        Tie("lm_head.weight", "transformer.wte.weight"),
        Drop("transformer.h.*.attn.bias"),
        Drop("transformer.h.*.attn.masked_bias"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "n_positions": "context", "n_embd": "dim", "n_layer": "depth", "n_head": "heads",
        "n_inner": "hidden", "layer_norm_epsilon": "eps", "resid_pdrop": "dropout",
    },
    only={
        "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False, True),
    },
    harmless=frozenset({
        "n_ctx", "embd_pdrop", "attn_pdrop", "is_encoder_decoder", "summary_type", "summary_use_proj",
        "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    }),
    default={
        "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "vocab_size": 50_257, "n_positions": 1024, "n_inner": None,
    },
)  # fmt: skip
HEADS = {"GPT2LMHeadModel": "language", "GPT2ForSequenceClassification": "classify"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = FIELDS.read(data, where, understood=frozenset({"activation_function", "tie_word_embeddings"}))
    head = shared.foreign_head(data, HEADS, "GPT2LMHeadModel", where)
    values |= {
        "activation": foreign.activation(data.get("activation_function", "gelu_new"), where),
        "tied": data.get("tie_word_embeddings", True),
        "head": head,
        "labels": foreign.labels(data, where) if head == "classify" else (),
    }
    if values["hidden"] is None and isinstance(values["dim"], int):
        values["hidden"] = 4 * values["dim"]
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = FIELDS.write(config) | {
        "model_type": "gpt2",
        "architectures": [shared.architecture(HEADS, config.head)],
        "activation_function": foreign.foreign_activation(config.activation),
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tied,
    }
    return made | (foreign.with_labels(config.labels) if config.labels else {})
