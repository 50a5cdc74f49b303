"""Decoders of the family table."""

from __future__ import annotations

from family_rows import CONTEXT, DEPTH, VOCAB, Row

_CLASSES = {"num_labels": 3, "pad_token_id": 0}
_REWARD = {"num_labels": 1, "pad_token_id": 0}
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}


def rope(**parameters: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_theta": 10_000.0, **parameters}}


LLAMA3 = rope(
    rope_type="llama3",
    factor=4.0,
    original_max_position_embeddings=11,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
)
YARN = rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=7)
LINEAR = rope(rope_type="linear", factor=3.0)
DYNAMIC = rope(rope_type="dynamic", factor=3.0)  # within the context as without; beyond it see test_decoder_parts

_GROUPED = {
    "vocab_size": VOCAB,
    "hidden_size": 13,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "intermediate_size": 17,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
    **_NO_TOKENS,
}

GPT2 = Row(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    config={"vocab_size": VOCAB, "n_embd": 21, "n_layer": DEPTH, "n_head": 3, "n_positions": CONTEXT, "n_inner": 17}
    | _NO_TOKENS,
    variants={
        "untied": {"tie_word_embeddings": False},
        "classify": {"architecture": "GPT2ForSequenceClassification", **_CLASSES},
        "tag": {"architecture": "GPT2ForTokenClassification", "num_labels": 5},
        "span": {"architecture": "GPT2ForQuestionAnswering"},
        "pool": {"architecture": "GPT2Model"},
        "by layer": {"scale_attn_by_inverse_layer_idx": True},
        "unscaled": {"scale_attn_weights": False},
    },
)
QWEN3 = Row(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    config=_GROUPED,
    variants={
        "tied": {"tie_word_embeddings": True, "attention_bias": True},
        "window": {
            "use_sliding_window": True,
            "sliding_window": 5,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        "classify": {"architecture": "Qwen3ForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "Qwen3ForSequenceClassification", **_REWARD},
        "tag": {"architecture": "Qwen3ForTokenClassification", "num_labels": 5},
        "span": {"architecture": "Qwen3ForQuestionAnswering"},
        "pool": {"architecture": "Qwen3Model"},
        "linear": LINEAR,
        "dynamic": DYNAMIC,
        "yarn": YARN,
        "llama3": LLAMA3,
    },
)
LLAMA = Row(
    model_type="llama",
    architecture="LlamaForCausalLM",
    config=_GROUPED | {"hidden_size": 18},
    variants={
        "tied": {"tie_word_embeddings": True},
        "biased": {"attention_bias": True, "mlp_bias": True},
        "classify": {"architecture": "LlamaForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "LlamaForSequenceClassification", **_REWARD},
        "tag": {"architecture": "LlamaForTokenClassification", "num_labels": 5},
        "span": {"architecture": "LlamaForQuestionAnswering"},
        "pool": {"architecture": "LlamaModel"},
        "linear": LINEAR,
        "yarn": YARN,
        "llama3": LLAMA3,
    },
)
MISTRAL = Row(
    model_type="mistral",
    architecture="MistralForCausalLM",
    config=_GROUPED | {"sliding_window": 5},
    variants={
        "whole": {"sliding_window": None},
        "classify": {"architecture": "MistralForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "MistralForSequenceClassification", **_REWARD},
        "tag": {"architecture": "MistralForTokenClassification", "num_labels": 5},
        "span": {"architecture": "MistralForQuestionAnswering"},
        "pool": {"architecture": "MistralModel"},
    },
)
QWEN2 = Row(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    config={key: value for key, value in _GROUPED.items() if key != "head_dim"} | {"hidden_size": 36},
    variants={
        "tied": {"tie_word_embeddings": True},
        "window": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        "classify": {"architecture": "Qwen2ForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "Qwen2ForSequenceClassification", **_REWARD},
        "tag": {"architecture": "Qwen2ForTokenClassification", "num_labels": 5},
        "span": {"architecture": "Qwen2ForQuestionAnswering"},
        "pool": {"architecture": "Qwen2Model"},
        "yarn": YARN,
    },
)
_NEOX = {
    "vocab_size": VOCAB,
    "hidden_size": 36,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": CONTEXT,
    **_NO_TOKENS,
}
GPT_NEOX = Row(
    model_type="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    config=_NEOX | {"rotary_pct": 0.34},
    variants={
        "sequential": {"use_parallel_residual": False, "attention_bias": False},
        "tied": {"tie_word_embeddings": True},
        "whole": rope(rope_type="linear", factor=3.0, partial_rotary_factor=1.0),
        "classify": {"architecture": "GPTNeoXForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "GPTNeoXForSequenceClassification", **_REWARD},
        "tag": {"architecture": "GPTNeoXForTokenClassification", "num_labels": 5},
        "span": {"architecture": "GPTNeoXForQuestionAnswering"},
        "pool": {"architecture": "GPTNeoXModel"},
    },
)
GPTJ = Row(
    model_type="gptj",
    architecture="GPTJForCausalLM",
    config={
        "vocab_size": VOCAB,
        "n_embd": 39,
        "n_layer": DEPTH,
        "n_head": 3,
        "n_positions": CONTEXT,
        "n_inner": 17,
        "rotary_dim": 6,
        **_NO_TOKENS,
    },
    variants={
        "classify": {"architecture": "GPTJForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "GPTJForSequenceClassification", **_REWARD},
        "span": {"architecture": "GPTJForQuestionAnswering"},
        "pool": {"architecture": "GPTJModel"},
    },
)
BLOOM = Row(
    model_type="bloom",
    architecture="BloomForCausalLM",
    config={"vocab_size": VOCAB, "hidden_size": 33, "n_layer": DEPTH, "n_head": 3, "seq_length": CONTEXT} | _NO_TOKENS,
    variants={
        "untied": {"tie_word_embeddings": False},
        "classify": {"architecture": "BloomForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "BloomForSequenceClassification", **_REWARD},
        "tag": {"architecture": "BloomForTokenClassification", "num_labels": 5},
        "span": {"architecture": "BloomForQuestionAnswering"},
        "pool": {"architecture": "BloomModel"},
    },
)
OPT = Row(
    model_type="opt",
    architecture="OPTForCausalLM",
    config={
        "vocab_size": VOCAB,
        "hidden_size": 21,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 3,
        "ffn_dim": 17,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": 0,
        **_NO_TOKENS,
    },
    variants={
        "untied": {"tie_word_embeddings": False},
        "after": {"do_layer_norm_before": False},
        "narrow": {"do_layer_norm_before": False, "word_embed_proj_dim": 13},
        "narrow untied": {"word_embed_proj_dim": 13, "tie_word_embeddings": False},
        "unbiased": {"enable_bias": False},
        "no final norm": {"_remove_final_layer_norm": True},
        "classify": {"architecture": "OPTForSequenceClassification", "num_labels": 3},
        "span": {"architecture": "OPTForQuestionAnswering"},
        "pool": {"architecture": "OPTModel"},
    },
)
GPT_NEO = Row(
    model_type="gpt_neo",
    architecture="GPTNeoForCausalLM",
    config={
        "vocab_size": VOCAB,
        "hidden_size": 21,
        "num_layers": DEPTH,
        "num_heads": 3,
        "intermediate_size": 17,
        "max_position_embeddings": CONTEXT,
        "window_size": 5,
        "attention_types": [[["global", "local"], 1]],
        **_NO_TOKENS,
    },
    variants={
        "untied": {"tie_word_embeddings": False},
        "whole": {"attention_types": [[["global"], 2]]},
        "classify": {"architecture": "GPTNeoForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "GPTNeoForSequenceClassification", **_REWARD},
        "tag": {"architecture": "GPTNeoForTokenClassification", "num_labels": 5},
        "span": {"architecture": "GPTNeoForQuestionAnswering"},
        "pool": {"architecture": "GPTNeoModel"},
    },
)
PHI = Row(
    model_type="phi",
    architecture="PhiForCausalLM",
    config=_NEOX | {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2},
    variants={
        "tied": {"tie_word_embeddings": True},
        "third": rope(rope_type="default", partial_rotary_factor=0.25),
        "classify": {"architecture": "PhiForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "PhiForSequenceClassification", **_REWARD},
        "tag": {"architecture": "PhiForTokenClassification", "num_labels": 5},
        "pool": {"architecture": "PhiModel"},
    },
)
OPENAI_GPT = Row(
    model_type="openai-gpt",
    architecture="OpenAIGPTLMHeadModel",
    config={"vocab_size": VOCAB, "n_embd": 21, "n_layer": DEPTH, "n_head": 3, "n_positions": CONTEXT} | _NO_TOKENS,
    variants={
        "untied": {"tie_word_embeddings": False},
        "classify": {"architecture": "OpenAIGPTForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "OpenAIGPTForSequenceClassification", **_REWARD},
        "pool": {"architecture": "OpenAIGPTModel"},
    },
)
GEMMA2 = Row(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    config=_GROUPED | {"hidden_size": 18, "query_pre_attn_scalar": 7, "sliding_window": 5, "pad_token_id": 0},
    variants={
        "tied": {"tie_word_embeddings": True},
        "capped": {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0, "attention_bias": True},
        "uncapped": {"final_logit_softcapping": None, "attn_logit_softcapping": None},
        "classify": {"architecture": "Gemma2ForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "Gemma2ForSequenceClassification", **_REWARD},
        "tag": {"architecture": "Gemma2ForTokenClassification", "num_labels": 5},
        "pool": {"architecture": "Gemma2Model"},
    },
    norm=0.0,
)
GEMMA3 = Row(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    config=_GROUPED
    | {
        "hidden_size": 18,
        "query_pre_attn_scalar": 7,
        "sliding_window": 5,
        "pad_token_id": 0,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    variants={
        "tied": {"tie_word_embeddings": True, "final_logit_softcapping": 3.0},
        "scaled": {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            }
        },
        "classify": {"architecture": "Gemma3TextForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "Gemma3TextForSequenceClassification", **_REWARD},
        "pool": {"architecture": "Gemma3TextModel"},
    },
    norm=0.0,
)
OLMO2 = Row(
    model_type="olmo2",
    architecture="Olmo2ForCausalLM",
    config={key: value for key, value in _GROUPED.items() if key != "head_dim"} | {"hidden_size": 36},
    variants={
        "tied": {"tie_word_embeddings": True, "attention_bias": True},
        "classify": {"architecture": "Olmo2ForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "Olmo2ForSequenceClassification", **_REWARD},
        "pool": {"architecture": "Olmo2Model"},
    },
)
_EXPERTS = "an expert's product has as many rows as tokens came to it, and a sum's order goes by their number"
MIXTRAL = Row(
    model_type="mixtral",
    architecture="MixtralForCausalLM",
    config=_GROUPED | {"num_local_experts": 5, "num_experts_per_tok": 2},
    variants={
        "tied": {"tie_word_embeddings": True},
        "window": {"sliding_window": 5},
        "classify": {"architecture": "MixtralForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "MixtralForSequenceClassification", **_REWARD},
        "tag": {"architecture": "MixtralForTokenClassification", "num_labels": 5},
        "span": {"architecture": "MixtralForQuestionAnswering"},
        "pool": {"architecture": "MixtralModel"},
    },
    batched=_EXPERTS,
)
QWEN3_MOE = Row(
    model_type="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    config=_GROUPED | {"num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 11, "norm_topk_prob": True},
    variants={
        "tied": {"tie_word_embeddings": True, "norm_topk_prob": False, "attention_bias": True},
        "dense": {"mlp_only_layers": [1]},
        "window": {"use_sliding_window": True, "sliding_window": 5},
        "classify": {"architecture": "Qwen3MoeForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "Qwen3MoeForSequenceClassification", **_REWARD},
        "tag": {"architecture": "Qwen3MoeForTokenClassification", "num_labels": 5},
        "span": {"architecture": "Qwen3MoeForQuestionAnswering"},
        "pool": {"architecture": "Qwen3MoeModel"},
    },
    batched=_EXPERTS,
)
PHI3 = Row(
    model_type="phi3",
    architecture="Phi3ForCausalLM",
    config=_NEOX | {"hidden_size": 60, "num_attention_heads": 6, "num_key_value_heads": 2, "pad_token_id": 0},
    variants={
        "tied": {"tie_word_embeddings": True, "sliding_window": 5},
        "partial": rope(rope_type="default", partial_rotary_factor=0.6),
        "long": {
            "original_max_position_embeddings": 23,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10_000.0,
                "short_factor": [1.0, 1.1, 1.2, 1.3, 1.5],
                "long_factor": [1.0, 2.0, 3.0, 5.0, 7.0],
                "partial_rotary_factor": 1.0,
            },
        },
        "classify": {"architecture": "Phi3ForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "Phi3ForSequenceClassification", **_REWARD},
        "tag": {"architecture": "Phi3ForTokenClassification", "num_labels": 5},
        "pool": {"architecture": "Phi3Model"},
    },
)
_YARN_TWICE = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 7,
    "mscale": 0.7,
    "mscale_all_dim": 0.9,
}
DEEPSEEK_V3 = Row(
    model_type="deepseek_v3",
    architecture="DeepseekV3ForCausalLM",
    config={
        **{key: value for key, value in _GROUPED.items() if key != "head_dim"},
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "q_lora_rank": 11,
        "kv_lora_rank": 7,
        "qk_nope_head_dim": 5,
        "qk_rope_head_dim": 6,
        "v_head_dim": 13,
        "n_routed_experts": 6,
        "n_group": 3,
        "topk_group": 2,
        "num_experts_per_tok": 3,
        "n_shared_experts": 2,
        "moe_intermediate_size": 11,
        "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 0,
    },
    variants={
        "tied": {"tie_word_embeddings": True, "q_lora_rank": None, "attention_bias": True},
        "yarn": {"rope_parameters": _YARN_TWICE},
        "half-split": {"rope_interleave": False, "norm_topk_prob": False},
        "classify": {"architecture": "DeepseekV3ForSequenceClassification", **_CLASSES},
        "reward": {"architecture": "DeepseekV3ForSequenceClassification", **_REWARD},
        "tag": {"architecture": "DeepseekV3ForTokenClassification", "num_labels": 5},
        "pool": {"architecture": "DeepseekV3Model"},
    },
    batched=_EXPERTS,
)

IMAGEGPT = Row(
    model_type="imagegpt",
    architecture="ImageGPTForCausalImageModeling",
    config={
        "vocab_size": VOCAB + 1,  # the last begins an image and is never predicted
        "n_embd": 21,
        "n_layer": DEPTH,
        "n_head": 3,
        "n_positions": CONTEXT,
        "n_inner": 17,
        **_NO_TOKENS,
    },
    variants={
        "unnamed": {"n_inner": None, "activation_function": "gelu_new"},
        "pool": {"architecture": "ImageGPTModel"},
    },
)

ROWS = (
    *(GPT2, QWEN3, LLAMA, MISTRAL, QWEN2, GPT_NEOX, GPTJ, BLOOM, OPT, GPT_NEO, PHI, OPENAI_GPT),
    *(GEMMA2, GEMMA3, OLMO2, MIXTRAL, QWEN3_MOE, PHI3, DEEPSEEK_V3),
    IMAGEGPT,
)
