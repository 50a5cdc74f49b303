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
    fixed=("embed_positions",),
)

ROWS = (MARIAN,)
