"""Models of images in the family table."""

from __future__ import annotations

from collections.abc import Iterator

from family_rows import DEPTH, Case, Row

SIDE, PATCH, CHANNELS, CLASSES = 20, 5, 3, 7
_SIZES = {
    "hidden_size": 21,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "image_size": SIDE,
    "patch_size": PATCH,
}

VIT = Row(
    model_type="vit",
    architecture="ViTForImageClassification",
    kind="encoder",
    config={**_SIZES, "num_labels": CLASSES},
    variants={
        "pool": {"architecture": "ViTModel"},
        "pixels": {"architecture": "ViTForMaskedImageModeling", "encoder_stride": PATCH},
        "plain": {"qkv_bias": False, "hidden_act": "relu", "image_size": [25, 15], "num_channels": 1},
    },
)
DEIT = Row(
    model_type="deit",
    architecture="DeiTForImageClassification",
    kind="encoder",
    config={**_SIZES, "num_labels": CLASSES},
    variants={
        "teacher": {"architecture": "DeiTForImageClassificationWithTeacher"},
        "pool": {"architecture": "DeiTModel"},
        "pixels": {"architecture": "DeiTForMaskedImageModeling", "encoder_stride": PATCH},
    },
)

_RATIO = {key: value for key, value in _SIZES.items() if key != "intermediate_size"}
DINOV2 = Row(
    model_type="dinov2",
    architecture="Dinov2ForImageClassification",
    kind="encoder",
    config={**_RATIO, "num_labels": CLASSES, "mlp_ratio": 2},
    variants={
        "pool": {"architecture": "Dinov2Model"},
        "gated": {"use_swiglu_ffn": True, "mlp_ratio": 3, "use_mask_token": False, "layerscale_value": 0.7},
    },
)
BEIT = Row(
    model_type="beit",
    architecture="BeitForImageClassification",
    kind="encoder",
    config={**_SIZES, "num_labels": CLASSES, "use_relative_position_bias": True},
    variants={
        "pool": {"architecture": "BeitModel", "use_mask_token": True},
        "codes": {
            "architecture": "BeitForMaskedImageModeling",
            "use_mask_token": True,
            "vocab_size": 11,
            "use_relative_position_bias": False,
            "use_shared_relative_position_bias": True,
        },
        "absolute": {
            "use_relative_position_bias": False,
            "use_absolute_position_embeddings": True,
            "layer_scale_init_value": 0.0,
            "use_mean_pooling": False,
        },
        "segment": {
            "architecture": "BeitForSemanticSegmentation",
            "num_hidden_layers": 5,
            "out_indices": [1, 3, 4, 5],
            "auxiliary_channels": 11,
            "auxiliary_num_convs": 2,
            "auxiliary_concat_input": True,
        },
        "segment-alone": {
            "architecture": "BeitForSemanticSegmentation",
            "num_hidden_layers": 5,
            "out_indices": [2, 3, 4, 5],
            "use_auxiliary_head": False,
            "use_mean_pooling": False,
            "pool_scales": [1, 3],
        },
    },
)
VIT_MAE = Row(
    model_type="vit_mae",
    architecture="ViTMAEForPreTraining",
    kind="encoder",
    config={
        **_SIZES,
        "decoder_hidden_size": 12,
        "decoder_num_hidden_layers": 3,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 13,
        "mask_ratio": 0.7,
    },
    variants={"pool": {"architecture": "ViTMAEModel", "mask_ratio": 0.0}, "normed": {"norm_pix_loss": True}},
)
YOLOS = Row(
    model_type="yolos",
    architecture="YolosForObjectDetection",
    kind="encoder",
    config={**_SIZES, "image_size": [20, 30], "num_labels": CLASSES, "num_detection_tokens": 11}
    | {"num_hidden_layers": 3},
    variants={
        "pool": {"architecture": "YolosModel"},
        "once": {"use_mid_position_embeddings": False, "qkv_bias": False},
    },
)

SEGFORMER = Row(
    model_type="segformer",
    architecture="SegformerForSemanticSegmentation",
    kind="encoder",
    config={
        "hidden_sizes": [6, 10, 14, 15],
        "depths": [1, 2, 1, 2],
        "num_attention_heads": [1, 2, 2, 3],
        "sr_ratios": [4, 2, 1, 1],
        "mlp_ratios": [2, 3, 2, 2],
        "decoder_hidden_size": 11,
        "num_labels": CLASSES,
    },
    variants={
        "classify": {"architecture": "SegformerForImageClassification"},
        "pool": {"architecture": "SegformerModel"},
    },
)
_NETWORK = {
    "model_type": "resnet",
    "embedding_size": 6,
    "hidden_sizes": [8, 12],
    "depths": [1, 2],
    "out_features": ["stage2"],
}
DETR = Row(
    model_type="detr",
    architecture="DetrForObjectDetection",
    kind="encoder",
    config={
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone_config": _NETWORK,
        "d_model": 12,
        "encoder_layers": DEPTH,
        "decoder_layers": 3,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 3,
        "encoder_ffn_dim": 17,
        "decoder_ffn_dim": 19,
        "num_queries": 11,
        "num_labels": CLASSES,
    },
    variants={
        "basic": {
            "backbone_config": {**_NETWORK, "layer_type": "basic", "downsample_in_first_stage": True},
            "activation_function": "gelu",
        },
        "narrow": {"backbone_config": {**_NETWORK, "downsample_in_bottleneck": True, "depths": [2, 1]}},
        "auxiliary": {"auxiliary_loss": True},
        "segment": {
            "architecture": "DetrForSegmentation",
            "backbone_config": {
                **_NETWORK,
                "hidden_sizes": [8, 12, 16, 20],
                "depths": [1, 2, 1, 1],
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            "d_model": 64,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 4,
            "mask_loss_coefficient": 3,
            "dice_loss_coefficient": 2,
        },
    },
)

ROWS = (VIT, DEIT, DINOV2, BEIT, VIT_MAE, YOLOS, SEGFORMER, DETR)


def cases(*ends: str) -> list[Case]:
    """All cases, or those whose architecture has one of these ends."""
    return [case for case in _all() if not ends or case.architecture.endswith(ends)]


def _all() -> Iterator[Case]:
    for row in ROWS:
        if row not in _CASES:
            _CASES[row] = [Case(row), *(Case(row, variant) for variant in row.variants)]
        yield from _CASES[row]


_CASES: dict[Row, list[Case]] = {}
