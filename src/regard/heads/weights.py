"""What counts how much in a loss, as configs can say it: no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from regard.config import Problem, between, verify


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of a detection. ``match_*``: for which guess is held against which object; the others in the loss; nothing: the
    class of a guess that matches no object; mask, dice: of outlines."""

    match_class: float = 1.0
    match_box: float = 5.0
    match_overlap: float = 2.0
    box: float = 5.0
    overlap: float = 2.0
    nothing: float = 0.1
    mask: float = 1.0
    dice: float = 1.0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0.0, 1e6, *(field.name for field in fields(self)))
