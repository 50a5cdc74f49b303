"""An autoencoder of images with a codebook (VQ-VAE, van den Oord et al. 2017), its convolutions as in VQGAN (Esser et
al. 2021): what gives a Transformer image tokens. Its files are ours alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, heads
from regard.config import Problem, at_least, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.table import Row, Table, rows, with_endings

READS = ("image",)
MOST_HALVINGS = 12


@dataclass(frozen=True, kw_only=True)
class Config:
    """widths: the channels at each size, the sides halved between them. depth: residual blocks at each size. codes:
    how many there are, of ``dim`` features. size: the sides of the images it was trained on, in pixels."""

    channels: int = 3
    widths: tuple[int, ...] = (64, 128, 256)
    depth: int = 2
    codes: int = 512
    dim: int = 64
    size: int = 32
    commitment: float = 0.25

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "channels", "depth", "codes", "dim", "size")
        yield from at_least(self, 0.0, "commitment")
        if not 1 <= len(self.widths) <= MOST_HALVINGS or not all(1 <= width <= 1 << 14 for width in self.widths):
            yield "widths", "models.widths", {"most": MOST_HALVINGS}
        elif self.size % self.factor:
            yield "size", "models.halved", {"factor": self.factor}

    @property
    def factor(self) -> int:
        """The sides of an image are so many times those of its grid."""
        return 1 << (len(self.widths) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes of an image of ``size``."""
        return self.size // self.factor, self.size // self.factor


def build(config: Config) -> Any:
    from regard.models.pictures import Autoencoder

    return Autoencoder(
        config,
        embed=embed.Convolved(config.channels, config.widths, config.depth, config.dim),
        codebook=embed.Codebook(config.codes, config.dim, commitment=config.commitment),
        head=heads.Deconvolved(config.dim, config.widths[::-1], config.depth, config.channels),
    )


def initialise(model: Any, key: Any) -> Any:
    """Normal by the inputs of a filter (He et al. 2015), codes with deviation 1 / sqrt(dim)."""
    from regard.layers.initial import filters, initialise

    return initialise(model, key, filters())


def names(prefix: str) -> tuple[Row, ...]:
    """The rows of an autoencoder, named alike on both sides, behind ``prefix``."""
    parts = ("enter", "norm", "leave", *(f"steps.*.{part}" for part in STEP))
    both = [f"{side}.{part}" for side in ("embed", "head") for part in parts]
    made = "\n".join(f"{prefix}{name} {prefix}{name}" for name in both)
    return (*rows(f"{prefix}codebook.weight {prefix}codebook.weight"), *with_endings(made, ".weight", ".bias"))


STEP = ("first_norm", "first", "second_norm", "second", "skip", "shrink", "enlarge")
TABLE = Table(rows=names(""))

FIELDS = foreign.Fields(
    same={name: name for name in ("channels", "widths", "depth", "codes", "dim", "size", "commitment")},
)


def read(data: Mapping[str, Any], where: str) -> Config:
    """A config out of a file's settings."""
    return foreign.config(Config, FIELDS.read(data, where), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """The settings of a file."""
    return FIELDS.write(config) | {"widths": list(config.widths), "model_type": "regard_vq"}
