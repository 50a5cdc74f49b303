"""The Transformer of adaptive spans (Sukhbaatar et al. 2019): every head learns how far it looks back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import layers
from regard.config import at_least
from regard.models import decoder, own, shared


@dataclass(frozen=True, kw_only=True)
class Config(own.Own):
    """longest: the largest span. ramp: tokens over which a head's weight falls to nothing. shorten: what a token of
    span costs in the loss, the mean of a layer's heads counted. position: rotary, or the relative vectors of the paper,
    which keep attention from being taken by pieces."""

    longest: int = 2048
    ramp: int = 32
    shorten: float = 2e-6
    position: Literal["rotary", "relative"] = "rotary"

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "longest", "ramp")
        yield from at_least(self, 0.0, "shorten")
        if self.position == "rotary" and self.heads > 0 and self.dim // self.heads % 2:
            yield "heads", "models.even", {}


def build(config: Config) -> Any:
    from regard.ops import rotary

    head_dim, furthest = config.dim // config.heads, min(config.longest + config.ramp, config.context)
    turned = layers.Rotary(rotary.frequencies(head_dim, 10_000.0)) if config.position == "rotary" else None

    def attention() -> Any:
        return layers.SpanAttention(
            own.projection(config),
            longest=config.longest,
            ramp=config.ramp,
            position=turned or layers.ShawRelative(head_dim, furthest=furthest),
            dropout=config.dropout,
        )

    return own.model(config, attention, places=False)


initialise = decoder.initialise

TABLE = own.table("stack.blocks.*.attention.span", "stack.blocks.*.attention.position.keys")
FIELDS = own.settings(Config)


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of its file."""
    return own.read(Config, data, where)


def write(config: Config) -> dict[str, Any]:
    """Its file."""
    return own.write(config, "adaptive_span")
