"""One text while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from random import Random
from typing import TYPE_CHECKING, Literal

from regard.errors import RegardError
from regard.generate.stream import Writer

if TYPE_CHECKING:
    from torch import Tensor

OnText = Callable[[int, int, str], None]  # (prompt, sample, piece): a piece of a text that is certain now
Reason = Literal["eos", "stop", "length", "context"]


@dataclass(frozen=True, eq=False)
class Given:
    """A prompt for an encoder that reads no text: frames (F, C) of sound, or the pixels (C, height, width) of an image.
    ``start``: what the text begins with, where that is not the model's usual token. ``question``: tokens of what a
    model that answers is asked about it."""

    source: Tensor
    start: tuple[int, ...] = ()
    question: tuple[int, ...] = ()


Prompt = str | Sequence[int] | Given  # a text, its tokens as they are, or what is no text


@dataclass(frozen=True)
class Generated:
    """A finished text.

    text     what was written, without the prompt, an end token or a stop string
    tokens   every token the model gave, among them an end token and those of a stop string
    reason   why it ended: "eos" the model ended it, "stop" a stop string came, "length" it has `max_tokens` tokens,
             "context" prompt and text fill the model's context
    logprob  log-probability of `tokens` in nats under the model itself, before any rule or warping
    prompt   index of its prompt; sample: its number among those of the prompt
    steps    what is told of each token
    """

    text: str
    tokens: tuple[int, ...]
    reason: Reason
    logprob: float
    prompt: int
    sample: int
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A token, its log-probability in nats under the model itself, and, where they were asked for, the most probable
    tokens at its place with theirs."""

    token: int
    logprob: float
    best: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Limits:
    """What ends a text by its tokens alone: an end token, or `most` new tokens, which is for `reason`."""

    ends: frozenset[int]
    most: int
    reason: Reason

    def reached(self, token: int, count: int) -> Reason | None:
        """Why a text of `count` new tokens ends with `token`; None when it goes on."""
        if token in self.ends:
            return "eos"
        return self.reason if count >= self.most else None


class Text:
    """A text that grows token by token; tells `show` each piece of it as soon as it is certain."""

    def __init__(
        self, writer: Writer, limits: Limits, show: Callable[[str], None], *, prompt: int, sample: int, seed: int
    ) -> None:
        self.prompt = prompt
        self.sample = sample
        self.reason: Reason | None = None
        self.steps: list[Step] = []
        self._writer = writer
        self._limits = limits
        self._show = show
        # Of the seed and the sample's number alone: what a prompt gets must not depend on the batch it came in.
        self._random = Random(f"{seed} {sample}")
        self._numbers: list[float] = []

    @property
    def tokens(self) -> list[int]:
        return [step.token for step in self.steps]

    @property
    def room(self) -> int:
        """How many more tokens it may have."""
        return self._limits.most - len(self.steps)

    def uniform(self, ahead: int = 0) -> float:
        """The number of this text's own random stream that belongs to the next token, or one `ahead` of it: [0, 1) in
        steps of 2**-32."""
        place = len(self.steps) + ahead
        while len(self._numbers) <= place:
            self._numbers.append(self._random.getrandbits(32) / 2**32)
        return self._numbers[place]

    def add(self, step: Step) -> None:
        """Take the next token; sets `reason` when it ends the text."""
        if not isfinite(step.logprob):
            raise RegardError("generate.not_finite", step=len(self.steps) + 1)
        token = step.token
        self.steps.append(step)
        self.reason = self._limits.reached(token, len(self.steps))
        if self.reason != "eos":
            self._tell(self._writer.feed(token))
            if self._writer.stopped:
                self.reason = "stop"
        if self.reason is not None:
            self._tell(self._writer.finish())

    def result(self, sample: int | None = None) -> Generated:
        """The finished text; `sample`: another number than its own."""
        assert self.reason is not None
        number = self.sample if sample is None else sample
        logprob = sum(step.logprob for step in self.steps)
        return Generated(
            self._writer.text, tuple(self.tokens), self.reason, logprob, self.prompt, number, tuple(self.steps)
        )

    def _tell(self, piece: str) -> None:
        if piece:
            self._show(piece)


def replay(text: Text, steps: Sequence[Step]) -> Generated:
    """The result of a text whose tokens are known at once, as a beam search finds them."""
    for step in steps:
        text.add(step)
    return text.result()
