"""Qwen 3's mixtures of experts (2025): Qwen 3 whose feed-forward layers are many narrow ones behind a router."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import Problem, at_least
from regard.errors import BadFileError
from regard.models import decoder, qwen3, rope, shared
from regard.weights import foreign
from regard.weights.table import Table, rows


@dataclass(frozen=True, kw_only=True)
class Attend(qwen3.Attend):
    heads: int = 32
    kv_heads: int = 4


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to the 30B model, of which 3B see a token.

    ``top`` of ``experts`` of width ``narrow`` see a token; renormalise: their weights sum to 1. Layers named in
    ``dense`` have one feed-forward layer of width ``hidden``. balance: weight of the loss that keeps the load even.
    """

    vocab: int = 151_936
    context: int = 40_960
    dim: int = 2048
    depth: int = 48
    hidden: int = 6144
    attention: Attend = Attend()
    experts: int = 128
    top: int = 8
    narrow: int = 768
    renormalise: bool = True
    dense: tuple[int, ...] = ()
    balance: float = 0.001

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "narrow")
        yield from decoder.check_experts(self)
        yield from at_least(self, 0.0, "balance")
        if any(not 0 <= layer < self.depth for layer in self.dense):
            yield "dense", "models.local", {"last": self.depth - 1}
        if set(self.attention.local) not in (set(), set(range(self.depth))):
            yield "attention", "models.kind", {}


def build(config: Config) -> Any:
    attention = qwen3.attentions(config)

    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps)

    def feed_forward(number: int) -> Any:
        if number in config.dense:
            return layers.Gated(config.dim, config.hidden, config.activation)
        router = layers.Router(config.dim, config.experts, config.top, renormalise=config.renormalise)
        return layers.Experts(
            router, layers.GatedExperts(config.dim, config.narrow, config.activation, config.experts)
        )  # fmt: skip

    def block(number: int) -> Any:
        return decoder.pre_norm(config, norm, attention(number), feed_forward(number))

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    return decoder.model(config, tokens, [block(number) for number in range(config.depth)], norm())


initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=decoder.answering,
    rows=(
        *qwen3.ROWS,
        *rows("""
            model.layers.*.mlp.gate.weight                   stack.blocks.*.feed_forward.router.weight
        """),
        *decoder.EXPERTS,
    ),
)

FIELDS = foreign.Fields(
    same={
        **qwen3.FIELDS.same,
        "num_experts": "experts", "num_experts_per_tok": "top", "moe_intermediate_size": "narrow",
        "norm_topk_prob": "renormalise", "router_aux_loss_coef": "balance",
    },
    harmless=qwen3.FIELDS.harmless | {"output_router_logits"},
    default={
        **qwen3.FIELDS.default,
        "head_dim": None, "num_experts": None, "norm_topk_prob": False, "router_aux_loss_coef": 0.001,
    },
)  # fmt: skip
HEADS = decoder.names("Qwen3Moe", "tag", "span")
_ACTIVATION = ("hidden_act", "silu")
_OWN = ("num_local_experts", "use_sliding_window", "sliding_window", "decoder_sparse_step", "mlp_only_layers")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, *_OWN, *rope.KEYS)
    decoder.fill_heads(values)
    if values["experts"] is None:
        values["experts"] = data.get("num_local_experts", 128)  # as newer files call it
    values["attention.rope"] = rope.read(data, where)
    depth = foreign.config(Config, values, where, FIELDS).depth
    local = tuple(range(depth)) if data.get("use_sliding_window") else ()
    values |= {"attention.local": local, "attention.window": data.get("sliding_window", 4096) if local else None}
    return foreign.config(Config, values | {"dense": _dense(data, depth, where)}, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    wants = config.attention
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION) | rope.write(wants.rope)
    return made | {
        "model_type": "qwen3_moe",
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(config.dense),
        "use_sliding_window": bool(wants.local),
        "sliding_window": wants.window,
    }


def _dense(data: Mapping[str, Any], depth: int, where: str) -> tuple[int, ...]:
    """The layers without experts: those that are listed, and all but every ``decoder_sparse_step``-th."""
    step, listed = data.get("decoder_sparse_step", 1), data.get("mlp_only_layers") or []
    if type(step) is not int or step < 1:
        raise BadFileError("weights.setting", where=where, key="decoder_sparse_step", value=step, accepted=">= 1")
    if not isinstance(listed, list) or not all(type(layer) is int for layer in listed):
        raise BadFileError("weights.setting", where=where, key="mlp_only_layers", value=listed, accepted=depth)
    return tuple(layer for layer in range(depth) if layer in listed or (layer + 1) % step)
