"""DINOv2 (Oquab et al. 2023): ViT that was taught without labels; its branches are scaled channel by channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regard import heads, layers
from regard.config import Problem, between
from regard.models import vision
from regard.weights import foreign
from regard.weights.table import Fused, Table, row, rows, together, with_endings

if TYPE_CHECKING:
    from torch import Tensor

READS = vision.READS


@dataclass(frozen=True, kw_only=True)
class Config(vision.Vision):
    """Sizes default to the base model. ratio: how much wider the feed-forward layer is than the stack; gated: it is
    SwiGLU, of two thirds of that width. scale: what each channel of a branch is multiplied by at first. skip: the rate
    of stochastic depth. mask: there is a vector for hidden patches."""

    patch: int = 14
    eps: float = 1e-6
    hidden: int = 3072
    ratio: float = 4.0
    gated: bool = False
    scale: float = 1.0
    skip: float = 0.0
    mask: bool = True

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from between(self, 0.01, 1000.0, "ratio")
        yield from between(self, 0.0, 0.99, "skip")


def build(config: Config) -> Any:
    wide = int(config.dim * config.ratio)

    def feed_forward() -> Any:
        if config.gated:
            return layers.Gated(config.dim, (int(wide * 2 / 3) + 7) // 8 * 8, "silu", bias=True)
        return layers.FeedForward(config.dim, wide, config.activation)

    blocks = [
        vision.block(config, feed_forward=feed_forward(), scale=config.scale, skip=config.skip)
        for _ in range(config.depth)
    ]
    dim = config.dim
    head = (
        heads.Classify(heads.Pool(dim, "first_and_rest"), 2 * dim, len(config.labels))
        if config.head == "classify"
        else heads.Pool(dim, "first")
    )
    return vision.model(config, vision.patches(config, mask=config.mask), blocks, head, norm=vision.norm(config))


initialise = vision.initialise


@dataclass(frozen=True)
class _Gated:
    """Gate and up are stored as one, beside down: a block has all three or none."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [*Fused().theirs(ours[:2]), ours[2]]

    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        return [*Fused().ours(theirs[:1], shapes[:2]), theirs[1]]


TABLE = Table(
    prefix="dinov2.",
    rows=(
        *rows("dinov2.embeddings.mask_token                                 embed.mask", row),
        *(
            together(f"""
                dinov2.encoder.layer.*.mlp.weights_in.{end}         stack.blocks.*.feed_forward.{{gate,up}}.{end}
                dinov2.encoder.layer.*.mlp.weights_out.{end}        stack.blocks.*.feed_forward.down.{end}
            """, _Gated())
            for end in ("weight", "bias")
        ),
        *with_endings("""
            dinov2.encoder.layer.*.norm1                            stack.blocks.*.attention_before
            dinov2.encoder.layer.*.norm2                            stack.blocks.*.feed_forward_before
            dinov2.encoder.layer.*.attention.attention.query        stack.blocks.*.attention.q
            dinov2.encoder.layer.*.attention.attention.key          stack.blocks.*.attention.k
            dinov2.encoder.layer.*.attention.attention.value        stack.blocks.*.attention.v
            dinov2.encoder.layer.*.attention.output.dense           stack.blocks.*.attention.o
            dinov2.encoder.layer.*.mlp.fc1                          stack.blocks.*.feed_forward.up
            dinov2.encoder.layer.*.mlp.fc2                          stack.blocks.*.feed_forward.down
            classifier                                              head.out
        """, ".weight", ".bias"),
        *rows("""
            dinov2.encoder.layer.*.layer_scale1.lambda1             stack.blocks.*.attention_after.weight
            dinov2.encoder.layer.*.layer_scale2.lambda1             stack.blocks.*.feed_forward_after.weight
        """),
        *vision.body("dinov2."),
    ),
)  # fmt: skip

FIELDS = vision.fields(
    same={
        "mlp_ratio": "ratio", "use_swiglu_ffn": "gated", "layerscale_value": "scale", "drop_path_rate": "skip",
        "use_mask_token": "mask",
    },
    without=("intermediate_size",),
    harmless=frozenset({
        "apply_layernorm", "out_features", "out_indices", "stage_names", "reshape_hidden_states",
    }),
    default={
        "patch_size": 14, "layer_norm_eps": 1e-6, "mlp_ratio": 4, "use_swiglu_ffn": False, "layerscale_value": 1.0,
        "drop_path_rate": 0.0, "use_mask_token": True,
    },
)  # fmt: skip
HEADS = {"Dinov2Model": "pool", "Dinov2ForImageClassification": "classify"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(Config, vision.values(data, where, FIELDS, HEADS), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = vision.written(config, FIELDS, HEADS, "dinov2")
    return made | {"mlp_ratio": int(config.ratio) if config.ratio == int(config.ratio) else config.ratio}
