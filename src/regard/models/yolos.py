"""YOLOS (Fang et al. 2021): ViT with a hundred learned tokens, each of which says one object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem
from regard.heads.weights import Weights
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.table import Drop, Table, column, row, rows, with_endings

READS = vision.READS


@dataclass(frozen=True, kw_only=True)
class Config(vision.Vision):
    """objects: how many learned tokens. again: positions are added after each layer but the last, too. weights: of the
    loss's parts."""

    image: tuple[int, int] = (512, 864)
    objects: int = 100
    again: bool = True
    weights: Weights = field(default_factory=Weights)

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "objects")


def build(config: Config) -> Any:
    dim, count = config.dim, len(config.labels)
    blocks, norm = [vision.block(config) for _ in range(config.depth)], vision.norm(config)
    if config.again and config.depth > 1:
        stack = layers.PlacedStack(blocks, _again(config), norm=norm)
    else:
        stack = layers.Stack(blocks, norm=norm)
    head = (
        heads.Pool(dim, "first", dense=True)
        if config.head == "pool"
        else heads.Detect(dim, count, config.objects, heads.Layers(dim, count + 1, 3), config.weights)
    )
    patches = vision.patches(config, last=config.objects)
    return shared.transformer(config, patches, stack, head, causal=False)


def _again(config: Config) -> Any:
    """Positions for each layer but the last."""
    import torch

    positions = embed.GridPositions(config.grid, config.dim, last=config.objects)
    positions.weight = torch.nn.Parameter(positions.weight.expand(config.depth - 1, -1, -1).clone())
    return positions


initialise = vision.initialise

TABLE = Table(
    prefix="vit.",
    rows=(
        *vision.body("vit."),
        *rows("vit.embeddings.detection_tokens            embed.last", row),
        *rows("vit.encoder.mid_position_embeddings        stack.positions.weight", column),
        *with_endings("""
            vit.pooler.dense                              head.dense
            class_labels_classifier.layers.*              head.of_class.layers.*
            bbox_predictor.layers.*                       head.box.layers.*
        """, ".weight", ".bias"),
        *(Drop(f"vit.pooler.dense{end}") for end in (".weight", ".bias")),
    ),
)  # fmt: skip

FIELDS = vision.fields(
    same={
        "num_detection_tokens": "objects", "use_mid_position_embeddings": "again", **vision.WEIGHTS,
    },
    only={"auxiliary_loss": (False,)},
    default={"num_detection_tokens": 100, "use_mid_position_embeddings": True, **vision.USUAL_WEIGHTS},
)  # fmt: skip
HEADS = {"YolosModel": "pool", "YolosForObjectDetection": "detect"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(Config, vision.values(data, where, FIELDS, HEADS, size=(512, 864)), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = vision.written(config, FIELDS, HEADS, "yolos")
    return vision.whole(made) | {"image_size": list(config.image)}
