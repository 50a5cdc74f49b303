"""Qwen 3 (2025), the recipe that trains best here: rotary positions, RMS norms, normed q and k, gated feed-forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, layers
from regard.config import Problem, at_least, between, verify
from regard.errors import BadFileError
from regard.models import rope, shared
from regard.weights import foreign
from regard.weights.table import Table, Tie, rows

_ROPE = rope.Rope(base=1_000_000.0)


@dataclass(frozen=True, kw_only=True)
class Attend:
    """heads share kv_heads; layers named in ``local`` see only the last ``window`` tokens."""

    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128
    bias: bool = False
    window: int | None = None
    local: tuple[int, ...] = ()
    rope: rope.Rope = _ROPE

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, shared.MOST_HEADS, "heads", "kv_heads", "head_dim")
        if self.heads % self.kv_heads:
            yield "kv_heads", "models.kv_heads", {"heads": self.heads}
        if self.head_dim % 2:
            yield "head_dim", "models.even", {}
        if self.head_dim == 2 and self.rope.scaling == "ntk":
            yield "head_dim", "models.one_pair", {}
        if self.local and (self.window is None or self.window < 1):
            yield "window", "models.window", {}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the 0.6B model. labels: the classes of a classification head."""

    vocab: int = 151_936
    context: int = 32_768
    dim: int = 1024
    depth: int = 28
    hidden: int = 3072
    attention: Attend = Attend()
    activation: str = "silu"
    eps: float = 1e-6
    dropout: float = 0.0
    tied: bool = True
    head: Literal["language", "classify"] = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "hidden")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout")
        yield from shared.check_head(self)
        if any(not 0 <= layer < self.depth for layer in self.attention.local):
            yield "attention", "models.local", {"last": self.depth - 1}
        yield from shared.check_activation(self)


def build(config: Config) -> Any:
    wants = config.attention
    position = rope.position(wants.rope, wants.head_dim)
    near = layers.Mask(window=wants.window)

    def norm(dim: int = config.dim) -> Any:
        return layers.RMSNorm(dim, eps=config.eps)

    def block(number: int) -> Any:
        projection = layers.Grouped(
            dim=config.dim, heads=wants.heads, kv_heads=wants.kv_heads, head_dim=wants.head_dim,
            bias=wants.bias, output_bias=wants.bias, norm=norm,
        )  # fmt: skip
        mask = near if number in wants.local else None
        attention = layers.Attention(projection, position=position, mask=mask, dropout=config.dropout)
        feed_forward = layers.Gated(config.dim, config.hidden, config.activation)
        return layers.Block(
            attention=layers.Residual(sublayer=attention, before=norm(), dropout=config.dropout),
            feed_forward=layers.Residual(sublayer=feed_forward, before=norm(), dropout=config.dropout),
        )

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    stack = layers.Stack([block(number) for number in range(config.depth)], norm=norm())
    return shared.transformer(config, tokens, stack, shared.decoder_head(config, tokens), causal=True)


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02; what writes to the residual stream is scaled down by its 2 L writes, as in GPT-2."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02, outputs=0.02 / (2 * model.config.depth) ** 0.5))


TABLE = Table(
    prefix="model.",
    rows=(
        *rows("""
            model.embed_tokens.weight                        embed.tokens.weight
            model.layers.*.input_layernorm.weight            stack.blocks.*.attention_before.weight
            model.layers.*.self_attn.q_proj.weight           stack.blocks.*.attention.q.weight
            model.layers.*.self_attn.k_proj.weight           stack.blocks.*.attention.k.weight
            model.layers.*.self_attn.v_proj.weight           stack.blocks.*.attention.v.weight
            model.layers.*.self_attn.o_proj.weight           stack.blocks.*.attention.o.weight
            model.layers.*.self_attn.q_proj.bias             stack.blocks.*.attention.q.bias
            model.layers.*.self_attn.k_proj.bias             stack.blocks.*.attention.k.bias
            model.layers.*.self_attn.v_proj.bias             stack.blocks.*.attention.v.bias
            model.layers.*.self_attn.o_proj.bias             stack.blocks.*.attention.o.bias
            model.layers.*.self_attn.q_norm.weight           stack.blocks.*.attention.q_norm.weight
            model.layers.*.self_attn.k_norm.weight           stack.blocks.*.attention.k_norm.weight
            model.layers.*.post_attention_layernorm.weight   stack.blocks.*.feed_forward_before.weight
            model.layers.*.mlp.gate_proj.weight              stack.blocks.*.feed_forward.gate.weight
            model.layers.*.mlp.up_proj.weight                stack.blocks.*.feed_forward.up.weight
            model.layers.*.mlp.down_proj.weight              stack.blocks.*.feed_forward.down.weight
            model.norm.weight                                stack.norm.weight
            lm_head.weight                                   head.weight
            score.weight                                     head.out.weight
        """),
        Tie("lm_head.weight", "model.embed_tokens.weight"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim",
        "num_hidden_layers": "depth", "intermediate_size": "hidden", "rms_norm_eps": "eps",
        "attention_dropout": "dropout", "tie_word_embeddings": "tied", "num_attention_heads": "attention.heads",
        "num_key_value_heads": "attention.kv_heads", "head_dim": "attention.head_dim",
        "attention_bias": "attention.bias",
    },
    harmless=frozenset({"max_window_layers", "is_encoder_decoder"}),
    default={
        "attention_dropout": 0.0, "tie_word_embeddings": False, "rms_norm_eps": 1e-6, "head_dim": 128,
        "attention_bias": False,
    },
)  # fmt: skip
HEADS = {"Qwen3ForCausalLM": "language", "Qwen3ForSequenceClassification": "classify"}
_OWN = frozenset({"use_sliding_window", "sliding_window", "layer_types", "hidden_act"})


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = FIELDS.read(data, where, understood=_OWN | rope.KEYS)
    if values["attention.kv_heads"] is None:
        values["attention.kv_heads"] = values["attention.heads"]
    head = shared.foreign_head(data, HEADS, "Qwen3ForCausalLM", where)
    values |= {
        "attention.rope": rope.read(data, where),
        "activation": foreign.activation(data.get("hidden_act", "silu"), where),
        "head": head,
        "labels": foreign.labels(data, where) if head == "classify" else (),
    }
    config = foreign.config(Config, values, where, FIELDS)
    local = _local(data, config.depth, where)
    if not local:
        return config
    return foreign.config(
        Config, values | {"attention.window": data.get("sliding_window"), "attention.local": local}, where, FIELDS
    )


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    wants = config.attention
    kinds = ["sliding_attention" if n in wants.local else "full_attention" for n in range(config.depth)]
    made = FIELDS.write(config) | {
        "model_type": "qwen3",
        "architectures": [shared.architecture(HEADS, config.head)],
        "hidden_act": foreign.foreign_activation(config.activation),
        "use_sliding_window": bool(wants.local),
        "sliding_window": wants.window,
        "layer_types": kinds,
        **rope.write(wants.rope),
    }
    return made | (foreign.with_labels(config.labels) if config.labels else {})


def _local(data: Mapping[str, Any], depth: int, where: str) -> tuple[int, ...]:
    """Layers with a sliding window: as listed, or, in older files, those from ``max_window_layers`` on."""
    if not data.get("use_sliding_window"):
        return ()
    kinds = data.get("layer_types")
    if kinds is None:
        first = data.get("max_window_layers", 28)
        if type(first) is not int or first < 0:
            raise BadFileError("weights.setting", where=where, key="max_window_layers", value=first, accepted=depth)
        return tuple(range(first, depth))
    if not isinstance(kinds, list) or len(kinds) != depth or any(kind not in _KINDS for kind in kinds):
        raise BadFileError("weights.setting", where=where, key="layer_types", value=kinds, accepted=(depth, *_KINDS))
    return tuple(n for n, kind in enumerate(kinds) if kind == "sliding_attention")


_KINDS = ("sliding_attention", "full_attention")
