"""CLIP (Radford et al. 2021): a causal stack for texts, a ViT for images, and one space for the vectors of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import heads
from regard.config import Problem, between
from regard.models import pairs, shared, vision
from regard.weights import foreign
from regard.weights.table import Drop, Table, rows, with_endings

READS = pairs.READS


@dataclass(frozen=True, kw_only=True)
class Text(pairs.Text):
    """Sizes default to the base model's."""

    vocab: int = 49_408
    context: int = 77
    dim: int = 512
    heads: int = 8
    hidden: int = 2048
    activation: str = "quick_gelu"


@dataclass(frozen=True, kw_only=True)
class Image(pairs.Image):
    """Sizes default to the base model's."""

    patch: int = 32
    activation: str = "quick_gelu"


_TEXT, _IMAGE = Text(), Image()


@dataclass(frozen=True, kw_only=True)
class Config(pairs.Both):
    """width: features of the space that both share. scale: the first logarithm of what cosines are multiplied by."""

    text: Text | None = _TEXT
    image: Image | None = _IMAGE
    width: int = 512
    scale: float = 2.6592

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "width")
        yield from between(self, -20.0, 20.0, "scale")


def build(config: Config) -> Any:
    from regard.models.towers import Tower, Towers

    if config.head == "classify" and config.image is not None:
        return Tower(config, _image(config.image, _classifier(config.image, len(config.labels))))
    text = None if config.text is None else _text(config.text, config)
    image = None if config.image is None else _image(config.image, _seen(config.image, config))
    head = None if text is None or image is None else heads.Pairs(config.scale)
    return Towers(config, text=text, image=image, head=head, fill=None)


def _text(side: Text, config: Config) -> Any:
    head = pairs.vector(heads.Pool(side.dim, "last"), project=_project(side, config))
    return pairs.text(side, head, causal=True)


def _image(side: Image, head: Any) -> Any:
    return pairs.image(side, head, first=1, bias=False, embed_norm=vision.norm(side))


def _seen(side: Image, config: Config) -> Any:
    return pairs.vector(heads.Pool(side.dim, "first"), norm=vision.norm(side), project=_project(side, config))


def _classifier(side: Image, count: int) -> Any:
    """On the mean of the patches, which no norm is put on."""
    return heads.Classify(heads.Pool(side.dim, "rest"), side.dim, count)


def _project(side: Text | Image, config: Config) -> tuple[int, int] | None:
    return None if config.head == "pool" else (side.dim, config.width)


initialise = pairs.initialise


def _unused(value: float) -> Any:
    """The norm of a class token that a classifier does not look at: stored by their library, and asked by nothing."""
    import torch

    def made(model: Any) -> Any:
        config = model.config
        return torch.full((config.image.dim,), value) if config.head == "classify" else None

    return made


TABLE = Table(
    rows=(
        *pairs.NAMES,
        *rows("""
            text_projection.weight            text.head.project.weight
            visual_projection.weight          image.head.project.weight
        """),
        *with_endings("""
            vision_model.pre_layrnorm         image.embed.norm
            vision_model.post_layernorm       image.head.norm
        """, ".weight", ".bias"),
        Drop("vision_model.post_layernorm.weight", _unused(1.0)),
        Drop("vision_model.post_layernorm.bias", _unused(0.0)),
    ),
    parts=pairs.PARTS,
)  # fmt: skip

TEXT = pairs.text_fields(
    vocab_size=49_408, max_position_embeddings=77, hidden_size=512, num_hidden_layers=12, num_attention_heads=8,
    intermediate_size=2048, layer_norm_eps=1e-5,
)  # fmt: skip
IMAGE = pairs.image_fields(
    patch_size=32, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
    layer_norm_eps=1e-5,
)  # fmt: skip
FIELDS = foreign.Fields(
    same={"projection_dim": "width", "logit_scale_init_value": "scale"},
    harmless=pairs.UNUSED,
    default={"projection_dim": 512, "logit_scale_init_value": 2.6592},
)
HEADS: pairs.Heads = {
    "CLIPModel": ("clip", "pairs"),
    "CLIPForImageClassification": ("clip", "classify"),
    "CLIPTextModelWithProjection": ("clip_text_model", "pairs"),
    "CLIPTextModel": ("clip_text_model", "pool"),
    "CLIPVisionModelWithProjection": ("clip_vision_model", "pairs"),
    "CLIPVisionModel": ("clip_vision_model", "pool"),
}
_ACT, _WIDTH = "quick_gelu", "projection_dim"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    kind, head = pairs.asked(data, HEADS, where)
    if kind == "clip":
        values = FIELDS.read(data, where, understood=pairs.SECTIONS)
        text, image = (pairs.section(data, key, where) for key in ("text_config", "vision_config"))
        values["labels"] = foreign.labels(data, where) if head == "classify" else ()
    else:
        values = {"width": data.get(_WIDTH, 512)}
        text, image = (data if name in kind else None for name in ("text", "vision"))
    values["text"] = None if text is None else _read_text(text, where)
    values["image"] = None if image is None else _read_image(image, where)
    return foreign.config(Config, {**values, "head": head}, where, FIELDS)


def _read_text(data: Mapping[str, Any], where: str) -> Text:
    return foreign.config(Text, pairs.text_values(data, where, TEXT, _ACT, _WIDTH), where, TEXT)


def _read_image(data: Mapping[str, Any], where: str) -> Image:
    return foreign.config(Image, pairs.image_values(data, where, IMAGE, _ACT, _WIDTH), where, IMAGE)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    width = {_WIDTH: config.width}
    text = None if config.text is None else pairs.written(config.text, TEXT, "clip_text_model", _ACT) | width
    image = None if config.image is None else pairs.written(config.image, IMAGE, "clip_vision_model", _ACT) | width
    return pairs.described(config, HEADS, FIELDS.write(config), (text, image), "clip")
