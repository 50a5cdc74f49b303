"""SegFormer (Xie et al. 2021): four stacks, each over a smaller picture than the last; no positions, but convolutions
inside the feed-forward layers; attention to a picture that is smaller still."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem, between, verify
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.table import Drop, Table, rows, with_endings

READS = vision.READS
STAGES = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """What differs by stage is a tuple of four: patches and strides in places of the stage before; ratios: how much
    smaller on each side the picture is that attention looks at; wider: how much wider the feed-forward layer is. width:
    of the head that segments. ignored: the label of pixels that do not count. Defaults to the smallest model."""

    channels: int = 3
    dims: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    patches: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    ratios: tuple[int, ...] = (8, 4, 2, 1)
    wider: tuple[int, ...] = (4, 4, 4, 4)
    activation: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    head_dropout: float = 0.1
    skip: float = 0.1
    width: int = 256
    ignored: int = 255
    head: str = "pool"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    @property
    def depth(self) -> int:
        """Layers of all stages."""
        return sum(self.depths)

    def check(self) -> Iterator[Problem]:
        most = {"dims": shared.LARGEST, "depths": shared.DEEPEST, "heads": shared.MOST_HEADS}
        for name in ("dims", "depths", "heads", "patches", "strides", "ratios", "wider"):
            sizes, largest = getattr(self, name), most.get(name, 1 << 10)
            if len(sizes) != STAGES or not all(1 <= size <= largest for size in sizes):
                yield name, "config.between", {"least": 1, "most": largest}
        for dim, count in zip(self.dims, self.heads, strict=False):
            if count > 0 and dim % count:
                yield "heads", "models.heads", {"dim": dim}
        yield from shared.check_sizes(self, "channels", "width")
        yield from between(self, 0, (1 << 16) - 1, "ignored")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout", "head_dropout", "skip")
        yield from shared.check_activation(self)
        if self.head in ("classify", "segment") and len(self.labels) < 2:
            yield "labels", "models.labels", {}


def build(config: Config) -> Any:
    from regard.models.transformer import Pyramid

    return Pyramid(config, stages=[_stage(config, number) for number in range(STAGES)], head=_head(config))


def _stage(config: Config, number: int) -> tuple[Any, Any]:
    dim, count = config.dims[number], config.heads[number]
    before, channels = sum(config.depths[:number]), (config.channels, *config.dims)[number]
    projection = layers.Grouped(
        dim=dim, heads=count, kv_heads=count, head_dim=dim // count, bias=True, output_bias=True
    )

    def block(layer: int) -> Any:
        skip = config.skip * (before + layer) / max(config.depth - 1, 1)

        def added(sublayer: Any) -> Any:
            return layers.Residual(sublayer=sublayer, before=layers.LayerNorm(dim), dropout=config.dropout, skip=skip)

        attention = layers.ReducedAttention(projection, dim, config.ratios[number], dropout=config.attention_dropout)
        feed_forward = layers.MixedFeedForward(
            dim, dim * config.wider[number], config.activation, dropout=config.dropout
        )
        return layers.Block(attention=added(attention), feed_forward=added(feed_forward))

    patches = embed.OverlappingPatches(
        channels, dim, config.patches[number], config.strides[number], norm=layers.LayerNorm(dim)
    )
    return patches, layers.Stack([block(layer) for layer in range(config.depths[number])], norm=layers.LayerNorm(dim))


def _head(config: Config) -> Any:
    count = len(config.labels)
    return {
        "pool": heads.LastMap,
        "classify": lambda: heads.ClassifyMaps(config.dims[-1], count),
        "segment": lambda: heads.Segment(
            config.dims, config.width, count, ignored=config.ignored, dropout=config.head_dropout
        ),
    }[config.head]()


initialise = vision.initialise


def _zero(model: Any) -> Any:
    """How many batches a batch norm has seen, which nothing asks; None for a model without one."""
    import torch

    return torch.zeros((), dtype=torch.int64) if model.config.head == "segment" else None


def _rows(number: int) -> tuple[Any, ...]:
    block, ours = f"segformer.encoder.block.{number}.*", f"stages.{number}.stack.blocks.*"
    return with_endings(f"""
        segformer.encoder.patch_embeddings.{number}.proj         stages.{number}.embed.patch
        segformer.encoder.patch_embeddings.{number}.layer_norm   stages.{number}.embed.norm
        segformer.encoder.layer_norm.{number}                    stages.{number}.stack.norm
        {block}.layer_norm_1                                     {ours}.attention_before
        {block}.attention.self.query                             {ours}.attention.q
        {block}.attention.self.key                               {ours}.attention.k
        {block}.attention.self.value                             {ours}.attention.v
        {block}.attention.self.sr                                {ours}.attention.reduce
        {block}.attention.self.layer_norm                        {ours}.attention.reduced
        {block}.attention.output.dense                           {ours}.attention.o
        {block}.layer_norm_2                                     {ours}.feed_forward_before
        {block}.mlp.dense1                                       {ours}.feed_forward.up
        {block}.mlp.dwconv.dwconv                                {ours}.feed_forward.around
        {block}.mlp.dense2                                       {ours}.feed_forward.down
    """, ".weight", ".bias")  # fmt: skip


TABLE = Table(
    prefix="segformer.",
    rows=(
        *(one for number in range(STAGES) for one in _rows(number)),
        *with_endings("""
            decode_head.linear_c.*.proj             head.widths.*
            decode_head.batch_norm                  head.norm
            decode_head.classifier                  head.out
            classifier                              head.image
        """, ".weight", ".bias"),
        *rows("""
            decode_head.linear_fuse.weight          head.join.weight
            decode_head.batch_norm.running_mean     head.norm.mean
            decode_head.batch_norm.running_var      head.norm.variance
        """),
        Drop("decode_head.batch_norm.num_batches_tracked", _zero),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "num_channels": "channels", "hidden_sizes": "dims", "depths": "depths", "num_attention_heads": "heads",
        "patch_sizes": "patches", "strides": "strides", "sr_ratios": "ratios", "mlp_ratios": "wider",
        "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout_prob": "head_dropout", "drop_path_rate": "skip", "decoder_hidden_size": "width",
        "semantic_loss_ignore_index": "ignored",
    },
    only={"num_encoder_blocks": (STAGES,), "reshape_last_stage": (True,)},
    # layer_norm_eps: their library has it and uses another.
    harmless=frozenset({"layer_norm_eps", "image_size", "downsampling_rates", "tie_word_embeddings"}),
    default={
        "num_channels": 3, "hidden_sizes": (32, 64, 160, 256), "depths": (2, 2, 2, 2),
        "num_attention_heads": (1, 2, 5, 8), "patch_sizes": (7, 3, 3, 3), "strides": (4, 2, 2, 2),
        "sr_ratios": (8, 4, 2, 1), "mlp_ratios": (4, 4, 4, 4), "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.1, "drop_path_rate": 0.1,
        "decoder_hidden_size": 256, "semantic_loss_ignore_index": 255,
    },
)  # fmt: skip
HEADS = {
    "SegformerModel": "pool",
    "SegformerForImageClassification": "classify",
    "SegformerForSemanticSegmentation": "segment",
}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = FIELDS.read(data, where, understood=frozenset({"hidden_act"}))
    values["activation"] = foreign.activation(data.get("hidden_act", "gelu"), where)
    values["head"] = shared.foreign_head(data, HEADS, "SegformerModel", where)
    values["labels"] = () if values["head"] == "pool" else foreign.labels(data, where)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = {key: list(one) if isinstance(one, tuple) else one for key, one in FIELDS.write(config).items()}
    made |= foreign.with_labels(config.labels) if config.labels else {}
    return made | {
        "model_type": "segformer",
        "architectures": [shared.architecture(HEADS, config.head)],
        "hidden_act": foreign.foreign_activation(config.activation),
    }
