"""Encoder-decoders of the family table whose source is sound."""

from __future__ import annotations

from family_rows import DEPTH, VOCAB, Case, Row

MELS, FRAMES = 5, 26  # of a spectrogram; Whisper's reference takes just so many frames

_SIDES = {
    "encoder_layers": DEPTH,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 17,
    "decoder_layers": 3,
    "decoder_attention_heads": 9,
    "decoder_ffn_dim": 13,
    "d_model": 18,
    "vocab_size": VOCAB,
    "max_target_positions": 29,
    "decoder_start_token_id": 2,
    "eos_token_id": 9,
    "bos_token_id": 3,
}
WHISPER = Row(
    model_type="whisper",
    architecture="WhisperForConditionalGeneration",
    kind="seq2seq",
    config={
        **_SIDES,
        "num_mel_bins": MELS,
        "max_source_positions": FRAMES // 2,
        "pad_token_id": 0,
        "suppress_tokens": [4, 19],
        "begin_suppress_tokens": [7],
    },
    variants={"body": {"architecture": "WhisperModel"}},
)
WHISPER_CLASSIFIER = Row(
    model_type="whisper",
    architecture="WhisperForAudioClassification",
    kind="encoder",
    config={**WHISPER.config, "num_labels": 3, "classifier_proj_size": 19},
    variants={"mixed": {"use_weighted_layer_sum": True}},
)
SPEECH_TO_TEXT = Row(
    model_type="speech_to_text",
    architecture="Speech2TextForConditionalGeneration",
    kind="seq2seq",
    config={
        **_SIDES,
        "input_feat_per_channel": MELS,
        "conv_channels": 14,
        "conv_kernel_sizes": [5, 3],
        "pad_token_id": 1,
    },
    variants={
        "plain": {
            "scale_embedding": False,
            "conv_kernel_sizes": [7],
            "num_conv_layers": 1,
            "activation_function": "gelu",
        },
        "untied": {"tie_word_embeddings": False},
        "body": {"architecture": "Speech2TextModel"},
    },
    pad=1,
)
ROWS = (SPEECH_TO_TEXT, WHISPER)
CASES = [case for row in ROWS for case in (Case(row), *(Case(row, variant) for variant in row.variants))]
