"""Speech to text as fairseq trained it (Wang et al. 2020): gated convolutions that shorten a spectrogram to a quarter,
sinusoids, then the pre-norm Transformer of BART's kin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from regard import embed, heads
from regard.config import Problem
from regard.models import m2m_100, seq2seq, shared
from regard.weights import foreign
from regard.weights.table import rows, with_endings

READS = ("audio", "text")
STRIDE = 2
PAD = 1  # their count of an encoder's positions begins after it, and with another number would not begin at all


@dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Seq2Seq):
    """Sizes default to the small model. mels: bands of the spectrogram. kernels: the width of each convolution, all of
    them but the last of ``channels`` channels, half of which gate the others. frames: the most that are left of a
    spectrogram after them; what is longer is embedded all the same. tied: the vocabulary's matrix is the
    embedding's."""

    vocab: int = 10_000
    mels: int = 80
    kernels: tuple[int, ...] = (5, 5)
    channels: int = 1024
    frames: int = 6000
    context: int = 1024
    dim: int = 256
    depth: int = 12
    decoder_depth: int = 6
    heads: int = 4
    decoder_heads: int = 4
    hidden: int = 2048
    decoder_hidden: int = 2048
    activation: str = "relu"
    scaled: bool = True
    tied: bool = True
    pad: int = PAD

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "mels", "channels", "frames")
        if self.dim % 2 or self.dim < 4:
            yield "dim", "models.even", {}
        if self.channels % 2:
            yield "channels", "models.even", {}
        if not self.kernels or not all(1 <= kernel <= 99 and kernel % 2 for kernel in self.kernels):
            yield "kernels", "models.odd_kernels", {}
        if self.pad != PAD:
            yield "pad", "config.between", {"least": PAD, "most": PAD}


def build(config: Config) -> Any:
    model = seq2seq.build(config, lambda: m2m_100.tokens(config), "before", bias=False, source=_frames(config))
    if config.head == "language":
        model.head = heads.Language(shared.vocabulary(config, model.target_embed))
    return model


def _frames(config: Config) -> Any:
    convolutions, inputs = [], config.mels
    for number, kernel in enumerate(config.kernels, 1):
        outputs = config.channels if number < len(config.kernels) else 2 * config.dim
        convolutions.append(
            embed.Convolution(inputs, outputs, kernel, stride=STRIDE, padding=kernel // 2, activation="glu")
        )
        inputs = outputs // 2
    scale = config.dim**0.5 if config.scaled else 1.0
    return embed.Frames(convolutions, positions=m2m_100.sinusoids(config), scale=scale, dropout=config.dropout)


initialise = seq2seq.initialise

TABLE = seq2seq.perceiving(
    "before",
    *seq2seq.COMPUTED,
    *rows("lm_head.weight  head.weight"),
    *with_endings("model.encoder.conv.conv_layers.*  source_embed.convolutions.*.conv", ".weight", ".bias"),
    vocabulary="lm_head.weight",
)

_FIELDS = seq2seq.fields(
    only={"input_channels": (1,), "add_bias_logits": (False,)},
    same={
        "input_feat_per_channel": "mels", "conv_kernel_sizes": "kernels", "conv_channels": "channels",
        "max_source_positions": "frames", "max_target_positions": "context", "tie_word_embeddings": "tied",
    },
    default={"decoder_start_token_id": 2, "scale_embedding": True, "tie_word_embeddings": True},
)  # fmt: skip
_OTHERS = ("add_bias_logits", "tie_word_embeddings")
FIELDS = replace(_FIELDS, only={key: values for key, values in _FIELDS.only.items() if key not in _OTHERS})
HEADS = {name: head for name, head in seq2seq.names("Speech2Text").items() if head != "classify"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = seq2seq.values(
        data, where, FIELDS, HEADS, activation="relu", own=frozenset({"num_conv_layers"})
    )  # fmt: skip
    kernels = tuple(values["kernels"])
    if data.get("num_conv_layers", len(kernels)) != len(kernels):  # said twice
        shared.refuse("num_conv_layers", data["num_conv_layers"], (len(kernels),), where)
    return foreign.config(Config, {**values, "kernels": kernels}, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = seq2seq.written(config, FIELDS, HEADS, "speech_to_text")
    return made | {"num_conv_layers": len(config.kernels), "conv_kernel_sizes": list(config.kernels)}
