"""Encoders of waveforms: rows of the family table, over which test_wave_families.py runs."""

from __future__ import annotations

from typing import Any

from family_rows import Case, Row

_SIZES: dict[str, Any] = {
    "vocab_size": 13,
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 17,
    "conv_dim": (7, 11, 5),
    "conv_kernel": (5, 3, 2),
    "conv_stride": (3, 2, 1),
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 11,
    "classifier_proj_size": 19,
    "pad_token_id": 3,
}
_BOOK: dict[str, Any] = {
    "num_codevectors_per_group": 3,
    "num_codevector_groups": 2,
    "codevector_dim": 14,
    "proj_codevector_dim": 13,
}
_VOICE: dict[str, Any] = {
    "tdnn_dim": [7, 11, 6],
    "tdnn_kernel": [3, 2, 1],
    "tdnn_dilation": [1, 2, 1],
    "xvector_output_dim": 13,
}
_ADAPTER: dict[str, Any] = {"add_adapter": True, "num_adapter_layers": 2, "adapter_stride": 2}
_STABLE: dict[str, Any] = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}


def heads(family: str, **others: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "body": {"architecture": f"{family}Model"},
        "classify": {"architecture": f"{family}ForSequenceClassification", "num_labels": 3},
        "mixed": {
            "architecture": f"{family}ForSequenceClassification",
            "num_labels": 3,
            "use_weighted_layer_sum": True,
        },
        **others,
    }


def more(family: str, **others: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return heads(
        family,
        tag={"architecture": f"{family}ForAudioFrameClassification", "num_labels": 3, "feat_extract_norm": "layer"},
        pretraining={"architecture": f"{family}ForPreTraining", **_BOOK},
        speaker={"architecture": f"{family}ForXVector", "num_labels": 3, **_VOICE},
        mixed_speaker={
            "architecture": f"{family}ForXVector",
            "num_labels": 3,
            "use_weighted_layer_sum": True,
            **_VOICE,
        },
        **others,
    )


WAV2VEC2 = Row(
    model_type="wav2vec2",
    architecture="Wav2Vec2ForCTC",
    kind="encoder",
    config=_SIZES,
    variants=more(
        "Wav2Vec2",
        stable=_STABLE,
        adapted={**_ADAPTER, "feat_extract_norm": "layer"},
        narrowed={**_ADAPTER, **_STABLE, "output_hidden_size": 14, "num_adapter_layers": 1, "adapter_stride": 3},
        adapted_body={**_ADAPTER, "architecture": "Wav2Vec2Model", "output_hidden_size": 14},
        mms={**_STABLE, "adapter_attn_dim": 7},
        even={"num_conv_pos_embeddings": 4, "mask_time_prob": 0.0, "hidden_act": "relu"},
        stable_mixed={
            **_STABLE,
            "architecture": "Wav2Vec2ForSequenceClassification",
            "num_labels": 3,
            "use_weighted_layer_sum": True,
        },
    ),
)
HUBERT = Row(
    model_type="hubert",
    architecture="HubertForCTC",
    kind="encoder",
    config=_SIZES,
    variants=heads(
        "Hubert",
        stable=_STABLE,
        unnormed={"feat_proj_layer_norm": False},
        batch={"conv_pos_batch_norm": True},
    ),
    unused=("num_batches_tracked",),
)
CONFORMER = Row(
    model_type="wav2vec2-conformer",
    architecture="Wav2Vec2ConformerForCTC",
    kind="encoder",
    config={**_SIZES, "conv_depthwise_kernel_size": 3, "hidden_act": "silu", "feat_extract_norm": "layer"},
    variants=more(
        "Wav2Vec2Conformer",
        rotary={"position_embeddings_type": "rotary", "hidden_size": 12, "num_conv_pos_embedding_groups": 3},
        adapted={**_ADAPTER, "output_hidden_size": 14},
        unplaced={"position_embeddings_type": None},
        group={"feat_extract_norm": "group"},
    ),
    unused=("num_batches_tracked", "pos_conv_embed", "embed_positions"),
    fixed=("embed_positions",),
)
ROWS = (WAV2VEC2, HUBERT, CONFORMER)
CASES = [Case(row, variant) for row in ROWS for variant in ("", *row.variants)]
