"""SigLIP (Zhai et al. 2023): CLIP with a text seen from both sides and always filled up, an image pooled by attention,
and each pair of text and image judged by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import heads, layers
from regard.config import Problem, at_least
from regard.models import encoder, pairs, shared, vision
from regard.weights import foreign
from regard.weights.layouts import Under
from regard.weights.table import Drop, Fused, Table, rows, with_endings

READS = pairs.READS


@dataclass(frozen=True, kw_only=True)
class Text(pairs.Text):
    """width: features of the vector; None: as many as the stack has."""

    activation: str = "gelu_tanh"
    eps: float = 1e-6
    width: int | None = None

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from at_least(self, 1, "width")


@dataclass(frozen=True, kw_only=True)
class Image(pairs.Image):
    """Sizes default to the base model's."""

    activation: str = "gelu_tanh"
    eps: float = 1e-6


_TEXT, _IMAGE = Text(), Image()


@dataclass(frozen=True, kw_only=True)
class Config(pairs.Both):
    """pad: the token that texts are filled up with."""

    text: Text | None = _TEXT
    image: Image | None = _IMAGE
    pad: int = 1

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        if self.head == "pairs" and self.reads != READS:
            yield "head", "models.no_tower", {}
        wide = None if self.text is None else _width(self.text)
        if self.reads == READS and self.image is not None and wide != self.image.dim:
            yield "text", "models.one_space", {"text": wide, "image": self.image.dim}
        if self.text is not None and not 0 <= self.pad < self.text.vocab:
            yield "pad", "config.between", {"least": 0, "most": self.text.vocab - 1}


def _width(side: Text) -> int:
    """Features of the space that both share."""
    return side.dim if side.width is None else side.width


def build(config: Config) -> Any:
    from regard.models.towers import Tower, Towers

    if config.head == "classify" and config.image is not None:
        pool = heads.Pool(config.image.dim, "mean")
        return Tower(config, _image(config.image, heads.Classify(pool, config.image.dim, len(config.labels))))
    text = None if config.text is None else _text(config.text)
    image = None if config.image is None else _image(config.image, pairs.vector(_pool(config.image)))
    # The first values of the paper, section 3.3: a factor of 10, and nearly every pair judged not to belong together.
    head = None if text is None or image is None else heads.SigmoidPairs(2.3026, -10.0)
    return Towers(config, text=text, image=image, head=head, fill=config.pad)


def _text(side: Text) -> Any:
    head = pairs.vector(heads.Pool(side.dim, "last"), project=(side.dim, _width(side)), bias=True)
    return pairs.text(side, head, causal=False)


def _image(side: Image, head: Any) -> Any:
    return pairs.image(side, head, norm=vision.norm(side))


def _pool(config: Image) -> Any:
    feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
    block = layers.Block(feed_forward=layers.Residual(sublayer=feed_forward, before=vision.norm(config)))
    return heads.AttentionPool(config.dim, layers.CrossAttention(encoder.projection(config)), block)


initialise = pairs.initialise

_POOL = (
    *with_endings("""
        vision_model.head.attention.out_proj        image.head.pool.attention.o
        vision_model.head.layernorm                 image.head.pool.block.feed_forward_before
        vision_model.head.mlp.fc1                   image.head.pool.block.feed_forward.up
        vision_model.head.mlp.fc2                   image.head.pool.block.feed_forward.down
    """, ".weight", ".bias"),
    *rows("vision_model.head.probe                      image.head.pool.query", Under(2)),
    *rows("vision_model.head.attention.in_proj_weight   image.head.pool.attention.{q,k,v}.weight", Fused()),
    *rows("vision_model.head.attention.in_proj_bias     image.head.pool.attention.{q,k,v}.bias", Fused()),
)  # fmt: skip
TABLE = Table(
    rows=(
        *pairs.NAMES,
        *with_endings("""
            text_model.head                             text.head.project
            vision_model.post_layernorm                 image.stack.norm
        """, ".weight", ".bias"),
        *_POOL,
        # A classifier does not look at what the pool finds, though its files may have it.
        *(Drop(name) for one in _POOL for name in one.theirs),
    ),
    parts=pairs.PARTS,
)  # fmt: skip

TEXT = pairs.text_fields(
    vocab_size=32_000, max_position_embeddings=64, hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
    intermediate_size=3072, layer_norm_eps=1e-6,
)  # fmt: skip
IMAGE = pairs.image_fields(
    patch_size=16, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
    layer_norm_eps=1e-6,
)  # fmt: skip
FIELDS = foreign.Fields(same={}, harmless=pairs.UNUSED)
HEADS: pairs.Heads = {
    "SiglipModel": ("siglip", "pairs"),
    "SiglipForImageClassification": ("siglip", "classify"),
    "SiglipTextModel": ("siglip_text_model", "pool"),
    "SiglipVisionModel": ("siglip_vision_model", "pool"),
}
_ACT = "gelu_pytorch_tanh"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    kind, head = pairs.asked(data, HEADS, where)
    values: dict[str, Any] = {"head": head}
    if kind == "siglip":
        values |= FIELDS.read(data, where, understood=pairs.SECTIONS)
        text, image = (pairs.section(data, key, where) for key in ("text_config", "vision_config"))
        values["labels"] = foreign.labels(data, where) if head == "classify" else ()
    else:
        text, image = (data if name in kind else None for name in ("text", "vision"))
    values["text"] = None if text is None else _read_text(text, where)
    values["image"] = None if image is None else _read_image(image, head, where)
    values["pad"] = 1 if text is None else text.get("pad_token_id", 1)
    return foreign.config(Config, values, where, FIELDS)


def _read_text(data: Mapping[str, Any], where: str) -> Text:
    found = pairs.text_values(data, where, TEXT, _ACT, "projection_size")
    width = data.get("projection_size")
    return foreign.config(Text, {**found, "width": None if width == found["dim"] else width}, where, TEXT)


def _read_image(data: Mapping[str, Any], head: pairs.Head, where: str) -> Image:
    pooled = data.get("vision_use_head", True)
    if pooled is not True and (head != "classify" or pooled is not False):  # to a classifier it is one
        shared.refuse("vision_use_head", pooled, (True,), where)
    return foreign.config(Image, pairs.image_values(data, where, IMAGE, _ACT, "vision_use_head"), where, IMAGE)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    text = image = None
    if config.text is not None:
        text = pairs.written(config.text, TEXT, "siglip_text_model", _ACT)
        text |= {"projection_size": _width(config.text), "pad_token_id": config.pad}
    if config.image is not None:
        image = pairs.written(config.image, IMAGE, "siglip_vision_model", _ACT)
        image |= {"vision_use_head": config.head != "classify"}
    return pairs.described(config, HEADS, FIELDS.write(config), (text, image), "siglip")
