"""Texts that are nearly the same: the transmission of old poems left many in two forms that differ by a few characters.

A held-out text whose variant is trained on measures memory, so such variants go from the training side, whoever trains.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 0.2  # of the runs of the shorter text that the other has too


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Text `number` is nearly the held-out text `of`: they share this much of the runs of the shorter one."""

    number: int
    of: int
    share: float


def variants(texts: Sequence[str], held_out: Sequence[str], run: int) -> list[Variant]:
    """The texts that are a variant of a held-out one: they share at least SHARE of their runs of `run` letters."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    sizes = []
    for number, text in enumerate(held_out):
        found = runs(text, run)
        sizes.append(len(found))
        for each in found:
            places[each].append(number)
    near = []
    for number, text in enumerate(texts):
        found = runs(text, run)
        shared = Counter(of for each in found if each in places for of in places[each])
        if shared:
            of, share = max(((of, n / min(len(found), sizes[of])) for of, n in shared.items()), key=lambda one: one[1])
            if share >= SHARE:
                near.append(Variant(number=number, of=of, share=share))
    return near


def runs(text: str, length: int) -> set[str]:
    """All runs of so many letters, whatever stands between them."""
    letters = _NO_LETTER.sub("", text).lower()
    return {letters[at : at + length] for at in range(len(letters) - length + 1)}


_NO_LETTER = re.compile(r"[\W_]+")
