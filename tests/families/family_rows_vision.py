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

ROWS = (VIT, DEIT)


def cases(*ends: str) -> list[Case]:
    """All cases, or those whose architecture has one of these ends."""
    return [case for case in _all() if not ends or case.architecture.endswith(ends)]


def _all() -> Iterator[Case]:
    for row in ROWS:
        if row not in _CASES:
            _CASES[row] = [Case(row), *(Case(row, variant) for variant in row.variants)]
        yield from _CASES[row]


_CASES: dict[Row, list[Case]] = {}
