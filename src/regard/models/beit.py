"""BEiT (Bao et al. 2021): ViT that was taught to say the codes of hidden patches; offsets in the image as a bias."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.table import Drop, Row, Table, rows, with_endings

READS = vision.READS


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Of the head that says what each pixel is. layers: the four whose inputs it is given, counted from 1; pools: parts
    a side in whose means it sees the smallest map; ignored: the label of pixels that do not count. aside: a training is
    guided by a second head, of so many channels and convolutions, beside which the map itself may be put; its loss
    counts ``aside_weight``."""

    layers: tuple[int, ...] = ()
    pools: tuple[int, ...] = (1, 2, 3, 6)
    ignored: int = 255
    aside: bool = True
    aside_width: int = 256
    aside_depth: int = 1
    aside_joined: bool = False
    aside_weight: float = 0.4

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        if not 1 <= len(self.pools) <= MOST or not all(1 <= one <= 1 << 10 for one in self.pools):
            yield "pools", "config.between", {"least": 1, "most": 1 << 10}
        yield from between(self, 0, (1 << 16) - 1, "ignored")
        yield from shared.check_sizes(self, "aside_width")
        yield from between(self, 1, MOST, "aside_depth")
        yield from between(self, 0.0, 1e6, "aside_weight")


MOST = 8  # means of one map, and convolutions of the head aside


@dataclass(frozen=True, kw_only=True)
class Config(vision.Vision):
    """Sizes default to the base model. offsets: each layer has its bias for the offsets between patches, or all share
    one. absolute: learned positions are added. mean: an image is the mean of its patches. scale: what each channel of a
    branch is multiplied by at first, 0 for not at all. skip: the last layer's rate of stochastic depth, the first's
    being 0. vocab: entries of the codebook. pixels: of a segmentation."""

    vocab: int = 8192
    offsets: Literal["none", "own", "shared"] = "none"
    absolute: bool = False
    mask: bool = False
    mean: bool = True
    scale: float = 0.1
    skip: float = 0.1
    pixels: Pixels = field(default_factory=Pixels)

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "vocab")
        yield from between(self, 0.0, 0.99, "skip")
        yield from at_least(self, 0.0, "scale")
        layers = self.pixels.layers
        rising = len(layers) == 4 and all(one < other for one, other in zip((0, *layers), layers, strict=False))
        if self.head == "segment" and not (rising and layers[-1] <= self.depth):
            yield "pixels", "models.four_layers", {"depth": self.depth}


def build(config: Config) -> Any:
    def bias() -> Any:
        return layers.GridBias(config.grid, config.heads)

    one = layers.Shared(bias()) if config.offsets == "shared" else None

    def block(layer: int) -> Any:
        position = bias() if config.offsets == "own" else one
        skip = config.skip * layer / max(config.depth - 1, 1)
        return vision.block(
            config, projection=layers.KeysUnbiased, position=position, scale=config.scale or None, skip=skip
        )

    positions = embed.GridPositions(config.grid, config.dim) if config.absolute else None
    patches = embed.Patches(
        config.channels, config.dim, config.patch, positions=positions, mask=config.mask, dropout=config.dropout
    )
    norm, blocks = None if config.mean else vision.norm(config), [block(layer) for layer in range(config.depth)]
    if config.head == "segment":
        from regard.models.transformer import Levels

        taken = [layer - 1 for layer in config.pixels.layers]
        stack = layers.Stack(blocks, norm=norm)
        return Levels(config, embed=patches, stack=stack, head=_segment(config), taken=taken)
    return vision.model(config, patches, blocks, _head(config), norm=norm)


def _segment(config: Config) -> Any:
    own, count = config.pixels, len(config.labels)
    sizes = (config.dim, own.aside_width, own.aside_depth, count)
    aside = heads.Aside(*sizes, joined=own.aside_joined, weight=own.aside_weight) if own.aside else None
    return heads.Unified(config.dim, count, own.pools, ignored=own.ignored, aside=aside)


def _head(config: Config) -> Any:
    dim = config.dim
    if config.head == "codes":
        return heads.Codes(dim, config.vocab, vision.norm(config))
    pool = heads.Pool(dim, "rest", transform=vision.norm(config)) if config.mean else heads.Pool(dim, "first")
    return pool if config.head == "pool" else heads.Classify(pool, dim, len(config.labels))


initialise = vision.initialise


def _zero(number: int, of: Callable[[Pixels], int]) -> Callable[[Any], Any]:
    """How many batches a batch norm has seen, which nothing asks; None for one beyond the model's own."""
    import torch

    def made(model: Any) -> Any:
        there = _segments(model.config) and number < of(model.config.pixels)
        return torch.zeros((), dtype=torch.int64) if there else None

    return made


def _convolved(theirs: str, ours: str, of: Callable[[Pixels], int] = lambda own: 1, most: int = 1) -> Iterator[Any]:
    """Convolutions and their norms, of which a model has as many as ``of`` says."""
    for number in range(most):
        there, here = theirs.replace("*", str(number)), ours.replace("*", str(number))
        yield from _normed(f"{there}.bn", f"{here}.norm", number, of)
        yield from rows(f"{there}.conv.weight {here}.convolution.weight")


def _normed(theirs: str, ours: str, number: int = 0, of: Callable[[Pixels], int] = lambda own: 1) -> Iterator[Any]:
    names = {"weight": "weight", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    yield from rows("\n".join(f"{theirs}.{one} {ours}.{own}" for one, own in names.items()))
    yield Drop(f"{theirs}.num_batches_tracked", _zero(number, of))


_SEGMENT = (
    *with_endings("""
        fpn1.0                          head.scaled.first
        fpn1.3                          head.scaled.second
        fpn2.0                          head.scaled.twice
        decode_head.classifier          head.out
        auxiliary_head.classifier       head.aside.out
    """, ".weight", ".bias"),
    *_normed("fpn1.1", "head.scaled.norm"),
    *_convolved("decode_head.psp_modules.*.1", "head.pooled.*", lambda own: len(own.pools), MOST),
    *_convolved("decode_head.bottleneck", "head.whole"),
    *_convolved("decode_head.lateral_convs.*", "head.across.*", lambda own: 3, 3),
    *_convolved("decode_head.fpn_convs.*", "head.smooth.*", lambda own: 3, 3),
    *_convolved("decode_head.fpn_bottleneck", "head.join"),
    *_convolved("auxiliary_head.convs.*", "head.aside.layers.*", lambda own: own.aside * own.aside_depth, MOST),
    *_convolved("auxiliary_head.conv_cat", "head.aside.join", lambda own: own.aside and own.aside_joined),
)  # fmt: skip


def _segments(config: Any) -> bool:
    return getattr(config, "head", "") == "segment"  # as an encoder beside a decoder it has none


_BIAS = "relative_position_bias.relative_position_bias_table"
_INDEX = "relative_position_bias.relative_position_index"
TABLE = Table(
    prefix="beit.",
    rows=(
        *(replace(one, when=_segments) if isinstance(one, Row) else one for one in _SEGMENT),
        *vision.body("beit."),
        *rows(f"""
            beit.encoder.layer.*.attention.attention.{_BIAS}  stack.blocks.*.attention.position.weight
            beit.encoder.{_BIAS}                              stack.blocks.0.attention.position.shared.weight
            beit.encoder.layer.*.lambda_1                     stack.blocks.*.attention_after.weight
            beit.encoder.layer.*.lambda_2                     stack.blocks.*.feed_forward_after.weight
        """),
        *with_endings("""
            beit.pooler.layernorm                             head.transform
            beit.pooler.layernorm                             head.pool.transform
            classifier                                        head.out
            layernorm                                         head.norm
            lm_head                                           head.code
        """, ".weight", ".bias"),
        # Which row of a table each pair of patches takes, which follows from the grid.
        Drop(f"beit.encoder.layer.*.attention.attention.{_INDEX}"),
        Drop(f"beit.encoder.{_INDEX}"),
        *(Drop(f"beit.pooler.layernorm{end}") for end in (".weight", ".bias")),
    ),
)  # fmt: skip

FIELDS = vision.fields(
    same={
        "vocab_size": "vocab", "use_absolute_position_embeddings": "absolute", "use_mask_token": "mask",
        "use_mean_pooling": "mean", "layer_scale_init_value": "scale", "drop_path_rate": "skip",
        "pool_scales": "pixels.pools", "semantic_loss_ignore_index": "pixels.ignored",
        "use_auxiliary_head": "pixels.aside", "auxiliary_channels": "pixels.aside_width",
        "auxiliary_num_convs": "pixels.aside_depth", "auxiliary_concat_input": "pixels.aside_joined",
        "auxiliary_loss_weight": "pixels.aside_weight",
    },
    without=("qkv_bias",),
    harmless=frozenset({
        "out_features", "out_indices", "stage_names", "add_fpn", "reshape_hidden_states", "segmentation_indices",
    }),
    default={
        "vocab_size": 8192, "use_absolute_position_embeddings": False, "use_mask_token": False,
        "use_mean_pooling": True, "layer_scale_init_value": 0.1, "drop_path_rate": 0.1, "pool_scales": (1, 2, 3, 6),
        "semantic_loss_ignore_index": 255, "use_auxiliary_head": True, "auxiliary_channels": 256,
        "auxiliary_num_convs": 1, "auxiliary_concat_input": False, "auxiliary_loss_weight": 0.4,
    },
)  # fmt: skip
HEADS = {"BeitModel": "pool", "BeitForImageClassification": "classify", "BeitForMaskedImageModeling": "codes"}
HEADS |= {"BeitForSemanticSegmentation": "segment"}
_OWN, _SHARED = "use_relative_position_bias", "use_shared_relative_position_bias"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = vision.values(data, where, FIELDS, HEADS, own=frozenset({_OWN, _SHARED}))
    if data.get(_OWN) and data.get(_SHARED):
        shared.refuse(_SHARED, True, (False,), where)
    values["offsets"] = "own" if data.get(_OWN) else "shared" if data.get(_SHARED) else "none"
    if values["offsets"] != "none" and values["image"][0] != values["image"][1]:
        shared.refuse("image_size", values["image"], (values["image"][0],), where)
    if values["head"] == "segment":
        indices = data.get("out_indices")
        values["pixels.layers"] = data.get("segmentation_indices", ()) if indices is None else indices
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = vision.written(config, FIELDS, HEADS, "beit")
    made |= {"pool_scales": list(config.pixels.pools)}
    made |= {"out_indices": list(config.pixels.layers)} if config.head == "segment" else {}
    return made | {_OWN: config.offsets == "own", _SHARED: config.offsets == "shared"}
