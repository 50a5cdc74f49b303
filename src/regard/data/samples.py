"""The data that comes with the package: `samples.open("tang-poems")` is `sources.open("sample:tang-poems")`."""

from __future__ import annotations

from regard.data import catalog, sources
from regard.data.sources import Source

__all__ = ["names", "open"]


def open(name: str) -> Source:
    """A built-in sample, its content checked against the SHA-256 in the catalogue."""
    return sources.open(catalog.PREFIX + name.removeprefix(catalog.PREFIX))


def names() -> tuple[str, ...]:
    """tang-poems, film-reviews, office-help, addresses."""
    return tuple(sample.name for sample in catalog.SAMPLES)
