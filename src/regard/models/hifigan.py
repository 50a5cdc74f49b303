"""HiFi-GAN (Kong et al. 2020): the vocoder that makes a SpeechT5 spectrogram heard. No Transformer, but the other half
of one that speaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import heads
from regard.config import Problem, between, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.table import Table, rows, with_endings

READS = ("spectrogram",)
MOST = 64  # steps, and convolutions after each


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to SpeechT5's. rate: samples a second. rates and kernels: of each step from frames to samples;
    widths and dilations: of the convolutions after it."""

    mels: int = 80
    rate: int = 16_000
    channels: int = 512
    rates: tuple[int, ...] = (4, 4, 4, 4)
    kernels: tuple[int, ...] = (8, 8, 8, 8)
    widths: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    slope: float = 0.1
    normed: bool = True
    head: Literal["vocoder"] = "vocoder"

    def __post_init__(self) -> None:
        verify(self)

    @property
    def depth(self) -> int:
        return len(self.rates)

    @property
    def context(self) -> int:
        """Frames that can be made heard at a time."""
        return shared.LARGEST

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "mels", "channels")
        yield from between(self, 1, 1 << 20, "rate")
        yield from between(self, 0.0, 1.0, "slope")
        for name, other in (("rates", self.kernels), ("widths", self.dilations)):
            count = len(getattr(self, name))
            if not 0 < count <= MOST or count != len(other):
                yield name, "models.steps", {"count": len(other), "most": MOST}
        each = [size for sizes in self.dilations for size in sizes]
        if not all(1 <= size <= 1 << 12 for size in (*self.rates, *self.kernels, *self.widths, *each)):
            yield "kernels", "config.between", {"least": 1, "most": 1 << 12}
        elif any(k < r or (k - r) % 2 for k, r in zip(self.kernels, self.rates, strict=False)):
            yield "kernels", "models.step_kernel", {"rates": self.rates}
        elif not all(width % 2 for width in self.widths) or max(map(len, self.dilations), default=0) > MOST:
            yield "widths", "models.odd", {}
        if self.channels % (1 << min(len(self.rates), 24)):
            yield "channels", "models.multiple", {"of": 1 << min(len(self.rates), 24)}


def build(config: Config) -> Any:
    model: Any = heads.Vocoder(
        config.mels,
        config.channels,
        rates=config.rates,
        kernels=config.kernels,
        widths=config.widths,
        dilations=config.dilations,
        slope=config.slope,
        normed=config.normed,
    )
    model.config = config
    return model


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.01 (the authors' code)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.01))


TABLE = Table(
    rows=(
        *with_endings("""
            conv_pre                      first
            upsampler.*                   ups.*
            conv_post                     last
        """, ".weight", ".bias"),
        *(
            row
            for number in range(8)
            for row in with_endings(f"""
                resblocks.*.convs1.{number}   mixes.*.wide.{number}
                resblocks.*.convs2.{number}   mixes.*.near.{number}
            """, ".weight", ".bias")
        ),
        *rows("""
            mean                          mean
            scale                         deviation
        """),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "model_in_dim": "mels", "sampling_rate": "rate", "upsample_initial_channel": "channels",
        "upsample_rates": "rates", "upsample_kernel_sizes": "kernels", "resblock_kernel_sizes": "widths",
        "resblock_dilation_sizes": "dilations", "leaky_relu_slope": "slope", "normalize_before": "normed",
    },
    harmless=frozenset({"tie_word_embeddings"}),
    default={
        "model_in_dim": 80, "sampling_rate": 16_000, "upsample_initial_channel": 512, "upsample_rates": (4, 4, 4, 4),
        "upsample_kernel_sizes": (8, 8, 8, 8), "resblock_kernel_sizes": (3, 7, 11),
        "resblock_dilation_sizes": ((1, 3, 5), (1, 3, 5), (1, 3, 5)), "leaky_relu_slope": 0.1,
        "normalize_before": True,
    },
)  # fmt: skip
HEADS = {"SpeechT5HifiGan": "vocoder"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    shared.foreign_head(data, HEADS, "SpeechT5HifiGan", where)
    values = FIELDS.read(data, where)
    if any(len(each) > 8 for each in values["dilations"]):  # as many as the table has rows for
        accepted = (FIELDS.default["resblock_dilation_sizes"],)
        shared.refuse("resblock_dilation_sizes", values["dilations"], accepted, where)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = FIELDS.write(config) | {"model_type": "speecht5_hifigan", "architectures": ["SpeechT5HifiGan"]}
    made = {key: list(value) if isinstance(value, tuple) else value for key, value in made.items()}
    return made | {"resblock_dilation_sizes": [list(each) for each in config.dilations]}
