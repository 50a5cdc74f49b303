"""How to decode, as one value that needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from regard.config import MOST_SEED, Problem, at_least, between, verify


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the next token may be. They change the logits in this order, before anything is drawn or searched.

    bias        added to a word's logit; of a word of several tokens to the last one, where the others stand before it
    repetition  every token that the prompt or the text holds is so many times less likely (CTRL, Keskar et al. 2019)
    frequency   subtracted for each time the text, without its prompt, holds the token; presence: once if it does at all
    no_repeat   no run of so many tokens comes twice in prompt and text (Paulus et al. 2018)
    bad         words never written, with a space before them neither
    min_tokens  a text does not end by itself before it has so many
    schema      the text is JSON that fulfils this JSON schema; regex: it matches this expression as a whole
    typical_p   the tokens nearest to the expected surprise that hold this share (Meister et al. 2023), after ``min_p``
    """

    bias: tuple[tuple[str, float], ...] = ()
    repetition: float = 1.0
    frequency: float = 0.0
    presence: float = 0.0
    no_repeat: int | None = None
    bad: tuple[str, ...] = ()
    min_tokens: int = 0
    schema: str | None = None
    regex: str | None = None
    typical_p: float | None = None

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "min_tokens")
        yield from at_least(self, 1, "no_repeat")
        yield from between(self, 0, 1, "typical_p")
        if self.typical_p == 0:
            yield "typical_p", "generate.above_zero", {}
        if not 0 < self.repetition < inf:
            yield "repetition", "generate.above_zero", {}
        for name in ("frequency", "presence"):
            if not isfinite(getattr(self, name)):
                yield name, "generate.finite", {}
        if isinstance(self.bad, str) or not all(self.bad):
            yield "bad", "generate.bad_stop", {}
        if not all(word and isfinite(value) for word, value in self.bias):
            yield "bias", "generate.bad_bias", {}
        if self.schema is not None and self.regex is not None:
            yield "regex", "generate.one_form", {}


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a text is looked for.

    length_penalty  a finished beam ranks by its log-probability / length ** length_penalty
    early_stopping  when a beam search is over: "estimate" no running beam of its present length ranks higher, "never"
                    none of any length can, "full" as soon as ``beams`` texts are finished
    groups          the beams are divided into so many groups, each kept from the choices of those before it by
                    ``diversity`` for each time they made them (Vijayakumar et al. 2016)
    forced          words every text must hold: beams that hold more of them have places of their own (Post and Vilar
                    2018)
    contrast        of the ``top_k`` most probable tokens the one that is most probable and least like what stands
                    there, the second weighing so much (Su et al. 2022)
    guesses         tokens guessed ahead and read at once, by a smaller model (Leviathan et al. 2023) or, with
                    ``lookup``, by what followed the newest so many tokens, or fewer, where they stood before (Saxena
                    2023)
    best_of         draw so many texts and keep the ``samples`` with the best log-probability a token
    """

    length_penalty: float = 1.0
    early_stopping: Literal["estimate", "never", "full"] = "estimate"
    groups: int = 1
    diversity: float = 0.0
    forced: tuple[str, ...] = ()
    contrast: float | None = None
    guesses: int = 0
    lookup: int | None = None
    best_of: int | None = None

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "guesses", "diversity")
        yield from at_least(self, 1, "groups", "lookup", "best_of")
        yield from between(self, 0, 1, "contrast")
        if not isfinite(self.length_penalty):
            yield "length_penalty", "generate.finite", {}
        if isinstance(self.forced, str) or not all(self.forced):
            yield "forced", "generate.bad_stop", {}
        if self.diversity and self.groups == 1:
            yield "diversity", "generate.needs_groups", {}
        if self.lookup is not None and not self.guesses:
            yield "lookup", "generate.needs_guesses", {}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Decoding settings; each is checked when the value is made, so a wrong one raises ConfigError at once.

    Without beams a token is drawn from the model's distribution after ``rules``, ``temperature``, ``top_k``, ``top_p``
    and ``min_p``, in this order (None = off); at temperature 0 the most probable token is taken. With ``beams`` above 1
    a beam search looks for the most probable whole text instead. ``search`` holds the other ways.
    """

    max_tokens: int = 256  # new tokens a text may have
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    beams: int = 1
    samples: int = 1  # texts for each prompt; with beams the best so many
    seed: int = 0
    stop: tuple[str, ...] = ()  # a text ends before the first of these; none is ever shown
    cache: Literal["preallocated", "growing", "none"] = "preallocated"
    rules: Rules = Rules()
    search: Search = Search()

    def __post_init__(self) -> None:
        verify(self)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0

    @property
    def drawn(self) -> int:
        """Texts that are written for each prompt."""
        return self.search.best_of or self.samples

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "max_tokens", "top_k", "beams", "samples")
        yield from between(self, 0, 1, "top_p", "min_p")
        yield from between(self, 0, MOST_SEED, "seed")
        if self.top_p == 0:
            yield "top_p", "generate.above_zero", {}
        if not 0 <= self.temperature < inf:
            yield "temperature", "generate.temperature", {}
        # A str is a sequence of one-letter texts, and ends every text at once.
        if isinstance(self.stop, str) or not all(self.stop):
            yield "stop", "generate.bad_stop", {}
        if self.rules.min_tokens > self.max_tokens:
            yield "max_tokens", "generate.min_above_max", {"least": self.rules.min_tokens}
        yield from self._searching() if self.beams > 1 else self._writing()
        yield from self._drawing()

    def _searching(self) -> Iterator[Problem]:
        """What contradicts a beam search: it would silently do nothing."""
        if self.samples > self.beams:
            yield "samples", "generate.more_samples_than_beams", {"beams": self.beams}
        if self.temperature not in (0, 1):
            yield "temperature", "generate.nothing_is_drawn", {}
        if self.beams % self.search.groups:
            yield "beams", "generate.groups_divide", {"groups": self.search.groups}
        if self.search.groups > 1 and self.search.forced:
            yield "search.forced", "generate.one_way", {"one": "groups", "other": "forced"}
        for name in ("contrast", "guesses", "best_of"):
            if getattr(self.search, name):
                yield f"search.{name}", "generate.one_way", {"one": "beams", "other": name}

    def _writing(self) -> Iterator[Problem]:
        """What contradicts a text written token by token."""
        search = self.search
        for name in ("length_penalty", "early_stopping", "groups", "forced"):
            if getattr(search, name) != getattr(Search, name):
                yield f"search.{name}", "generate.needs_beams", {"name": name}
        if search.best_of is not None and search.best_of < self.samples:
            yield "samples", "generate.more_samples_than_drawn", {"count": search.best_of}
        if search.contrast is not None:
            for name in ("guesses", "best_of"):
                if getattr(search, name):
                    yield f"search.{name}", "generate.one_way", {"one": "contrast", "other": name}
            if self.top_k is None or self.top_k < 2:
                yield "top_k", "generate.contrast_needs_top_k", {}
        if (self.greedy or search.contrast is not None) and self.drawn > 1:
            yield "samples", "generate.same_samples", {}

    def _drawing(self) -> Iterator[Problem]:
        """What only a draw would heed."""
        contrast = self.search.contrast is not None
        if not (self.beams > 1 or self.greedy or contrast):
            return
        for name in ("top_p", "min_p") if contrast else ("top_k", "top_p", "min_p"):
            if getattr(self, name) is not None:
                yield name, "generate.nothing_is_drawn", {}
        if self.rules.typical_p is not None:
            yield "rules.typical_p", "generate.nothing_is_drawn", {}
        if contrast and self.temperature not in (0, 1):
            yield "temperature", "generate.nothing_is_drawn", {}
