"""HuBERT (Hsu et al. 2021): wav2vec 2.0's encoder, taught to name the cluster of hidden frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import layers
from regard.models import speech, wav2vec2
from regard.weights import foreign
from regard.weights.table import Drop, together, with_endings

READS = ("audio",)


@dataclass(frozen=True, kw_only=True)
class Config(speech.Speech):
    """normed_before: the stream is normed before each sublayer, not after it. normed_frames: what the convolutions give
    is normed. batch_normed: the positions' convolution stands behind a batch norm."""

    normed_before: bool = False
    normed_frames: bool = True
    batch_normed: bool = False

    def check(self) -> Any:
        yield from super().check()
        yield from speech.check_positions(self)


def build(config: Config) -> Any:
    positions = layers.ConvolutionalPositions(
        config.dim,
        config.position_kernel,
        config.position_groups,
        activation=config.first.activation,
        norm=layers.BatchNorm(config.dim) if config.batch_normed else None,
    )
    return wav2vec2.built(config, positions, normed=config.normed_frames)


initialise = speech.initialise

_POSITIONS = "hubert.encoder.pos_conv_embed"
_BATCH = together(f"""
    {_POSITIONS}.conv.weight                 embed.positions.conv.weight
    {_POSITIONS}.batch_norm.running_mean     embed.positions.norm.mean
    {_POSITIONS}.batch_norm.running_var      embed.positions.norm.variance
""")
TABLE = speech.table(
    "hubert.",
    *wav2vec2.stacked("hubert."),
    _BATCH,  # before the row of a weight that is normed
    *with_endings(f"{_POSITIONS}.batch_norm  embed.positions.norm", ".weight", ".bias"),
    Drop(f"{_POSITIONS}.batch_norm.num_batches_tracked"),
)

FIELDS = speech.fields(
    same={
        "do_stable_layer_norm": "normed_before", "feat_proj_layer_norm": "normed_frames",
        "conv_pos_batch_norm": "batch_normed",
    },
    default={"do_stable_layer_norm": False, "feat_proj_layer_norm": True, "conv_pos_batch_norm": False},
)  # fmt: skip
HEADS = speech.names("Hubert")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = speech.values(data, where, FIELDS, HEADS, frozenset(speech.BOOK), adapted=False)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return speech.written(config, FIELDS, HEADS, "hubert")
