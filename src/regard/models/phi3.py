"""Phi 3 and 3.5 (2024): Llama whose files hold q, k and v in one matrix, and gate and up in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard.config import Problem
from regard.models import decoder, llama, rope
from regard.weights import foreign
from regard.weights.table import Drop, Fused, Table, Tie, rows

_ATTEND = llama.Attend(head_dim=96)


@dataclass(frozen=True, kw_only=True)
class Config(llama.Config):
    """Sizes default to the mini model with a context of 4k."""

    vocab: int = 32_064
    dim: int = 3072
    hidden: int = 8192
    eps: float = 1e-5
    attention: llama.Attend = _ATTEND

    def check(self) -> Iterator[Problem]:
        wants = self.attention
        yield from decoder.Llama.check(self)
        if wants.bias or wants.output_bias or set(wants.local) not in (set(), set(range(self.depth))):
            yield "attention", "models.kind", {}
        if wants.head_dim * wants.heads != self.dim:
            yield "attention", "models.heads", {"dim": self.dim}
        yield from decoder.fixed(self, bias=False, kind="llama")


build = llama.build
initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=decoder.alone,
    rows=(
        *decoder.LLAMA_ENDS,
        *decoder.LLAMA_NORMS,
        *rows("""
            model.layers.*.self_attn.o_proj.weight      stack.blocks.*.attention.o.weight
            model.layers.*.mlp.down_proj.weight         stack.blocks.*.feed_forward.down.weight
        """),
        *rows("""
            model.layers.*.self_attn.qkv_proj.weight    stack.blocks.*.attention.{q,k,v}.weight
            model.layers.*.mlp.gate_up_proj.weight      stack.blocks.*.feed_forward.{gate,up}.weight
        """, Fused()),
        Tie("lm_head.weight", "model.embed_tokens.weight"),
        Drop("model.layers.*.self_attn.rotary_emb.inv_freq"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same=decoder.LLAMA_FIELDS | {"sliding_window": "attention.window", "resid_pdrop": "dropout"},
    only={"attention_bias": (False,)},
    harmless=frozenset({"embd_pdrop", "original_max_position_embeddings"}),
    default=decoder.LLAMA_DEFAULTS | {"rms_norm_eps": 1e-5, "sliding_window": None, "resid_pdrop": 0.0},
)
HEADS = decoder.names("Phi3", "tag")
_ACTIVATION = ("hidden_act", "silu")
_SHARE = {"partial_rotary_factor": "share"}
_OLD = {"su": "longrope", "yarn": "longrope"}  # what the first files called it


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, "partial_rotary_factor", *rope.KEYS)
    decoder.fill_heads(values)
    usual = {"partial_rotary_factor": data.get("partial_rotary_factor", 1.0)}
    values["attention.rope"] = rope.read(data, where, also=_SHARE, usual=usual, old=_OLD)
    config = foreign.config(Config, values | {"attention.local": ()}, where, FIELDS)
    if config.attention.window is None:
        return config
    return foreign.config(Config, values | {"attention.local": tuple(range(config.depth))}, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    wants = config.attention.rope
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION) | rope.write(wants, _SHARE)
    long = {"original_max_position_embeddings": wants.original} if wants.scaling == "longrope" else {}
    return made | long | {
        "model_type": "phi3",
        "partial_rotary_factor": wants.share,
        "attention_dropout": config.dropout,
        "embd_pdrop": config.dropout,
    }  # fmt: skip
