"""Tokens to text while they come: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class StreamDecoder(Protocol):
    """What `Tokenizer.stream()` returns: tokens in, whole characters out."""

    def feed(self, token: int, /) -> str: ...

    def flush(self) -> str: ...


class Writer:
    """The text of one row, piece by piece: `feed` a token and get what can be shown; `text` is all pieces joined."""

    def __init__(self, decoder: StreamDecoder, stops: Sequence[str] = ()) -> None:
        self._decoder = decoder
        self._filter = StopFilter(stops)
        self._pieces: list[str] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string was completed."""
        return self._filter.stopped

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def feed(self, token: int) -> str:
        return self._keep(self._filter.feed(self._decoder.feed(token)))

    def finish(self) -> str:
        """What was held back, once it is sure that no token follows."""
        return self._keep(self._filter.feed(self._decoder.flush()) + self._filter.flush())

    def _keep(self, piece: str) -> str:
        if piece:
            self._pieces.append(piece)
        return piece


class StopFilter:
    """Lets text through up to the first stop string, however the text is cut into pieces.

    The stop that is complete first counts; of several complete at one character, the longest. At most
    len(longest stop) - 1 characters are held back: those that may yet turn out to begin a stop.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What of the text so far can be shown and was not yet."""
        if self.stopped or not text:
            return ""
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        self.stopped = bool(found)
        cut = min(found)[1] if found else len(text) - self._undecided(text)
        self._held = "" if found else text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """What was held back, once it is sure that no text follows."""
        held, self._held = self._held, ""
        return held

    def _undecided(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop."""
        longest = max(map(len, self._stops), default=0) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
