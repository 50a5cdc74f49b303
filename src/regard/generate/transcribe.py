"""Speech of any length to text with its times, window by window (Radford et al. 2022, section 4.5).

    transcript = transcribe(bundle, sound, Hearing(language="zh"), lambda piece: print(piece.text))

Each window is searched with beams; where the text repeats itself or the model hardly believes it, it is drawn again at
a higher temperature. The next window begins where the last piece that was surely heard to its end ends.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from regard.config import Problem, at_least, between, verify
from regard.errors import RegardError
from regard.generate import beam, generate, sample, spelled
from regard.generate.choose import Chooser
from regard.generate.rows import Memory, encode
from regard.generate.settings import Search, Settings
from regard.generate.spoken import Ruled
from regard.generate.stream import Writer
from regard.generate.text import Given, Limits, Text
from regard.inputs.sound import Sound, resampled
from regard.inputs.spoken import Spoken, spoken

if TYPE_CHECKING:
    from regard.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """How to listen.

    language     its code ("en", "zh"); None: found out from the first window
    task         "translate" writes English whatever is spoken
    prompt       taken as what was said before the first window: names and their spelling
    carry        a window is told what was said before it
    temperatures tried one after the other; at 0 with ``beams``, above it the best of ``samples``
    repetitive   a text that is compressed by more than this is tried again
    doubtful     so is one of less log-probability a token than this
    silent       nothing is written of a window that is doubtful and holds no speech with more than this probability
    """

    language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str = ""
    carry: bool = True
    beams: int = 5
    samples: int = 5
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    repetitive: float = 2.4
    doubtful: float = -1.0
    silent: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "beams", "samples")
        yield from between(self, 0.0, 1.0, "silent")
        if not self.temperatures or not all(0 <= one <= 2 for one in self.temperatures):
            yield "temperatures", "generate.hear_temperatures", {}


@dataclass(frozen=True)
class Piece:
    """A piece of speech: from when to when in seconds, what was said, and how sure that is: the temperature it was
    written at, its window's log-probability a token, its compression, the probability that nobody spoke."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    logprob: float = 0.0
    compression: float = 0.0
    silence: float = 0.0


@dataclass(frozen=True)
class Transcript:
    """language: None where the model knows one only, or does not say."""

    text: str
    language: str | None
    seconds: float
    pieces: tuple[Piece, ...] = ()


Heard = Callable[[Piece], None]
FIRST = 1.0  # seconds: the latest time that a window's text may begin with
PROMPT_KEPT = 0.5  # what was written above this temperature is not told to the next window


def transcribe(bundle: Bundle, sound: Sound, hearing: Hearing | None = None, heard: Heard | None = None) -> Transcript:
    """The transcript; `heard` is called with each piece as soon as its window is done.

    A model that writes no times gets the sound in pieces of half a minute. Raises RegardError for a model that does not
    write down sound, and for a language or task that it does not know.
    """
    hearing, heard = hearing or Hearing(), heard or (lambda piece: None)
    processor: Any = bundle.processor
    if bundle.task == "ctc" and getattr(processor, "reads", None) == "audio":
        return _spelled(bundle, sound, hearing, heard)
    if bundle.task != "seq2seq" or getattr(processor, "reads", None) != "audio":
        raise RegardError("generate.hears_nothing", family=bundle.family)
    sound = resampled(sound, processor.rate)
    known = spoken(bundle)
    with torch.inference_mode():
        if known is None:
            return _untimed(bundle, sound, hearing, heard)
        return _Listener(bundle, known, hearing).transcript(sound, heard)


@dataclass(frozen=True)
class _Taken:
    """What one attempt at a window gave."""

    tokens: tuple[int, ...]
    text: str
    logprob: float
    temperature: float
    silence: float

    @property
    def compression(self) -> float:
        raw = self.text.encode()
        return len(raw) / len(zlib.compress(raw)) if raw else 0.0


class _Listener:
    def __init__(self, bundle: Bundle, known: Spoken, hearing: Hearing) -> None:
        self.model, self.tokenizer = bundle.model, bundle.tokenizer
        self.processor: Any = bundle.processor
        self.known, self.hearing = known, hearing
        self.language = hearing.language
        self._check()

    def _check(self) -> None:
        languages = self.known.languages
        if not languages and (self.hearing.task != "transcribe" or self.language not in (None, "en")):
            raise RegardError("generate.hears_english")
        if languages and self.language is not None and self.language not in languages:
            raise RegardError("generate.hears_language", language=self.language, known=", ".join(sorted(languages)))

    def transcript(self, sound: Sound, heard: Heard) -> Transcript:
        rate, window = self.processor.rate, self.processor.length
        pieces: list[Piece] = []
        earlier = self.tokenizer.encode(" " + self.hearing.prompt.strip(), special=False) if self.hearing.prompt else []
        at = 0
        while at < len(sound.samples):
            part = Sound(sound.samples[at : at + window], rate)
            taken = self._taken(part, earlier)
            found, step = [], len(part.samples)
            if not self._silent(taken):
                found, step = self._pieces(taken, at / rate, part)
            for piece in found:
                heard(piece)
            pieces += found
            earlier = self._remembered(earlier, found, taken)
            at += step
        text = "".join(piece.text for piece in pieces).strip()
        return Transcript(text, self.language if self.known.languages else None, sound.seconds, tuple(pieces))

    def _remembered(self, earlier: list[int], found: Sequence[Piece], taken: _Taken) -> list[int]:
        if not self.hearing.carry or taken.temperature > PROMPT_KEPT:
            return []
        return earlier + [token for piece in found for token in piece.tokens]

    def _silent(self, taken: _Taken) -> bool:
        return taken.silence > self.hearing.silent and taken.logprob < self.hearing.doubtful

    def _taken(self, part: Sound, earlier: list[int]) -> _Taken:
        """The first attempt at a window that is neither repetitive nor doubtful, else the last."""
        memory = encode(self.model, [self.processor(part)])
        if self.known.languages and self.language is None:
            self.language = self._heard_language(memory)
        most = self.model.config.context // 2 - 1
        language = self.language if self.known.languages else None
        prompt = self.known.prompt(language, self.hearing.task, earlier[-most:])
        for temperature in self.hearing.temperatures:
            taken = self._attempt(memory, prompt, temperature)
            repetitive = taken.compression > self.hearing.repetitive
            if self._silent(taken) or not (repetitive or taken.logprob < self.hearing.doubtful):
                break
        return taken

    def _heard_language(self, memory: Memory) -> str:
        rows = Ruled(self.model, memory, [[self.known.start]], self.known, FIRST)
        logits = super(Ruled, rows).start()[0]
        return max(self.known.languages, key=lambda code: float(logits[self.known.languages[code]]))

    def _attempt(self, memory: Memory, prompt: list[int], temperature: float) -> _Taken:
        rows = Ruled(self.model, memory, [prompt], self.known, FIRST)
        most = min(self.model.config.context // 2, self.model.config.context - len(prompt))
        if temperature == 0 and self.hearing.beams > 1:
            tokens, logprob = self._searched(rows, most)
        else:
            tokens, logprob = self._drawn(rows, most, temperature)
        silence = rows.silence[0]
        words = [token for token in tokens if token < self.known.end]
        return _Taken(tokens, self.tokenizer.decode(words).strip(), logprob / len(tokens), temperature, silence)

    def _searched(self, rows: Ruled, most: int) -> tuple[tuple[int, ...], float]:
        def ended(tokens: Sequence[int]) -> str | None:
            return "eos" if tokens[-1] == self.known.end else "length" if len(tokens) == most else None

        settings = Settings(beams=self.hearing.beams, max_tokens=most, search=Search(length_penalty=1.0))
        chooser = Chooser(self.tokenizer, settings)
        best = beam.search(rows, [beam.Ends(ended, most)], chooser)[0][0]
        return best.tokens, best.score

    def _drawn(self, rows: Ruled, most: int, temperature: float) -> tuple[tuple[int, ...], float]:
        count = self.hearing.samples if temperature else 1
        settings = Settings(temperature=temperature, max_tokens=most, samples=count, seed=self.hearing.seed)
        limits = Limits(frozenset([self.known.end]), most, "length")
        texts = [
            Text(Writer(_Unheard()), limits, lambda piece: None, prompt=0, sample=number, seed=self.hearing.seed)
            for number in range(count)
        ]
        sample.write(rows, texts, [0] * count, Chooser(self.tokenizer, settings), 0)
        best = max((text.result() for text in texts), key=lambda one: one.logprob / len(one.tokens))
        return best.tokens, best.logprob

    def _pieces(self, taken: _Taken, at: float, part: Sound) -> tuple[list[Piece], int]:
        """The pieces of a window that begins at ``at`` seconds, and how many samples on the next one begins."""
        tokens, times = [token for token in taken.tokens if token != self.known.end], self.known.times
        step, rate = len(part.samples), part.rate
        cuts = [n + 1 for n in range(len(tokens) - 1) if tokens[n] >= times and tokens[n + 1] >= times]
        alone = len(tokens) > 1 and tokens[-1] >= times > tokens[-2]  # ended by a time, and nothing said after it
        if cuts:
            groups = [tokens[first:last] for first, last in zip([0, *cuts], [*cuts, len(tokens)], strict=True)]
            if not alone:  # the last piece was cut by the window's end: it is heard again
                groups.pop()
                step = round(self.known.seconds(tokens[cuts[-1] - 1]) * rate)
        else:
            groups = [tokens]
        end = len(part.samples) / rate
        made = [self._piece(group, taken, at, end) for group in groups]
        # A model may say that a window ends where it began: then what it heard would be heard for ever.
        step = min(step, len(part.samples)) if step > 0 else len(part.samples)
        return [piece for piece in made if piece.text.strip() and piece.end > piece.start], step

    def _piece(self, group: Sequence[int], taken: _Taken, at: float, end: float) -> Piece:
        said = [self.known.seconds(token) for token in group if token >= self.known.times]
        start, until = (said[0] if said else 0.0), (said[-1] if len(said) > 1 else end)
        words = tuple(token for token in group if token < self.known.end)
        text = self.tokenizer.decode(words)
        return Piece(round(at + start, 3), round(at + min(until, end), 3), text, words, taken.temperature,
                     taken.logprob, taken.compression, taken.silence)  # fmt: skip


class _Unheard:
    """A decoder for texts that nobody reads while they are written."""

    def feed(self, token: int, /) -> str:
        return ""

    def flush(self) -> str:
        return ""


UNTIMED = 30  # seconds given at a time to a model that writes no times


def _spelled(bundle: Bundle, sound: Sound, hearing: Hearing, heard: Heard) -> Transcript:
    """By a model that says a letter or a blank for each frame: it knows one language, and nothing of what was said."""
    if hearing.language is not None or hearing.task != "transcribe" or hearing.prompt:
        raise RegardError("generate.hears_plainly", family=bundle.family)
    processor: Any = bundle.processor
    sound, pieces = resampled(sound, processor.rate), []
    for one in spelled.said(bundle.model, bundle.tokenizer, processor, sound, hearing.beams):
        pieces.append(Piece(one.start, one.end, one.text, one.letters, logprob=one.logprob))
        heard(pieces[-1])
    return Transcript(" ".join(piece.text for piece in pieces), None, sound.seconds, tuple(pieces))


def _untimed(bundle: Bundle, sound: Sound, hearing: Hearing, heard: Heard) -> Transcript:
    if hearing.task != "transcribe" or hearing.language is not None or hearing.prompt:
        raise RegardError("generate.hears_plainly", family=bundle.family)
    processor: Any = bundle.processor
    pieces: list[Piece] = []
    length = UNTIMED * sound.rate
    settings = Settings(beams=hearing.beams, temperature=1.0 if hearing.beams > 1 else 0.0)
    for first in range(0, len(sound.samples), length):
        part = Sound(sound.samples[first : first + length], sound.rate)
        if part.seconds < 0.1:  # what is left is shorter than any sound of speech
            continue
        found = generate(bundle, [Given(processor(part))], settings)[0]
        at = first / sound.rate
        piece = Piece(at, at + part.seconds, found.text, found.tokens, logprob=found.logprob / len(found.tokens))
        heard(piece)
        pieces.append(piece)
    return Transcript(" ".join(piece.text.strip() for piece in pieces), None, sound.seconds, tuple(pieces))
