"""CLIP (Radford et al. 2021): a causal stack for texts, a ViT for images, and one space for the vectors of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import heads
from regard.config import Problem, between, verify
from regard.models import pairs, shared, vision
from regard.weights import foreign
from regard.weights.table import Table, rows, with_endings

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
class Config:
    """width: features of the space that both share. scale: the first logarithm of what cosines are multiplied by. A
    model may have one tower alone."""

    text: Text | None = _TEXT
    image: Image | None = _IMAGE
    width: int = 512
    scale: float = 2.6592

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "width")
        yield from between(self, -20.0, 20.0, "scale")
        if self.text is None and self.image is None:
            yield "text", "models.no_tower", {}

    @property
    def depth(self) -> int:
        """Layers of both towers."""
        return sum(side.depth for side in (self.text, self.image) if side is not None)

    @property
    def context(self) -> int:
        """The longest text in tokens."""
        return 0 if self.text is None else self.text.context

    @property
    def vocab(self) -> int | None:
        """Tokens there are."""
        return None if self.text is None else self.text.vocab


def build(config: Config) -> Any:
    from regard.models.towers import Towers

    text = None if config.text is None else _text(config.text, config.width)
    image = None if config.image is None else _image(config.image, config.width)
    head = None if text is None or image is None else heads.Pairs(config.scale)
    return Towers(config, text=text, image=image, head=head, fill=None)


def _text(config: Text, width: int) -> Any:
    head = pairs.vector(heads.Pool(config.dim, "last"), project=(config.dim, width))
    return pairs.text(config, head, causal=True)


def _image(config: Image, width: int) -> Any:
    pool = heads.Pool(config.dim, "first")
    head = pairs.vector(pool, norm=vision.norm(config), project=(config.dim, width))
    return pairs.image(config, head, first=1, bias=False, embed_norm=vision.norm(config))


initialise = pairs.initialise

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
    ),
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
HEADS = {"CLIPModel": "clip", "CLIPTextModelWithProjection": "clip_text_model"}
HEADS |= {"CLIPVisionModelWithProjection": "clip_vision_model"}
_SECTIONS = ("text_config", "text_config_dict", "vision_config", "vision_config_dict")
_ACT, _WIDTH = "quick_gelu", "projection_dim"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    kind = data.get("model_type", "clip")
    usual = next((name for name, one in HEADS.items() if one == kind), "CLIPModel")
    shared.foreign_head(data, {name: one for name, one in HEADS.items() if one == kind}, usual, where)
    if kind == "clip_text_model":
        text = foreign.config(Text, pairs.text_values(data, where, TEXT, _ACT, _WIDTH), where, TEXT)
        return foreign.config(Config, {"width": data.get(_WIDTH, 512), "text": text, "image": None}, where, FIELDS)
    if kind == "clip_vision_model":
        image = foreign.config(Image, pairs.image_values(data, where, IMAGE, _ACT, _WIDTH), where, IMAGE)
        return foreign.config(Config, {"width": data.get(_WIDTH, 512), "text": None, "image": image}, where, FIELDS)
    values = FIELDS.read(data, where, understood=frozenset(_SECTIONS))
    text, image = (pairs.section(data, key, where) for key in ("text_config", "vision_config"))
    values["text"] = foreign.config(Text, pairs.text_values(text, where, TEXT, _ACT, _WIDTH), where, TEXT)
    values["image"] = foreign.config(Image, pairs.image_values(image, where, IMAGE, _ACT, _WIDTH), where, IMAGE)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    width = {_WIDTH: config.width}
    text = None if config.text is None else pairs.written(config.text, TEXT, "clip_text_model", _ACT) | width
    image = None if config.image is None else pairs.written(config.image, IMAGE, "clip_vision_model", _ACT) | width
    if text is None or image is None:
        made = text or image or {}
    else:
        made = FIELDS.write(config) | {"model_type": "clip", "text_config": text, "vision_config": image}
    name = next(name for name, kind in HEADS.items() if kind == made["model_type"])
    return made | {"architectures": [name]}
