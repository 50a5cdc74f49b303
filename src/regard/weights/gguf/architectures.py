"""The architectures of llama.cpp whose weights a family here can hold: what they call settings and weights, and how
they store them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLAIN, PERMUTED, KEYS_PERMUTED, PLUS_ONE = "plain", "permuted", "keys permuted", "plus one"
TRANSPOSED, APART = "transposed", "apart"  # apart: all of q, then k, then v, and not head by head
# Their name, Hugging Face's, how it is stored. * is a layer's number, # an expert's; where only Hugging Face's has one,
# theirs holds all of a layer's experts.
Row = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`name`: what the files call it. `keys`: metadata key without that name -> key of config.json; `again`: the same
    for keys that only say it once more. `fixed`: settings of all such models; `class_name`: what config.json calls
    their class. `share`: the key of config.json for the share of a head that is rotated. `experts`: files that count
    experts are this one's, and others another's of the same name."""

    name: str
    model_type: str
    rows: tuple[Row, ...]
    keys: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    class_name: str = ""
    again: Mapping[str, str] = field(default_factory=dict)
    share: str = ""
    experts: bool = False


def _rows(text: str, how: str = PLAIN) -> tuple[Row, ...]:
    pairs = (line.split() for line in text.splitlines() if line.strip())
    return tuple((theirs, ours, how) for theirs, ours in pairs)


def _both(text: str, how: str = PLAIN) -> tuple[Row, ...]:
    """Rows of what has a weight and a bias."""
    return tuple((theirs + end, ours + end, how) for theirs, ours, _ in _rows(text) for end in (".weight", ".bias"))


_ENDS = _rows("""
    token_embd.weight            model.embed_tokens.weight
    output.weight                lm_head.weight
""")
_VALUES = _rows("""
    blk.*.attn_v.weight          model.layers.*.self_attn.v_proj.weight
    blk.*.attn_v.bias            model.layers.*.self_attn.v_proj.bias
    blk.*.attn_output.weight     model.layers.*.self_attn.o_proj.weight
    blk.*.attn_output.bias       model.layers.*.self_attn.o_proj.bias
""")
_FEED_FORWARD = _rows("""
    blk.*.ffn_gate.weight        model.layers.*.mlp.gate_proj.weight
    blk.*.ffn_up.weight          model.layers.*.mlp.up_proj.weight
    blk.*.ffn_down.weight        model.layers.*.mlp.down_proj.weight
""")
_QUERIES = (
    "blk.*.attn_q.weight model.layers.*.self_attn.q_proj.weight\nblk.*.attn_q.bias model.layers.*.self_attn.q_proj.bias"
)
_KEYS = (
    "blk.*.attn_k.weight model.layers.*.self_attn.k_proj.weight\nblk.*.attn_k.bias model.layers.*.self_attn.k_proj.bias"
)
_HEAD_NORMS = """
    blk.*.attn_q_norm.weight     model.layers.*.self_attn.q_norm.weight
    blk.*.attn_k_norm.weight     model.layers.*.self_attn.k_norm.weight
"""
_LAST_NORM = "output_norm.weight model.norm.weight\n"
_PRE_NORMS = """
    blk.*.attn_norm.weight       model.layers.*.input_layernorm.weight
    blk.*.ffn_norm.weight        model.layers.*.post_attention_layernorm.weight
"""
_AFTER_NORMS = """
    blk.*.post_attention_norm.weight   model.layers.*.post_attention_layernorm.weight
    blk.*.post_ffw_norm.weight         model.layers.*.post_feedforward_layernorm.weight
"""
_SANDWICH = (
    _AFTER_NORMS
    + """
    blk.*.attn_norm.weight       model.layers.*.input_layernorm.weight
    blk.*.ffn_norm.weight        model.layers.*.pre_feedforward_layernorm.weight
"""
)

_SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
_LAYER_NORM = {"attention.layer_norm_epsilon": "layer_norm_eps"}
_EXPERTS = {"expert_used_count": "num_experts_per_tok"}
_HEAD_DIM = {"attention.key_length": "head_dim"}
_PLAIN_QK = (*_rows(_QUERIES), *_rows(_KEYS))
_GEMMA_KEYS = _SIZES | _HEAD_DIM | {"attention.sliding_window": "sliding_window"}
_CAPS = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False}

ARCHITECTURES = (
    Architecture(
        name="llama",
        model_type="llama",
        class_name="LlamaForCausalLM",
        keys=_SIZES | _HEAD_DIM,
        fixed={"hidden_act": "silu", "mlp_bias": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _PRE_NORMS), *_rows(_QUERIES, PERMUTED), *_rows(_KEYS, KEYS_PERMUTED),
              *_VALUES, *_FEED_FORWARD),
    ),
    Architecture(
        name="qwen2",
        model_type="qwen2",
        class_name="Qwen2ForCausalLM",
        keys=_SIZES,
        fixed={"hidden_act": "silu", "use_sliding_window": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _PRE_NORMS), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    Architecture(
        name="qwen3",
        model_type="qwen3",
        class_name="Qwen3ForCausalLM",
        keys=_SIZES | _HEAD_DIM,
        fixed={"hidden_act": "silu", "use_sliding_window": False, "attention_bias": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _PRE_NORMS + _HEAD_NORMS), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    Architecture(
        name="olmo2",
        model_type="olmo2",
        class_name="Olmo2ForCausalLM",
        keys=_SIZES,
        fixed={"hidden_act": "silu", "attention_bias": False},
        rows=(*_ENDS, *_rows(_LAST_NORM + _AFTER_NORMS + _HEAD_NORMS), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    Architecture(
        name="gemma2",
        model_type="gemma2",
        class_name="Gemma2ForCausalLM",
        keys=_GEMMA_KEYS | _CAPS,
        fixed=_GEMMA,
        rows=(*_ENDS, *_rows(_LAST_NORM + _SANDWICH, PLUS_ONE), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    Architecture(
        name="gemma3",
        model_type="gemma3_text",
        class_name="Gemma3ForCausalLM",
        keys=_GEMMA_KEYS,
        fixed=_GEMMA,
        rows=(*_ENDS, *_rows(_LAST_NORM + _SANDWICH + _HEAD_NORMS, PLUS_ONE), *_PLAIN_QK, *_VALUES, *_FEED_FORWARD),
    ),
    Architecture(
        name="gpt2",
        model_type="gpt2",
        class_name="GPT2LMHeadModel",
        keys={
            "context_length": "n_positions", "embedding_length": "n_embd", "block_count": "n_layer",
            "feed_forward_length": "n_inner", "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon", "vocab_size": "vocab_size",
        },
        fixed={"activation_function": "gelu_new"},
        rows=(
            *_rows("""
                token_embd.weight          transformer.wte.weight
                position_embd.weight       transformer.wpe.weight
                output.weight              lm_head.weight
                output_norm.weight         transformer.ln_f.weight
                output_norm.bias           transformer.ln_f.bias
                blk.*.attn_norm.weight     transformer.h.*.ln_1.weight
                blk.*.attn_norm.bias       transformer.h.*.ln_1.bias
                blk.*.ffn_norm.weight      transformer.h.*.ln_2.weight
                blk.*.ffn_norm.bias        transformer.h.*.ln_2.bias
                blk.*.attn_qkv.bias        transformer.h.*.attn.c_attn.bias
                blk.*.attn_output.bias     transformer.h.*.attn.c_proj.bias
                blk.*.ffn_up.bias          transformer.h.*.mlp.c_fc.bias
                blk.*.ffn_down.bias        transformer.h.*.mlp.c_proj.bias
            """),
            *_rows("""
                blk.*.attn_qkv.weight      transformer.h.*.attn.c_attn.weight
                blk.*.attn_output.weight   transformer.h.*.attn.c_proj.weight
                blk.*.ffn_up.weight        transformer.h.*.mlp.c_fc.weight
                blk.*.ffn_down.weight      transformer.h.*.mlp.c_proj.weight
            """, TRANSPOSED),
        ),
    ),
    Architecture(
        name="llama",
        experts=True,
        model_type="mixtral",
        class_name="MixtralForCausalLM",
        keys=_SIZES | _HEAD_DIM | _EXPERTS | {"expert_count": "num_local_experts"},
        fixed={"hidden_act": "silu"},
        rows=(
            *_ENDS, *_rows(_LAST_NORM + _PRE_NORMS), *_rows(_QUERIES, PERMUTED), *_rows(_KEYS, KEYS_PERMUTED), *_VALUES,
            *_rows("""
                blk.*.ffn_gate_inp.weight     model.layers.*.block_sparse_moe.gate.weight
                blk.*.ffn_gate_exps.weight    model.layers.*.block_sparse_moe.experts.#.w1.weight
                blk.*.ffn_up_exps.weight      model.layers.*.block_sparse_moe.experts.#.w3.weight
                blk.*.ffn_down_exps.weight    model.layers.*.block_sparse_moe.experts.#.w2.weight
                blk.*.ffn_gate.#.weight       model.layers.*.block_sparse_moe.experts.#.w1.weight
                blk.*.ffn_up.#.weight         model.layers.*.block_sparse_moe.experts.#.w3.weight
                blk.*.ffn_down.#.weight       model.layers.*.block_sparse_moe.experts.#.w2.weight
            """),
        ),
    ),
    Architecture(
        name="qwen3moe",
        model_type="qwen3_moe",
        class_name="Qwen3MoeForCausalLM",
        keys=_SIZES | _HEAD_DIM | _EXPERTS | {
            "expert_count": "num_experts", "expert_feed_forward_length": "moe_intermediate_size",
        },
        fixed={
            "hidden_act": "silu", "use_sliding_window": False, "attention_bias": False, "norm_topk_prob": True,
            "decoder_sparse_step": 1, "mlp_only_layers": [],
        },
        rows=(
            *_ENDS, *_rows(_LAST_NORM + _PRE_NORMS + _HEAD_NORMS), *_PLAIN_QK, *_VALUES,
            *_rows("""
                blk.*.ffn_gate_inp.weight     model.layers.*.mlp.gate.weight
                blk.*.ffn_gate_exps.weight    model.layers.*.mlp.experts.#.gate_proj.weight
                blk.*.ffn_up_exps.weight      model.layers.*.mlp.experts.#.up_proj.weight
                blk.*.ffn_down_exps.weight    model.layers.*.mlp.experts.#.down_proj.weight
            """),
        ),
    ),
    Architecture(
        name="phi2",
        model_type="phi",
        class_name="PhiForCausalLM",
        keys={key: name for key, name in _SIZES.items() if not key.endswith("rms_epsilon")} | _LAYER_NORM,
        fixed={"hidden_act": "gelu_new"},
        share="partial_rotary_factor",
        rows=(
            *_rows("""
                token_embd.weight             model.embed_tokens.weight
            """),
            *_both("""
                output                        lm_head
                output_norm                   model.final_layernorm
                blk.*.attn_norm               model.layers.*.input_layernorm
                blk.*.attn_q                  model.layers.*.self_attn.q_proj
                blk.*.attn_k                  model.layers.*.self_attn.k_proj
                blk.*.attn_v                  model.layers.*.self_attn.v_proj
                blk.*.attn_output             model.layers.*.self_attn.dense
                blk.*.ffn_up                  model.layers.*.mlp.fc1
                blk.*.ffn_down                model.layers.*.mlp.fc2
            """),
        ),
    ),
    Architecture(
        name="phi3",
        model_type="phi3",
        class_name="Phi3ForCausalLM",
        keys=_SIZES | {
            "attention.sliding_window": "sliding_window",
            "rope.scaling.original_context_length": "original_max_position_embeddings",
        },
        fixed={"hidden_act": "silu", "attention_bias": False},
        share="partial_rotary_factor",
        rows=(
            *_ENDS, *_rows(_LAST_NORM + _PRE_NORMS),
            *_rows("""
                blk.*.attn_qkv.weight         model.layers.*.self_attn.qkv_proj.weight
                blk.*.attn_output.weight      model.layers.*.self_attn.o_proj.weight
                blk.*.ffn_up.weight           model.layers.*.mlp.gate_up_proj.weight
                blk.*.ffn_down.weight         model.layers.*.mlp.down_proj.weight
            """),
        ),
    ),
    Architecture(
        name="gptneox",
        model_type="gpt_neox",
        class_name="GPTNeoXForCausalLM",
        keys={
            "context_length": "max_position_embeddings", "embedding_length": "hidden_size",
            "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size",
            "attention.head_count": "num_attention_heads", "use_parallel_residual": "use_parallel_residual",
            "rope.freq_base": "rotary_emb_base", "vocab_size": "vocab_size", **_LAYER_NORM,
        },
        again={"attention.head_count_kv": "num_attention_heads"},
        fixed={"hidden_act": "gelu", "attention_bias": True},
        share="rotary_pct",
        rows=(
            *_rows("""
                token_embd.weight             gpt_neox.embed_in.weight
                output.weight                 embed_out.weight
            """),
            *_both("""
                output_norm                   gpt_neox.final_layer_norm
                blk.*.attn_norm               gpt_neox.layers.*.input_layernorm
                blk.*.ffn_norm                gpt_neox.layers.*.post_attention_layernorm
                blk.*.attn_output             gpt_neox.layers.*.attention.dense
                blk.*.ffn_up                  gpt_neox.layers.*.mlp.dense_h_to_4h
                blk.*.ffn_down                gpt_neox.layers.*.mlp.dense_4h_to_h
            """),
            *_both("blk.*.attn_qkv  gpt_neox.layers.*.attention.query_key_value", APART),
        ),
    ),
    Architecture(
        name="bloom",
        model_type="bloom",
        class_name="BloomForCausalLM",
        keys={
            "context_length": "seq_length", "embedding_length": "hidden_size", "block_count": "n_layer",
            "feed_forward_length": "n_inner", "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon", "vocab_size": "vocab_size",
        },
        again={"attention.head_count_kv": "n_head"},
        rows=(
            *_rows("""
                token_embd.weight             transformer.word_embeddings.weight
                output.weight                 lm_head.weight
            """),
            *_both("""
                token_embd_norm               transformer.word_embeddings_layernorm
                output_norm                   transformer.ln_f
                blk.*.attn_norm               transformer.h.*.input_layernorm
                blk.*.ffn_norm                transformer.h.*.post_attention_layernorm
                blk.*.attn_output             transformer.h.*.self_attention.dense
                blk.*.ffn_up                  transformer.h.*.mlp.dense_h_to_4h
                blk.*.ffn_down                transformer.h.*.mlp.dense_4h_to_h
            """),
            *_both("blk.*.attn_qkv  transformer.h.*.self_attention.query_key_value", APART),
        ),
    ),
)  # fmt: skip
NAMES = tuple(dict.fromkeys(one.name for one in ARCHITECTURES))
