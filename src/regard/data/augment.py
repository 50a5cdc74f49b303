"""Small random changes to a text, as a pure function of (seed, epoch, index): each epoch sees another version of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from regard.config import Problem, between, verify
from regard.data import order

CHANGED = ("text", "source")  # what a model is asked about; labels and targets stay as they are

_CHINESE = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# A unit is one Chinese character, or a word with the marks that touch it; what stands between units is kept.
_UNIT = re.compile(rf"[{_CHINESE}]|[^\s{_CHINESE}]+")


@dataclass(frozen=True, kw_only=True)
class Augment:
    """The shares of units (words; single characters in Chinese) that are dropped, swapped with the next, or hidden.

    Wei and Zou (2019), "EDA" (arXiv:1901.11196), have drop and swap. At least one unit of a text is neither dropped nor
    hidden. Called with a row it returns the row with CHANGED columns altered.
    """

    drop: float = 0.0
    swap: float = 0.0
    mask: float = 0.0
    hidden: str = "[MASK]"  # stands for a masked unit; give the tokenizer's own

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0.0, 1.0, "drop", "swap", "mask")
        if not self.hidden.strip():
            yield "hidden", "data.hidden_blank", {}

    def __call__(self, row: Mapping[str, Any], *, index: int, epoch: int, seed: int) -> dict[str, Any]:
        changed = {name: self.text(row[name], index=index, epoch=epoch, seed=seed) for name in CHANGED if name in row}
        return {**row, **changed}

    def text(self, text: str, *, index: int, epoch: int, seed: int) -> str:
        """The text as it is for this (seed, epoch, index); never empty where `text` was not."""
        units = list(_UNIT.finditer(text))
        if not units or not (self.drop or self.swap or self.mask):
            return text
        gaps = [text[a.end() : b.start()] for a, b in pairwise(units)] + [""]
        draws = order.uniform(seed, epoch, index, 3 * len(units) + 1, stream=order.AUGMENT)
        dropped, swapped, masked = draws[:-1].reshape(3, len(units))
        spared = int(draws[-1] * len(units))
        words = [unit.group() for unit in units]
        words = [self.hidden if masked[i] < self.mask and i != spared else word for i, word in enumerate(words)]
        kept = [i for i in range(len(words)) if dropped[i] >= self.drop or i == spared]
        place = list(kept)
        for at in range(len(place) - 1):
            if swapped[kept[at]] < self.swap:
                place[at], place[at + 1] = place[at + 1], place[at]
        # A gap belongs to the place, not to the unit, so that a swap moves words across spaces and lines.
        pieces = [words[source] + gaps[gap] for source, gap in zip(place, kept, strict=True)]
        return text[: units[0].start()] + "".join(pieces).rstrip() + text[units[-1].end() :]
