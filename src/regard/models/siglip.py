"""SigLIP (Zhai et al. 2023): CLIP with a text seen from both sides and always filled up, an image pooled by attention,
and each pair of text and image judged by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import heads, layers
from regard.config import Problem, at_least, verify
from regard.models import encoder, pairs, shared, vision
from regard.weights import foreign
from regard.weights.layouts import Under
from regard.weights.table import Fused, Table, rows, with_endings

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
class Config:
    """pad: the token that texts are filled up with."""

    text: Text = _TEXT
    image: Image = _IMAGE
    pad: int = 1

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        if self.width != self.image.dim:
            yield "text", "models.one_space", {"text": self.width, "image": self.image.dim}
        if not 0 <= self.pad < self.text.vocab:
            yield "pad", "config.between", {"least": 0, "most": self.text.vocab - 1}

    @property
    def width(self) -> int:
        """Features of the space that both share."""
        return self.text.dim if self.text.width is None else self.text.width

    @property
    def depth(self) -> int:
        """Layers of both towers."""
        return self.text.depth + self.image.depth

    @property
    def context(self) -> int:
        """The length in tokens of every text."""
        return self.text.context

    @property
    def vocab(self) -> int:
        """Tokens there are."""
        return self.text.vocab


def build(config: Config) -> Any:
    from regard.models.towers import Towers

    project = (config.text.dim, config.width)
    head = pairs.vector(heads.Pool(config.text.dim, "last"), project=project, bias=True)
    text = pairs.text(config.text, head, causal=False)
    image = pairs.image(config.image, pairs.vector(_pool(config.image)), norm=vision.norm(config.image))
    # The first values of the paper, section 3.3: a factor of 10, and nearly every pair judged not to belong together.
    return Towers(config, text=text, image=image, head=heads.SigmoidPairs(2.3026, -10.0), fill=config.pad)


def _pool(config: Image) -> Any:
    feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
    block = layers.Block(feed_forward=layers.Residual(sublayer=feed_forward, before=vision.norm(config)))
    return heads.AttentionPool(config.dim, layers.CrossAttention(encoder.projection(config)), block)


initialise = pairs.initialise

TABLE = Table(
    rows=(
        *pairs.NAMES,
        *with_endings("""
            text_model.head                                 text.head.project
            vision_model.post_layernorm                     image.stack.norm
            vision_model.head.attention.out_proj            image.head.pool.attention.o
            vision_model.head.layernorm                     image.head.pool.block.feed_forward_before
            vision_model.head.mlp.fc1                       image.head.pool.block.feed_forward.up
            vision_model.head.mlp.fc2                       image.head.pool.block.feed_forward.down
        """, ".weight", ".bias"),
        *rows("vision_model.head.probe                      image.head.pool.query", Under(2)),
        *rows("vision_model.head.attention.in_proj_weight   image.head.pool.attention.{q,k,v}.weight", Fused()),
        *rows("vision_model.head.attention.in_proj_bias     image.head.pool.attention.{q,k,v}.bias", Fused()),
    ),
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
HEADS = {"SiglipModel": "contrast"}
_SECTIONS = frozenset({"text_config", "text_config_dict", "vision_config", "vision_config_dict"})
_ACT = "gelu_pytorch_tanh"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    shared.foreign_head(data, HEADS, "SiglipModel", where)
    values = FIELDS.read(data, where, understood=_SECTIONS)
    text, image = (pairs.section(data, key, where) for key in ("text_config", "vision_config"))
    if image.get("vision_use_head", True) is not True:
        shared.refuse("vision_use_head", image["vision_use_head"], (True,), where)
    found = pairs.text_values(text, where, TEXT, _ACT, "projection_size")
    found["width"] = text.get("projection_size")
    found["width"] = None if found["width"] == found["dim"] else found["width"]
    values["text"] = foreign.config(Text, found, where, TEXT)
    found = pairs.image_values(image, where, IMAGE, _ACT, "vision_use_head")
    values["image"] = foreign.config(Image, found, where, IMAGE)
    values["pad"] = text.get("pad_token_id", 1)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    text = pairs.written(config.text, TEXT, "siglip_text_model", _ACT)
    text |= {"projection_size": config.width, "pad_token_id": config.pad}
    image = pairs.written(config.image, IMAGE, "siglip_vision_model", _ACT) | {"vision_use_head": True}
    named = {"model_type": "siglip", "architectures": ["SiglipModel"]}
    return FIELDS.write(config) | named | {"text_config": text, "vision_config": image}
