"""Mixtral (Jiang et al. 2024): Mistral with several feed-forward layers, two of which a router picks for a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import Problem, at_least
from regard.models import decoder, rope
from regard.weights import foreign
from regard.weights.layouts import stacked
from regard.weights.table import Table, Tie, rows

_ROPE = rope.Rope(base=1_000_000.0)
_ATTEND = decoder.Attend(kv_heads=8, rope=_ROPE)


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to the 8x7B model. ``top`` of ``experts`` see a token; balance: weight of the loss that keeps
    their load even."""

    vocab: int = 32_000
    context: int = 32_768
    dim: int = 4096
    depth: int = 32
    hidden: int = 14_336
    attention: decoder.Attend = _ATTEND
    eps: float = 1e-5
    experts: int = 8
    top: int = 2
    balance: float = 0.001

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from decoder.check_experts(self)
        yield from at_least(self, 0.0, "balance")
        if set(self.attention.local) not in (set(), set(range(self.depth))):
            yield "attention", "models.kind", {}


def build(config: Config) -> Any:
    wants = config.attention
    position = rope.position(wants.rope, wants.head_dim)
    mask = layers.Mask(window=wants.window) if wants.local else None

    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps)

    def block() -> Any:
        projection = decoder.grouped(config)
        attention = layers.Attention(projection, position=position, mask=mask, dropout=config.dropout)
        router = layers.Router(config.dim, config.experts, config.top, renormalise=True)
        experts = layers.GatedExperts(config.dim, config.hidden, config.activation, config.experts)
        return decoder.pre_norm(config, norm, attention, layers.Experts(router, experts))

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    return decoder.model(config, tokens, [block() for _ in range(config.depth)], norm())


initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=decoder.alone,
    rows=(
        *decoder.LLAMA_ENDS,
        *decoder.LLAMA_NORMS,
        *decoder.LLAMA_ATTENTION,
        *rows("""
            model.layers.*.block_sparse_moe.gate.weight           stack.blocks.*.feed_forward.router.weight
        """),
        *rows("""
            model.layers.*.block_sparse_moe.experts.#.w1.weight   stack.blocks.*.feed_forward.experts.gate.weight
            model.layers.*.block_sparse_moe.experts.#.w3.weight   stack.blocks.*.feed_forward.experts.up.weight
            model.layers.*.block_sparse_moe.experts.#.w2.weight   stack.blocks.*.feed_forward.experts.down.weight
        """, stacked),
        Tie("lm_head.weight", "model.embed_tokens.weight"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same=decoder.LLAMA_FIELDS | {
        "head_dim": "attention.head_dim", "sliding_window": "attention.window", "num_local_experts": "experts",
        "num_experts_per_tok": "top", "router_aux_loss_coef": "balance",
    },
    only={"router_jitter_noise": (0.0,)},
    harmless=frozenset({"output_router_logits"}),
    default=decoder.LLAMA_DEFAULTS | {
        "head_dim": None, "sliding_window": None, "num_local_experts": 8, "num_experts_per_tok": 2,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "router_aux_loss_coef": 0.001,
    },
)  # fmt: skip
HEADS = decoder.names("Mixtral", "tag", "span")
_ACTIVATION = ("hidden_act", "silu")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, *rope.KEYS)
    decoder.fill_heads(values)
    values |= {"attention.rope": rope.read(data, where, usual={"rope_theta": _ROPE.base}), "attention.local": ()}
    config = foreign.config(Config, values, where, FIELDS)
    if config.attention.window is None:
        return config
    return foreign.config(Config, values | {"attention.local": tuple(range(config.depth))}, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION) | rope.write(config.attention.rope)
    return made | {"model_type": "mixtral"}
