"""DeiT (Touvron et al. 2021): ViT with a second learned token, which was taught by another model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard.config import Problem
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.layouts import rows_apart
from regard.weights.table import Drop, Table, rows, with_endings

READS = vision.READS


@dataclass(frozen=True, kw_only=True)
class Config(vision.Vision):
    """stride: pixels of a side that each token says of a masked image."""

    stride: int = 16

    @property
    def first(self) -> int:
        """Tokens before the patches: the class token and the teacher's."""
        return 2

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "stride")


def build(config: Config) -> Any:
    patches = vision.patches(config, first=config.first, mask=config.head == "pixels")
    blocks = [vision.block(config) for _ in range(config.depth)]
    return vision.model(config, patches, blocks, vision.head(config), norm=vision.norm(config))


initialise = vision.initialise

TABLE = Table(
    prefix="deit.",
    rows=(
        *rows("deit.embeddings.{cls_token,distillation_token}   embed.first", rows_apart),
        *vision.body("deit."),
        *with_endings("""
            deit.pooler.dense                head.dense
            classifier                       head.out
            cls_classifier                   head.own
            distillation_classifier          head.teacher
            decoder.0                        head.pixels
        """, ".weight", ".bias"),
        *(Drop(f"deit.pooler.dense{end}") for end in (".weight", ".bias")),
    ),
)  # fmt: skip

FIELDS = vision.fields(
    same={"encoder_stride": "stride"},
    only={"pooler_act": ("tanh",)},
    harmless=frozenset({"pooler_output_size"}),
)
HEADS = {
    "DeiTModel": "pool",
    "DeiTForImageClassification": "classify",
    "DeiTForImageClassificationWithTeacher": "teacher",
    "DeiTForMaskedImageModeling": "pixels",
}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    config = foreign.config(Config, vision.values(data, where, FIELDS, HEADS), where, FIELDS)
    vision.pooled_alike(data, config, where)
    return config


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return vision.written(config, FIELDS, HEADS, "deit") | {"pooler_output_size": config.dim}
