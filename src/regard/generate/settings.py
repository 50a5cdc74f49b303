"""How to decode, as one value that needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Literal

from regard.config import MOST_SEED, Problem, at_least, between, verify


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Decoding settings; each is checked when the value is made, so a wrong one raises ConfigError at once.

    Without beams a token is drawn from the model's distribution after `repetition_penalty`, `temperature`, `top_k`,
    `top_p` and `min_p`, in this order (None = off); at temperature 0 the most probable token is taken. With `beams`
    above 1 a beam search looks for the most probable whole text instead.
    """

    max_tokens: int = 256  # new tokens a text may have
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0  # counts the prompt's tokens too; encoder-decoder: only those of the text written
    beams: int = 1
    length_penalty: float = 1.0  # a finished beam ranks by its log-probability / length ** length_penalty
    samples: int = 1  # texts for each prompt; with beams the best so many
    seed: int = 0
    stop: tuple[str, ...] = ()  # a text ends before the first of these; none is ever shown
    cache: Literal["preallocated", "growing", "none"] = "preallocated"

    def __post_init__(self) -> None:
        verify(self)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "max_tokens", "top_k", "beams", "samples")
        yield from between(self, 0, 1, "top_p", "min_p")
        yield from between(self, 0, MOST_SEED, "seed")
        if self.top_p == 0:
            yield "top_p", "generate.above_zero", {}
        if not 0 <= self.temperature < inf:
            yield "temperature", "generate.temperature", {}
        if not 0 < self.repetition_penalty < inf:
            yield "repetition_penalty", "generate.above_zero", {}
        if not abs(self.length_penalty) < inf:
            yield "length_penalty", "generate.finite", {}
        # A str is a sequence of one-letter texts, and ends every text at once.
        if isinstance(self.stop, str) or not all(self.stop):
            yield "stop", "generate.bad_stop", {}
        yield from self._together()

    def _together(self) -> Iterator[Problem]:
        """Settings that contradict each other: one of them would silently do nothing."""
        if self.beams > 1:
            if self.samples > self.beams:
                yield "samples", "generate.more_samples_than_beams", {"beams": self.beams}
            if self.temperature not in (0, 1):
                yield "temperature", "generate.nothing_is_drawn", {}
        else:
            if self.greedy and self.samples > 1:
                yield "samples", "generate.same_samples", {}
            if self.length_penalty != 1:
                yield "length_penalty", "generate.needs_beams", {}
        for name in ("top_k", "top_p", "min_p"):
            if (self.beams > 1 or self.greedy) and getattr(self, name) is not None:
                yield name, "generate.nothing_is_drawn", {}
