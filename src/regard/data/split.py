"""Keeping data back, so that no text stands on both sides and every run on the same data keeps back the same."""

from __future__ import annotations

import hashlib

import numpy as np

from regard.data import content
from regard.data.sources import Source, Subset
from regard.errors import ConfigError, RegardError


def split(source: Source, fraction: float, seed: int, by: str | None = None) -> tuple[Subset, Subset]:
    """(train, held out), with about `fraction` of the rows held out; a pure function of the content and the seed.

    A row's side depends on its own text alone (or on its value in the column `by`, such as page or author, so that a
    group stays together), not on its place or on other rows: data may grow, and what was held out stays so. With `by`,
    rows of the training part that say the same as a held-out one are left out of both.
    """
    if not 0 < fraction < 1:
        raise ConfigError("data.fraction", fraction=fraction)
    if by is not None and by not in source.columns:
        raise RegardError("data.missing_group", path=source.name, column=by, columns=", ".join(source.columns))
    secret = seed.to_bytes(8, "little")
    held = np.zeros(len(source), dtype=bool)
    said = bytearray()
    for number in range(len(source)):
        asked = content.asked(source.row(number))
        said += content.key(asked)
        held[number] = _draw(asked if by is None else str(source.record(number).get(by)), secret) < fraction
    first = content.groups(said)
    train = ~held & ~np.isin(first, first[held])
    if not train.any() or not held.any():
        raise RegardError("data.empty_side", path=source.name, rows=len(source), held=int(held.sum()))
    return Subset(source, np.flatnonzero(train)), Subset(source, np.flatnonzero(held))


def _draw(text: str, secret: bytes) -> float:
    """A number in [0, 1) that belongs to the text."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=secret).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
