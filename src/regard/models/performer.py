"""Performer (Choromanski et al. 2021): a Transformer, causal or not, with attention estimated by random features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import layers
from regard.models import decoder, own, shared


@dataclass(frozen=True, kw_only=True)
class Config(own.Own):
    """features: random directions of each layer. redrawn: new ones in each training step. seed: of those that are
    not."""

    features: int = 256
    redrawn: bool = True
    seed: int = 0

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "features")


def build(config: Config) -> Any:
    def attention() -> Any:
        return layers.RandomFeatureAttention(
            own.projection(config), features=config.features, redrawn=config.redrawn, seed=config.seed
        )

    return own.model(config, attention)


initialise = decoder.initialise

TABLE = own.table()
FIELDS = own.settings(Config)


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of its file."""
    return own.read(Config, data, where)


def write(config: Config) -> dict[str, Any]:
    """Its file."""
    return own.write(config, "performer")
