"""Taking out rows that would teach nothing or teach wrongly, and saying which and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from regard.data import content
from regard.data.sources import Source, Subset

REASONS = ("empty", "damaged", "two_classes", "duplicate")


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """`rows` are those that stay; `dropped` has, for each of REASONS, the numbers of the rows that went for it."""

    rows: Source
    dropped: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {reason: len(numbers) for reason, numbers in self.dropped.items()}


def clean(source: Source) -> Cleaned:
    """Drops rows that are empty, damaged (U+FFFD, □), labelled in two ways, or said before; see `content.normal`.

    Of equal rows the first stays; of rows with one text and two labels none does.
    """
    found = judge(source)
    kept = np.ones(len(source), dtype=bool)
    for numbers in found.values():
        kept[numbers] = False
    return Cleaned(rows=Subset(source, np.flatnonzero(kept)), dropped=found)


def judge(source: Source) -> dict[str, np.ndarray]:
    """The numbers of the rows to drop for each of REASONS, in rising order; no row is under two of them."""
    count = len(source)
    empty, damaged = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    said, labelled = bytearray(), bytearray()
    for number in range(count):
        row = source.row(number)
        texts = [content.normal(text) for text in content.parts(row)]
        empty[number] = not all(texts)
        damaged[number] = any(content.DAMAGE.search(text) for text in texts)
        said += content.key(*texts)
        labelled += content.key(*texts, row.get("label", ""))
    first = content.groups(said)
    same = content.groups(labelled)
    # Two labels: some row of the group is not the same, label and all, as the group's first row.
    other = same != same[first] if count else np.zeros(0, dtype=bool)
    torn = np.isin(first, first[other])
    repeated = same != np.arange(count)
    gone = np.zeros(count, dtype=bool)
    found: dict[str, np.ndarray] = {}
    for reason, flags in zip(REASONS, (empty, damaged, torn, repeated), strict=True):
        found[reason] = np.flatnonzero(flags & ~gone)
        gone |= flags
    return found
