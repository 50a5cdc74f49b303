"""DeepSeek-V3 (2024): Llama with keys and values out of one narrow vector a token, and, from some layer on, many
experts in groups beside a shared one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import Problem, at_least, between, verify
from regard.models import decoder, rope, shared
from regard.weights import foreign
from regard.weights.layouts import Interleaved
from regard.weights.table import Op, Past, Table, Tie, rows, same, with_endings

_ROPE = rope.Rope()


@dataclass(frozen=True, kw_only=True)
class Attend:
    """A head's q and k are ``plain`` and ``turned`` features, its v ``value_dim``; see ``layers.Latent``.

    interleaved: files rotate neighbours. scale multiplies scores, beyond 1 / sqrt(K).
    """

    heads: int = 128
    plain: int = 128
    turned: int = 64
    value_dim: int = 128
    kv_rank: int = 512
    q_rank: int | None = 1536
    bias: bool = False
    interleaved: bool = True
    rope: rope.Rope = _ROPE

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, shared.MOST_HEADS, "heads", "plain", "turned", "value_dim")
        yield from between(self, 1, shared.LARGEST, "kv_rank", "q_rank")
        yield from rope.check(self.rope, self.turned, "turned")


@dataclass(frozen=True, kw_only=True)
class Moe:
    """``top`` of ``experts`` of width ``hidden`` see a token, out of its best ``best_groups`` of ``groups``, and their
    weights, renormalised or not, are multiplied by ``scale``; ``shared`` more see every token. Layers before ``first``
    have one feed-forward layer."""

    experts: int = 256
    top: int = 8
    hidden: int = 2048
    groups: int = 8
    best_groups: int = 4
    renormalise: bool = True
    scale: float = 2.5
    shared: int = 1
    first: int = 3

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from decoder.check_experts(self)
        yield from between(self, 1, shared.LARGEST, "hidden")
        yield from between(self, 1, self.experts, "groups", "shared")
        yield from between(self, 1, self.groups, "best_groups")
        yield from at_least(self, 0, "first")
        if self.experts % self.groups or self.top > self.best_groups * (self.experts // self.groups):
            yield "groups", "models.expert_groups", {"experts": self.experts, "top": self.top}


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Decoder):
    """Sizes default to the published model."""

    vocab: int = 129_280
    context: int = 163_840
    dim: int = 7168
    depth: int = 61
    hidden: int = 18_432
    activation: str = "silu"
    eps: float = 1e-6
    attention: Attend = Attend()
    moe: Moe = Moe()


def build(config: Config) -> Any:
    wants, moe = config.attention, config.moe
    position = rope.position(wants.rope, wants.turned)
    widen = rope.yarn_scale(wants.rope)
    sizes = {"plain": wants.plain, "turned": wants.turned, "value_dim": wants.value_dim}
    ranks = {"kv_rank": wants.kv_rank, "q_rank": wants.q_rank}

    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps)

    def attention() -> Any:
        projection = layers.Latent(
            dim=config.dim, heads=wants.heads, **sizes, **ranks, norm=layers.RMSNorm, bias=wants.bias
        )  # fmt: skip
        scale = projection.head_dim**-0.5 * widen
        return layers.Attention(projection, position=position, scale=scale, dropout=config.dropout)

    def feed_forward(number: int) -> Any:
        if number < moe.first:
            return layers.Gated(config.dim, config.hidden, config.activation)
        router = layers.GroupRouter(
            config.dim, moe.experts, moe.top, renormalise=moe.renormalise,
            groups=moe.groups, best_groups=moe.best_groups, scale=moe.scale,
        )  # fmt: skip
        always = layers.Gated(config.dim, moe.hidden * moe.shared, config.activation)
        experts = layers.GatedExperts(config.dim, moe.hidden, config.activation, moe.experts)
        return layers.Experts(router, experts, always)

    def block(number: int) -> Any:
        return decoder.pre_norm(config, norm, attention(), feed_forward(number))

    tokens = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    return decoder.model(config, tokens, [block(number) for number in range(config.depth)], norm())


initialise = decoder.initialise


def _q(config: Config) -> Op:
    wants = config.attention
    return Interleaved(wants.heads, wants.turned, wants.plain) if wants.interleaved else same


def _kv(config: Config) -> Op:
    wants = config.attention
    return Interleaved(1, wants.turned, wants.kv_rank) if wants.interleaved else same


TABLE = Table(
    prefix="model.",
    instead=decoder.alone,
    rows=(
        *decoder.LLAMA_ENDS,
        *decoder.LLAMA_NORMS,
        *rows("""
            model.layers.*.self_attn.q_proj.weight                      stack.blocks.*.attention.q.weight
            model.layers.*.self_attn.q_b_proj.weight                    stack.blocks.*.attention.q_up.weight
        """, _q),
        *with_endings("""
            model.layers.*.self_attn.kv_a_proj_with_mqa                 stack.blocks.*.attention.kv_down
        """, ".weight", ".bias", op=_kv),
        *with_endings("""
            model.layers.*.self_attn.q_a_proj                           stack.blocks.*.attention.q_down
            model.layers.*.self_attn.q_a_layernorm                      stack.blocks.*.attention.q_norm
            model.layers.*.self_attn.kv_a_layernorm                     stack.blocks.*.attention.kv_norm
            model.layers.*.self_attn.kv_b_proj                          stack.blocks.*.attention.kv_up
            model.layers.*.self_attn.o_proj                             stack.blocks.*.attention.o
        """, ".weight", ".bias"),
        *decoder.LLAMA_FEED_FORWARD,
        *rows("""
            model.layers.*.mlp.gate.weight                              stack.blocks.*.feed_forward.router.weight
            model.layers.*.mlp.gate.e_score_correction_bias             stack.blocks.*.feed_forward.router.balance
            model.layers.*.mlp.shared_experts.gate_proj.weight          stack.blocks.*.feed_forward.shared.gate.weight
            model.layers.*.mlp.shared_experts.up_proj.weight            stack.blocks.*.feed_forward.shared.up.weight
            model.layers.*.mlp.shared_experts.down_proj.weight          stack.blocks.*.feed_forward.shared.down.weight
        """),
        *decoder.EXPERTS,
        Tie("lm_head.weight", "model.embed_tokens.weight"),
        Past("model.layers.*."),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim",
        "num_hidden_layers": "depth", "intermediate_size": "hidden", "rms_norm_eps": "eps",
        "attention_dropout": "dropout", "tie_word_embeddings": "tied",
        "num_attention_heads": "attention.heads", "qk_nope_head_dim": "attention.plain",
        "qk_rope_head_dim": "attention.turned", "v_head_dim": "attention.value_dim",
        "kv_lora_rank": "attention.kv_rank", "q_lora_rank": "attention.q_rank", "attention_bias": "attention.bias",
        "rope_interleave": "attention.interleaved",
        "n_routed_experts": "moe.experts", "num_experts_per_tok": "moe.top", "moe_intermediate_size": "moe.hidden",
        "n_group": "moe.groups", "topk_group": "moe.best_groups", "norm_topk_prob": "moe.renormalise",
        "routed_scaling_factor": "moe.scale", "n_shared_experts": "moe.shared",
        "first_k_dense_replace": "moe.first",
    },
    only={
        "scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",),
        "moe_layer_freq": (1,),
    },
    harmless=frozenset({
        "num_key_value_heads", "head_dim", "qk_head_dim", "ep_size", "pretraining_tp", "aux_loss_alpha", "seq_aux",
        "output_router_logits", "num_nextn_predict_layers",
    }),
    default=decoder.LLAMA_DEFAULTS | {"attention_bias": False, "rope_interleave": True},
)  # fmt: skip
HEADS = decoder.names("DeepseekV3", "tag")
_ACTIVATION = ("hidden_act", "silu")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, *rope.KEYS)
    values["attention.rope"] = rope.read(data, where, also=rope.MSCALE)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    wants = config.attention
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION)
    made |= rope.write(wants.rope, rope.MSCALE if wants.rope.scaling == "yarn" else None)
    own = {"num_key_value_heads": wants.heads, "num_nextn_predict_layers": 0}
    return made | {"model_type": "deepseek_v3", **own}
