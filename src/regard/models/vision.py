"""What ViT and its kin share: images as patches, a pre-norm stack seen from all sides, and how files name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.errors import BadFileError
from regard.models import shared
from regard.weights import foreign
from regard.weights.layouts import Under
from regard.weights.table import Drop, Row, row, rows, with_endings

READS = ("image",)


@dataclass(frozen=True, kw_only=True)
class Vision:
    """Sizes default to the base model. image: (height, width) that the learned positions are of; others stretch them.
    patch: pixels of a side. bias: that of q, k and v. labels: what is told apart."""

    channels: int = 3
    image: tuple[int, int] = (224, 224)
    patch: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu"
    eps: float = 1e-12
    bias: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    head: str = "pool"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image[0] // self.patch, self.image[1] // self.patch

    @property
    def context(self) -> int:
        """Tokens of an image of the usual size."""
        return getattr(self, "first", 1) + self.grid[0] * self.grid[1]

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "channels", "patch", "dim", "depth", "heads", "hidden")
        if not all(self.patch <= side <= LARGEST for side in self.image):
            yield "image", "config.between", {"least": self.patch, "most": LARGEST}
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout")
        yield from shared.check_heads(self)
        yield from shared.check_activation(self)
        if self.head in ("classify", "teacher", "segment", "detect") and len(self.labels) < 2:
            yield "labels", "models.labels", {}


LARGEST = 1 << 15  # pixels of a side


def norm(config: Any, dim: int | None = None) -> Any:
    return layers.LayerNorm(dim or config.dim, eps=config.eps)


def patches(config: Any, *, first: int = 1, last: int = 0, mask: bool = False) -> Any:
    """Patches between learned tokens, at learned positions."""
    positions = embed.GridPositions(config.grid, config.dim, first=first, last=last)
    kept = {"first": first, "last": last, "mask": mask, "dropout": config.dropout}
    return embed.Patches(config.channels, config.dim, config.patch, positions=positions, **kept)


def block(
    config: Any,
    *,
    feed_forward: Any = None,
    projection: Any = None,
    position: Any = None,
    scale: float | None = None,
    skip: float = 0.0,
) -> Any:
    """Attention, then a feed-forward layer, each on the normed stream. scale: what each channel of what they write is
    multiplied by at first (Touvron et al. 2021, CaiT); None: it is not. skip: the rate of stochastic depth."""

    def added(sublayer: Any) -> Any:
        after = None if scale is None else layers.ChannelScale(config.dim, scale)
        return layers.Residual(sublayer=sublayer, before=norm(config), after=after, dropout=config.dropout, skip=skip)

    attention = layers.Attention(_projected(config, projection), position=position, dropout=config.attention_dropout)
    made = feed_forward or layers.FeedForward(config.dim, config.hidden, config.activation)
    return layers.Block(attention=added(attention), feed_forward=added(made))


def _projected(config: Any, kind: Any) -> Any:
    """As many keys and values as queries."""
    return (kind or layers.Grouped)(
        dim=config.dim,
        heads=config.heads,
        kv_heads=config.heads,
        head_dim=config.dim // config.heads,
        bias=config.bias,
        output_bias=True,
    )


def model(config: Any, patches: Any, blocks: list[Any], head: Any, *, norm: Any = None) -> Any:
    return shared.transformer(config, patches, layers.Stack(blocks, norm=norm), head, causal=False)


def head(config: Any) -> Any:
    """The heads that ViT and DeiT have."""
    dim, count = config.dim, len(config.labels)
    return {
        "pool": lambda: heads.Pool(dim, "first", dense=True),
        "classify": lambda: heads.Classify(heads.Pool(dim, "first"), dim, count),
        "teacher": lambda: heads.Taught(dim, count),
        "pixels": lambda: heads.Pixels(dim, config.channels, config.stride, first=config.first),
    }[config.head]()


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02 throughout (Touvron et al. 2021, DeiT)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02))


def body(prefix: str) -> tuple[Row | Drop, ...]:
    """The rows of embeddings and stack where they bear ViT's names."""
    return (
        *rows(f"""
            {prefix}embeddings.cls_token                               embed.first
            {prefix}embeddings.position_embeddings                     embed.positions.weight
        """, row),
        *rows(f"{prefix}embeddings.mask_token                          embed.mask", Under(2)),
        *with_endings(f"{prefix}embeddings.patch_embeddings.projection embed.patch", ".weight", ".bias"),
        *stack(f"{prefix}encoder.layer.*", "stack."),
        *with_endings(f"{prefix}layernorm                              stack.norm", ".weight", ".bias"),
    )  # fmt: skip


def stack(layer: str, ours: str) -> tuple[Row, ...]:
    """The rows of a stack's blocks; ``layer``: what stands before the names of one."""
    return with_endings(f"""
        {layer}.layernorm_before                   {ours}blocks.*.attention_before
        {layer}.attention.attention.query          {ours}blocks.*.attention.q
        {layer}.attention.attention.key            {ours}blocks.*.attention.k
        {layer}.attention.attention.value          {ours}blocks.*.attention.v
        {layer}.attention.output.dense             {ours}blocks.*.attention.o
        {layer}.layernorm_after                    {ours}blocks.*.feed_forward_before
        {layer}.intermediate.dense                 {ours}blocks.*.feed_forward.up
        {layer}.output.dense                       {ours}blocks.*.feed_forward.down
    """, ".weight", ".bias")  # fmt: skip


FIELDS = foreign.Fields(
    same={
        "num_channels": "channels", "patch_size": "patch", "hidden_size": "dim", "num_hidden_layers": "depth",
        "num_attention_heads": "heads", "intermediate_size": "hidden", "layer_norm_eps": "eps", "qkv_bias": "bias",
        "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
    },
    harmless=frozenset({"tie_word_embeddings"}),
    default={
        "num_channels": 3, "patch_size": 16, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "layer_norm_eps": 1e-12, "qkv_bias": True, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "encoder_stride": 16,
    },
)  # fmt: skip

# The weights of a detection's loss, and what a missing one means.
WEIGHTS = {
    "class_cost": "weights.match_class", "bbox_cost": "weights.match_box", "giou_cost": "weights.match_overlap",
    "bbox_loss_coefficient": "weights.box", "giou_loss_coefficient": "weights.overlap",
    "eos_coefficient": "weights.nothing",
}  # fmt: skip
USUAL_WEIGHTS = {
    "class_cost": 1, "bbox_cost": 5, "giou_cost": 2, "bbox_loss_coefficient": 5, "giou_loss_coefficient": 2,
    "eos_coefficient": 0.1,
}  # fmt: skip


def fields(
    same: Mapping[str, str] | None = None,
    only: Mapping[str, tuple[Any, ...]] | None = None,
    *,
    without: tuple[str, ...] = (),
    harmless: frozenset[str] = frozenset(),
    default: Mapping[str, Any] | None = None,
) -> foreign.Fields:
    """ViT's settings, ``without`` some, and a family's own."""
    kept = {key: ours for key, ours in FIELDS.same.items() if key not in without}
    return replace(
        FIELDS,
        same={**kept, **(same or {})},
        only=only or {},
        harmless=FIELDS.harmless | harmless,
        default={**FIELDS.default, **(default or {})},
    )


def values(
    data: Mapping[str, Any],
    where: str,
    fields: foreign.Fields,
    names: Mapping[str, str],
    *,
    size: Any = 224,
    own: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Our values out of a file's. ``names``: foreign class -> head; ``size``: what a missing image_size means; ``own``
    are keys that the family reads by itself."""
    made = fields.read(data, where, understood=own | {"image_size", "hidden_act"})
    usual = next(name for name, head in names.items() if head == "pool")
    made["head"] = shared.foreign_head(data, names, usual, where)
    made["image"] = both_sides(data.get("image_size", size), where, "image_size")
    made["patch"] = one_side(made["patch"], where, "patch_size")
    made["activation"] = foreign.activation(data.get("hidden_act", "gelu"), where)
    named = made["head"] in ("classify", "teacher", "segment", "detect")
    return made | {"labels": foreign.labels(data, where) if named else ()}


def written(config: Any, fields: foreign.Fields, names: Mapping[str, str], model_type: str) -> dict[str, Any]:
    """A file's settings out of ours."""
    made = fields.write(config) | {
        "model_type": model_type,
        "architectures": [shared.architecture(names, config.head)],
        "hidden_act": foreign.foreign_activation(config.activation),
        "image_size": config.image[0] if config.image[0] == config.image[1] else list(config.image),
    }
    return made | (foreign.with_labels(config.labels) if config.labels else {})


def both_sides(size: Any, where: str, key: str) -> tuple[Any, Any]:
    """One number for both sides, or two."""
    if isinstance(size, int | float | str):  # what is no whole number, the config refuses
        return size, size
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise BadFileError("weights.setting", where=where, key=key, value=size, accepted="224, [224, 224]")
    return size[0], size[1]


def one_side(size: Any, where: str, key: str) -> Any:
    """The side of a square."""
    height, width = both_sides(size, where, key)
    if height != width:
        raise BadFileError("weights.setting", where=where, key=key, value=size, accepted=height)
    return height


def pooled_alike(data: Mapping[str, Any], config: Any, where: str) -> None:
    """Poolers are as wide as the stack."""
    width = data.get("pooler_output_size")
    if width not in (None, config.dim):
        shared.refuse("pooler_output_size", width, (config.dim,), where)


def whole(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the weights of a loss as whole numbers where they are: their library takes no others."""
    return {
        key: int(value) if key.endswith(("_cost", "_coefficient")) and value == int(value) else value
        for key, value in settings.items()
    }
