"""The settings of each task, as frozen dataclasses; read from recipes and the command line without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from regard.config import Problem, at_least, between, verify


@dataclass(frozen=True, kw_only=True)
class CausalLM:
    """Predict each token from those before it. `context`: tokens in a chunk, None = as many as the model takes."""

    context: int | None = None

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "context")


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """Fill gaps (Devlin et al. 2019, arXiv:1810.04805, section 3.1; whole words as in their release of May 2019).

    `rate` of the tokens are chosen, whole words at a time; of these a share `masked` is hidden, a share `replaced`
    becomes a random token, and the rest stays as it is.
    """

    context: int | None = None
    rate: float = 0.15
    masked: float = 0.8
    replaced: float = 0.1

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 3, "context")
        yield from between(self, 0.0, 1.0, "rate", "masked", "replaced")
        if self.rate == 0:
            yield "rate", "tasks.rate_zero", {}
        if self.masked + self.replaced > 1:
            yield "replaced", "tasks.shares_above_one", {"masked": self.masked}


@dataclass(frozen=True, kw_only=True)
class Seq2Seq:
    """Turn a source into a target. `beams`: width of the search in scores and predictions, 1 = greedy.
    `source_language` and `target_language`: codes of a model that translates between several (eng_Latn)."""

    context: int | None = None
    beams: int = 1
    source_language: str | None = None
    target_language: str | None = None

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 2, "context")
        yield from at_least(self, 1, "beams")


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Name the class of a text. `labels`: the classes in the model's order; empty = the training data's, sorted."""

    context: int | None = None
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "context")
        if len(set(self.labels)) < len(self.labels):
            yield "labels", "tasks.labels_twice", {}


@dataclass(frozen=True, kw_only=True)
class CTC:
    """Spell what is heard. `mels`: bands of the spectrogram of a model that is trained from nothing; `beams`: width of
    the search in scores and predictions, 1 = the likeliest letter of each frame."""

    mels: int = 80
    beams: int = 1

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, 1 << 12, "mels")
        yield from between(self, 1, 1 << 12, "beams")


@dataclass(frozen=True, kw_only=True)
class ImageClassification:
    """Name the class of an image. `labels`: the classes in the model's order; empty = the training data's, sorted.
    `shift`: pixels that an image is moved by in training, drawn anew in each epoch."""

    labels: tuple[str, ...] = ()
    shift: int = 0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0, 1 << 10, "shift")
        if len(set(self.labels)) < len(self.labels):
            yield "labels", "tasks.labels_twice", {}


Config = CausalLM | MaskedLM | Seq2Seq | Classification | CTC | ImageClassification
