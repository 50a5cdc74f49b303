"""Encoder-decoders of the family table."""

from __future__ import annotations

from family_rows import CONTEXT, DEPTH, VOCAB, Row

_SIDES = {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in {"layers": DEPTH, "attention_heads": 3, "ffn_dim": 17}.items()
}
_TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2, "forced_eos_token_id": None}

MARIAN = Row(
    model_type="marian",
    architecture="MarianMTModel",
    kind="seq2seq",
    config={
        "vocab_size": VOCAB,
        "d_model": 42,
        "max_position_embeddings": CONTEXT,
        "scale_embedding": True,
        "activation_function": "relu",
        **_SIDES,
        **_TOKENS,
    },
    variants={
        "plain": {"scale_embedding": False, "activation_function": "silu"},
        "unlike": {"decoder_layers": 3, "decoder_attention_heads": 7, "decoder_ffn_dim": 13},
    },
    fixed=("embed_positions",),
)

_BART = {
    "vocab_size": VOCAB,
    "d_model": 42,
    "max_position_embeddings": CONTEXT,
    **{**_SIDES, "decoder_layers": 3, "decoder_attention_heads": 7, "decoder_ffn_dim": 13},
    **_TOKENS,
}
BART = Row(
    model_type="bart",
    architecture="BartForConditionalGeneration",
    kind="seq2seq",
    config=_BART,
    variants={
        "scaled": {"scale_embedding": True, "activation_function": "relu"},
        "span": {"architecture": "BartForQuestionAnswering"},
    },
)
LED = Row(
    model_type="led",
    architecture="LEDForConditionalGeneration",
    kind="seq2seq",
    config={
        **{key: value for key, value in _BART.items() if key != "max_position_embeddings"},
        "max_encoder_position_embeddings": 37,
        "max_decoder_position_embeddings": CONTEXT,
        "attention_window": [4, 8],
    },
    variants={"span": {"architecture": "LEDForQuestionAnswering"}},
)
MBART = Row(
    model_type="mbart",
    architecture="MBartForConditionalGeneration",
    kind="seq2seq",
    config={**_BART, "scale_embedding": True},
    variants={"plain": {"scale_embedding": False}, "span": {"architecture": "MBartForQuestionAnswering"}},
)
PEGASUS = Row(
    model_type="pegasus",
    architecture="PegasusForConditionalGeneration",
    kind="seq2seq",
    config={**_BART, "decoder_ffn_dim": 19, "scale_embedding": True, "activation_function": "relu"},
    fixed=("embed_positions",),
)
M2M_100 = Row(
    model_type="m2m_100",
    architecture="M2M100ForConditionalGeneration",
    kind="seq2seq",
    config={**_BART, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
    pad=1,
)
_T5 = {
    "vocab_size": VOCAB,
    "d_model": 23,
    "d_kv": 7,
    "d_ff": 17,
    "num_layers": 3,
    "num_decoder_layers": DEPTH,  # the reference cannot generate with more than the encoder has
    "num_heads": 3,
    "relative_attention_num_buckets": 10,
    "relative_attention_max_distance": 11,
    "decoder_start_token_id": 0,
    "bos_token_id": None,
}
T5 = Row(
    model_type="t5",
    architecture="T5ForConditionalGeneration",
    kind="seq2seq",
    config=_T5,
    variants={
        "gated": {"feed_forward_proj": "gated-gelu"},
        "silu": {"feed_forward_proj": "gated-silu", "num_decoder_layers": None},
        "encoder": {"architecture": "T5EncoderModel", "kind": "encoder"},
        "tag": {"architecture": "T5ForTokenClassification", "kind": "encoder", "num_labels": 5},
        "span": {"architecture": "T5ForQuestionAnswering", "feed_forward_proj": "gated-gelu"},
    },
)
MT5 = Row(
    model_type="mt5",
    architecture="MT5ForConditionalGeneration",
    kind="seq2seq",
    config=_T5,
    variants={
        "encoder": {"architecture": "MT5EncoderModel", "kind": "encoder"},
        "tag": {"architecture": "MT5ForTokenClassification", "kind": "encoder", "num_labels": 5},
        "span": {"architecture": "MT5ForQuestionAnswering"},
    },
)

ROWS = (BART, LED, M2M_100, MARIAN, MBART, MT5, PEGASUS, T5)
