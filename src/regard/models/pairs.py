"""What CLIP and SigLIP share: a tower for texts and one for images, and how their files name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.errors import BadFileError
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.layouts import single
from regard.weights.table import Drop, Row, rows, with_endings

READS = ("text", "image")
Head = Literal["pairs", "pool", "classify"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """A pre-norm stack; sizes default to the base model's."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu"
    eps: float = 1e-5
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "dim", "depth", "heads", "hidden")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "attention_dropout")
        yield from shared.check_heads(self)
        yield from shared.check_activation(self)

    @property
    def bias(self) -> bool:
        """q, k and v have one."""
        return True

    @property
    def dropout(self) -> float:
        """That of what is added to the stream: these models have none."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Text(Side):
    """The tower for texts."""

    vocab: int = 32_000
    context: int = 64

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "vocab", "context")


@dataclass(frozen=True, kw_only=True)
class Image(Side):
    """The tower for images of ``image`` (height, width) pixels, in squares of ``patch``."""

    channels: int = 3
    image: tuple[int, int] = (224, 224)
    patch: int = 16

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "channels", "patch")
        if not all(self.patch <= side <= vision.LARGEST for side in self.image):
            yield "image", "config.between", {"least": self.patch, "most": vision.LARGEST}

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image[0] // self.patch, self.image[1] // self.patch


@dataclass(frozen=True, kw_only=True)
class Both:
    """A model may have one tower alone. head: "pairs" for vectors of one space, "pool" for a tower's own, "classify"
    for the ``labels`` of images, of which a text tower may be described that is not there."""

    text: Text | None = None
    image: Image | None = None
    head: Head = "pairs"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        if self.text is None and self.image is None:
            yield "text", "models.no_tower", {}
        if self.head == "pool" and self.text is not None and self.image is not None:
            yield "head", "models.one_of", {"names": "text, image"}
        if self.head == "classify" and self.image is None:
            yield "image", "models.no_tower", {}
        if self.head == "classify" and len(self.labels) < 2:
            yield "labels", "models.labels", {}

    @property
    def reads(self) -> tuple[str, ...]:
        """What there is a tower for."""
        both = {"text": None if self.head == "classify" else self.text, "image": self.image}
        return tuple(name for name, side in both.items() if side is not None)

    @property
    def depth(self) -> int:
        """Layers of all towers."""
        return sum(getattr(self, name).depth for name in self.reads)

    @property
    def context(self) -> int:
        """The longest text in tokens; without texts, the tokens of an image."""
        if self.text is not None and "text" in self.reads:
            return self.text.context
        return 0 if self.image is None else self.image.grid[0] * self.image.grid[1]

    @property
    def vocab(self) -> int | None:
        """Tokens there are."""
        return self.text.vocab if self.text is not None and "text" in self.reads else None


def text(config: Text, head: Any, *, causal: bool) -> Any:
    """The tower for texts under ``head``, its norm at the end."""
    tokens = embed.Tokens(config.vocab, config.dim, positions=embed.Learned(config.context, config.dim))
    stack = layers.Stack([vision.block(config) for _ in range(config.depth)], norm=vision.norm(config))
    return shared.transformer(config, tokens, stack, head, causal=causal)


def image(config: Image, head: Any, *, first: int = 0, **parts: Any) -> Any:
    """The tower for images; ``first``: learned tokens before the patches, ``parts``: norms of Patches and of the
    stack."""
    positions = embed.GridPositions(config.grid, config.dim, first=first)
    norm, bias = parts.get("embed_norm"), parts.get("bias", True)
    patches = embed.Patches(
        config.channels, config.dim, config.patch, first=first, positions=positions, bias=bias, norm=norm
    )
    stack = layers.Stack([vision.block(config) for _ in range(config.depth)], norm=parts.get("norm"))
    return shared.transformer(config, patches, stack, head, causal=False)


def vector(pool: Any, *, norm: Any = None, project: tuple[int, int] | None = None, bias: bool = False) -> Any:
    """A pooled vector, projected (from, to) so many features."""
    import torch

    linear = None if project is None else torch.nn.Linear(*project, bias=bias)
    return heads.Vector(pool, norm=norm, project=linear)


initialise = vision.initialise

_SIDES = """
    {side}_model.encoder.layers.*.self_attn.q_proj      {ours}.stack.blocks.*.attention.q
    {side}_model.encoder.layers.*.self_attn.k_proj      {ours}.stack.blocks.*.attention.k
    {side}_model.encoder.layers.*.self_attn.v_proj      {ours}.stack.blocks.*.attention.v
    {side}_model.encoder.layers.*.self_attn.out_proj    {ours}.stack.blocks.*.attention.o
    {side}_model.encoder.layers.*.layer_norm1           {ours}.stack.blocks.*.attention_before
    {side}_model.encoder.layers.*.layer_norm2           {ours}.stack.blocks.*.feed_forward_before
    {side}_model.encoder.layers.*.mlp.fc1               {ours}.stack.blocks.*.feed_forward.up
    {side}_model.encoder.layers.*.mlp.fc2               {ours}.stack.blocks.*.feed_forward.down
"""
NAMES: tuple[Row | Drop, ...] = (
    *rows("""
        text_model.embeddings.token_embedding.weight        text.embed.tokens.weight
        text_model.embeddings.position_embedding.weight     text.embed.positions.weight
        vision_model.embeddings.position_embedding.weight   image.embed.positions.weight
        logit_scale                                         head.scale
        logit_bias                                          head.bias
    """),
    *rows("vision_model.embeddings.class_embedding          image.embed.first", single),
    *with_endings("vision_model.embeddings.patch_embedding  image.embed.patch", ".weight", ".bias"),
    *with_endings("text_model.final_layer_norm              text.stack.norm", ".weight", ".bias"),
    *with_endings(_SIDES.format(side="text", ours="text"), ".weight", ".bias"),
    *with_endings(_SIDES.format(side="vision", ours="image"), ".weight", ".bias"),
    *with_endings("classifier                               image.head.out", ".weight", ".bias"),
    Drop("text_model.embeddings.position_ids"),
    Drop("vision_model.embeddings.position_ids"),
)  # fmt: skip

_SIDE = {
    "hidden_size": "dim", "num_hidden_layers": "depth", "num_attention_heads": "heads", "intermediate_size": "hidden",
    "layer_norm_eps": "eps", "attention_dropout": "attention_dropout",
}  # fmt: skip
UNUSED = frozenset({
    "initializer_factor", "dropout", "tie_word_embeddings", "cross_attention_hidden_size",
})  # fmt: skip


def text_fields(**default: Any) -> foreign.Fields:
    """The settings of a tower for texts."""
    same = {**_SIDE, "vocab_size": "vocab", "max_position_embeddings": "context"}
    return foreign.Fields(same=same, harmless=UNUSED, default={"attention_dropout": 0.0, **default})


def image_fields(**default: Any) -> foreign.Fields:
    """The settings of a tower for images."""
    same = {**_SIDE, "num_channels": "channels", "patch_size": "patch"}
    usual = {"attention_dropout": 0.0, "num_channels": 3, **default}
    return foreign.Fields(same=same, harmless=UNUSED, default=usual)


SECTIONS = frozenset({"text_config", "text_config_dict", "vision_config", "vision_config_dict"})
PARTS = ("text_model.", "vision_model.")  # which the files of one tower may leave out
Heads = Mapping[str, tuple[str, Head]]  # their class -> their model type, and our head


def asked(data: Mapping[str, Any], known: Heads, where: str) -> tuple[str, Head]:
    """The model type and the head of a file; of its model type's classes the first is the usual one."""
    kind = data.get("model_type", next(iter(known.values()))[0])
    heads = {name: head for name, (one, head) in known.items() if one == kind}
    return kind, shared.foreign_head(data, heads, next(iter(heads), ""), where)


def described(config: Both, known: Heads, made: Mapping[str, Any], sides: tuple[Any, Any], family: str) -> Any:
    """A file of these ``sides``' settings: one tower's alone, or both and what is ``made`` of the model; with how it is
    called."""
    text, image = sides
    alone = (image if text is None else text) if config.head != "classify" and None in sides else None
    whole = {"text_config": text, "vision_config": image}
    made = alone or {**made, **{key: one for key, one in whole.items() if one is not None}}
    kind = alone["model_type"] if alone else family
    name = next(name for name, one in known.items() if one == (kind, config.head))
    named = foreign.with_labels(config.labels) if config.labels else {}
    return {**made, "model_type": kind, "architectures": [name], **named}


def section(data: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """A tower's settings. Old files say them twice, and then the other place counts."""
    found = data.get(f"{key}_dict")
    found = data.get(key) if found is None else found
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise BadFileError("weights.setting", where=where, key=key, value=found, accepted="{...}")
    return found


def text_values(
    data: Mapping[str, Any], where: str, fields: foreign.Fields, act: str, *own: str
) -> dict[str, Any]:  # fmt: skip
    """Our values of a tower for texts; ``act``: the usual activation, ``own``: keys that the family reads itself."""
    made = fields.read(data, where, understood=frozenset({"hidden_act", *own}))
    return made | {"activation": foreign.activation(data.get("hidden_act", act), where)}


def image_values(
    data: Mapping[str, Any], where: str, fields: foreign.Fields, act: str, *own: str
) -> dict[str, Any]:  # fmt: skip
    """Our values of a tower for images."""
    made = fields.read(data, where, understood=frozenset({"hidden_act", "image_size", *own}))
    made["image"] = vision.both_sides(data.get("image_size", 224), where, "image_size")
    made["patch"] = vision.one_side(made["patch"], where, "patch_size")
    return made | {"activation": foreign.activation(data.get("hidden_act", act), where)}


def written(config: Side, fields: foreign.Fields, model_type: str, act: str) -> dict[str, Any]:
    """The settings of a tower."""
    usual = foreign.ACTIVATIONS[act] == config.activation
    named = act if usual else foreign.foreign_activation(config.activation)
    made = fields.write(config) | {"model_type": model_type, "hidden_act": named}
    if isinstance(config, Image):
        made["image_size"] = config.image[0] if config.image[0] == config.image[1] else list(config.image)
    return made
