"""Gemma 3's text model (2025): Gemma 2 with normed q and k in place of squashed scores, a window in five layers of six,
and faster rotations in those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import layers
from regard.config import Problem
from regard.errors import BadFileError
from regard.models import decoder, gemma2, rope
from regard.weights import foreign
from regard.weights.table import Table, rows

_FAR, _NEAR = rope.Rope(base=1_000_000.0), rope.Rope()


@dataclass(frozen=True, kw_only=True)
class Attend(decoder.Attend):
    """Scores are divided by the root of ``scale``. rope: of layers without a window; near: of those with one."""

    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 256
    window: int | None = 512
    local: tuple[int, ...] = tuple(n for n in range(26) if (n + 1) % 6)
    scale: int = 256
    bias: bool = False
    rope: rope.Rope = _FAR
    near: rope.Rope = _NEAR

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from rope.check(self.near, self.head_dim, "head_dim")
        yield from decoder.positive(self, "scale")


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Llama):
    """Sizes default to the 1B model. cap: logits are squashed into (-cap, cap), None: not."""

    vocab: int = 262_144
    context: int = 32_768
    dim: int = 1152
    depth: int = 26
    hidden: int = 6912
    attention: Attend = Attend()
    activation: str = "gelu_tanh"
    tied: bool = True
    cap: float | None = None

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from decoder.positive(self, "cap")


def build(config: Config) -> Any:
    wants = config.attention
    near, mask = rope.position(wants.near, wants.head_dim), layers.Mask(window=wants.window)
    far = rope.position(wants.rope, wants.head_dim)

    def norm(size: int) -> Any:
        return layers.RMSNorm(size, eps=config.eps, offset=1.0)

    def attention(number: int) -> Any:
        local = number in wants.local
        return layers.Attention(
            decoder.grouped(config, bias=wants.bias, output_bias=wants.bias, norm=norm),
            position=near if local else far,
            mask=mask if local else None,
            scale=wants.scale**-0.5,
            dropout=config.dropout,
        )

    return gemma2.assemble(config, attention)


initialise = decoder.initialise

TABLE = Table(
    prefix="model.",
    instead=decoder.alone,
    rows=(
        *gemma2.ROWS,
        *rows("""
            model.layers.*.self_attn.q_norm.weight             stack.blocks.*.attention.q_norm.weight
            model.layers.*.self_attn.k_norm.weight             stack.blocks.*.attention.k_norm.weight
        """),
    ),
)

FIELDS = foreign.Fields(
    same=gemma2.SIZES,
    only={"use_bidirectional_attention": (False, None), "attn_logit_softcapping": (None,)},
    harmless=gemma2.HARMLESS | {"_sliding_window_pattern"},
    default=gemma2.DEFAULTS | {"final_logit_softcapping": None},
)
HEADS = {"Gemma3ForCausalLM": "language", **decoder.names("Gemma3Text"), "Gemma3ForSequenceClassification": "classify"}
_KINDS = ("full_attention", "sliding_attention")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    own = ("layer_types", "sliding_window_pattern", "rope_local_base_freq", *rope.KEYS)
    values = decoder.values(data, where, FIELDS, HEADS, gemma2.ACTIVATION, *own)
    decoder.fill_heads(values)
    values |= {"attention.local": (), **_ropes(data, where)}
    config = foreign.config(Config, values, where, FIELDS)
    local = decoder.local_layers(data, config.depth, where)
    every = data.get("sliding_window_pattern", 6)
    if type(every) is not int or every < 1:
        raise BadFileError("weights.setting", where=where, key="sliding_window_pattern", value=every, accepted=">= 1")
    values["attention.local"] = tuple(n for n in range(config.depth) if (n + 1) % every) if local is None else local
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    wants = config.attention
    made = decoder.written(config, FIELDS, HEADS, gemma2.ACTIVATION)
    ropes = zip(_KINDS, (wants.rope, wants.near), strict=True)
    return made | {
        "model_type": "gemma3_text",
        "layer_types": decoder.layer_types(config),
        "rope_parameters": {kind: rope.write(one)["rope_parameters"] for kind, one in ropes},
    }


def _ropes(data: Mapping[str, Any], where: str) -> dict[str, rope.Rope]:
    """The two rotations: newer files have both by kind of layer, older ones a base for layers with a window."""
    by_kind = data.get("rope_parameters")
    both = by_kind if isinstance(by_kind, dict) and set(by_kind) <= set(_KINDS) else {}
    if by_kind is not None and not both:
        raise BadFileError("weights.setting", where=where, key="rope_parameters", value=by_kind, accepted=_KINDS)
    far = {"rope_parameters": both.get(_KINDS[0])} if both else {
        "rope_theta": data.get("rope_theta", _FAR.base), "rope_scaling": data.get("rope_scaling")
    }  # fmt: skip
    near = {"rope_parameters": both.get(_KINDS[1])} if both else {
        "rope_theta": data.get("rope_local_base_freq", _NEAR.base)
    }  # fmt: skip
    return {
        "attention.rope": rope.read(far, where, usual={"rope_theta": _FAR.base}),
        "attention.near": rope.read(near, where, usual={"rope_theta": _NEAR.base}),
    }
