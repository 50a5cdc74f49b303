"""BEiT (Bao et al. 2021): ViT that was taught to say the codes of hidden patches; offsets in the image as a bias."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.table import Drop, Table, rows, with_endings

READS = vision.READS


@dataclass(frozen=True, kw_only=True)
class Config(vision.Vision):
    """Sizes default to the base model. offsets: each layer has its bias for the offsets between patches, or all share
    one. absolute: learned positions are added. mean: an image is the mean of its patches. scale: what each channel of a
    branch is multiplied by at first, 0 for not at all. skip: the last layer's rate of stochastic depth, the first's
    being 0. vocab: entries of the codebook."""

    vocab: int = 8192
    offsets: Literal["none", "own", "shared"] = "none"
    absolute: bool = False
    mask: bool = False
    mean: bool = True
    scale: float = 0.1
    skip: float = 0.1

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "vocab")
        yield from between(self, 0.0, 0.99, "skip")
        yield from at_least(self, 0.0, "scale")


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
    norm = None if config.mean else vision.norm(config)
    return vision.model(config, patches, [block(layer) for layer in range(config.depth)], _head(config), norm=norm)


def _head(config: Config) -> Any:
    dim = config.dim
    if config.head == "codes":
        return heads.Codes(dim, config.vocab, vision.norm(config))
    pool = heads.Pool(dim, "rest", transform=vision.norm(config)) if config.mean else heads.Pool(dim, "first")
    return pool if config.head == "pool" else heads.Classify(pool, dim, len(config.labels))


initialise = vision.initialise

_BIAS = "relative_position_bias.relative_position_bias_table"
_INDEX = "relative_position_bias.relative_position_index"
TABLE = Table(
    prefix="beit.",
    rows=(
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
    },
    without=("qkv_bias",),
    harmless=frozenset({
        "pool_scales", "use_auxiliary_head", "auxiliary_loss_weight", "auxiliary_channels", "auxiliary_num_convs",
        "auxiliary_concat_input", "semantic_loss_ignore_index", "out_features", "out_indices", "stage_names", "add_fpn",
        "reshape_hidden_states", "segmentation_indices",
    }),
    default={
        "vocab_size": 8192, "use_absolute_position_embeddings": False, "use_mask_token": False,
        "use_mean_pooling": True, "layer_scale_init_value": 0.1, "drop_path_rate": 0.1,
    },
)  # fmt: skip
HEADS = {"BeitModel": "pool", "BeitForImageClassification": "classify", "BeitForMaskedImageModeling": "codes"}
_OWN, _SHARED = "use_relative_position_bias", "use_shared_relative_position_bias"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = vision.values(data, where, FIELDS, HEADS, own=frozenset({_OWN, _SHARED}))
    if data.get(_OWN) and data.get(_SHARED):
        shared.refuse(_SHARED, True, (False,), where)
    values["offsets"] = "own" if data.get(_OWN) else "shared" if data.get(_SHARED) else "none"
    if values["offsets"] != "none" and values["image"][0] != values["image"][1]:
        shared.refuse("image_size", values["image"], (values["image"][0],), where)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = vision.written(config, FIELDS, HEADS, "beit")
    return made | {_OWN: config.offsets == "own", _SHARED: config.offsets == "shared"}
