"""Qwen 3 (2025), the recipe that trains best here: rotary positions, RMS norms, normed q and k, a gated feed-forward."""

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


@dataclass(frozen=True, kw_only=True)
class Attend:
    """heads share kv_heads; layers named in ``local`` see only the last ``window`` tokens."""

    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128
    bias: bool = False
    window: int | None = None
    local: tuple[int, ...] = ()
    rope: rope.Rope = rope.Rope(base=1_000_000.0)

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "heads", "kv_heads", "head_dim")
        if self.heads % self.kv_heads:
            yield "kv_heads", "models.kv_heads", {"heads": self.heads}
        if self.head_dim % 2:
            yield "head_dim", "models.even", {}
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
        yield from at_least(self, 1, "vocab", "context", "dim", "depth", "hidden")
        yield from between(self, 0.0, 0.99, "dropout")
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def build(config: Config) -> Any:
    wants = config.attention
    position = rope.position(wants.rope, wants.head_dim)

    def norm(dim: int = config.dim) -> Any:
        return layers.RMSNorm(dim, eps=config.eps)

    def block(number: int) -> Any:
        projection = layers.Grouped(
            dim=config.dim, heads=wants.heads, kv_heads=wants.kv_heads, head_dim=wants.head_dim,
            bias=wants.bias, output_bias=wants.bias, norm=norm,
        )  # fmt: skip
        mask = layers.Mask(window=wants.window) if number in wants.local else None
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
        "attention_dropout": "dropout", "tie_word_embeddings": "tied",
    },
    harmless=frozenset({"max_window_layers", "is_encoder_decoder"}),
    default={"attention_dropout": 0.0, "tie_word_embeddings": False, "rms_norm_eps": 1e-6},
)  # fmt: skip
HEADS = {"Qwen3ForCausalLM": "language", "Qwen3ForSequenceClassification": "classify"}
_OWN = frozenset(
    [
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "attention_bias",
        "use_sliding_window",
        "sliding_window",
        "layer_types",
        "hidden_act",
    ]
)


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = FIELDS.read(data, where, understood=_OWN | rope.KEYS)
    head = shared.foreign_head(data, HEADS, "Qwen3ForCausalLM", where)
    heads = data["num_attention_heads"]
    local = _local(data, values["depth"], where)
    return Config(
        **values,
        attention=Attend(
            heads=heads,
            kv_heads=data.get("num_key_value_heads") or heads,
            head_dim=data.get("head_dim") or 128,
            bias=data.get("attention_bias", False),
            window=data.get("sliding_window") if local else None,
            local=local,
            rope=rope.read(data, where),
        ),
        activation=foreign.activation(data.get("hidden_act", "silu"), where),
        head=head,
        labels=foreign.labels(data) if head == "classify" else (),
    )


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    wants = config.attention
    kinds = ["sliding_attention" if n in wants.local else "full_attention" for n in range(config.depth)]
    made = FIELDS.write(vars(config)) | {
        "model_type": "qwen3",
        "architectures": [shared.architecture(HEADS, config.head)],
        "num_attention_heads": wants.heads,
        "num_key_value_heads": wants.kv_heads,
        "head_dim": wants.head_dim,
        "attention_bias": wants.bias,
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
        return tuple(range(data.get("max_window_layers", 28), depth))
    if len(kinds) != depth or not set(kinds) <= {"sliding_attention", "full_attention"}:
        raise BadFileError("weights.setting", where=where, key="layer_types", value=kinds, accepted=depth)
    return tuple(n for n, kind in enumerate(kinds) if kind == "sliding_attention")
