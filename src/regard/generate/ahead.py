"""Reading ahead: tokens are guessed, read at once, and kept as far as they are what would have been written anyway.

Every token is chosen by the model's own logits, and drawn at the number that belongs to its place. So a text is the one
that is written without guesses, greedy or drawn, token by token: the distribution is kept because each draw is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from regard.generate.choose import Chooser
from regard.generate.rows import History, Rows
from regard.generate.sample import steps
from regard.generate.text import Text


class Guesser(Protocol):
    def guess(self, history: History, text: Text, most: int) -> list[int]:
        """At most `most` tokens that may follow."""
        ...


def write(rows: Rows, text: Text, chooser: Chooser, guesser: Guesser, told: int) -> None:
    """Write one text, in the only row, to its end."""
    logits = rows.start()  # (1, V), of the token after what is read
    greedy = chooser.settings.greedy
    guesses: list[int] = []
    while True:
        kept = 0
        for place in range(len(logits)):
            here = logits[place : place + 1]
            history = History(rows.histories[0].prompt, tuple(text.tokens))
            [token] = chooser.choose(here, [history], None if greedy else [text.uniform()])
            [step] = steps(here, [token], told)
            text.add(step)
            if text.reason is not None:
                return
            if place == len(guesses) or token != guesses[place]:
                break
            kept += 1
        rows.back(len(guesses) - kept)
        history = History(rows.histories[0].prompt, tuple(text.tokens))
        guesses = guesser.guess(history, text, min(chooser.settings.search.guesses, text.room - 1))
        logits = rows.read([[text.tokens[-1], *guesses]])[0]


class Draft:
    """A smaller model with the same tokenizer writes on (Leviathan et al. 2023; Chen et al. 2023), and draws at the
    numbers that the text itself will draw at, so that the two agree as often as their distributions lie together."""

    def __init__(self, rows: Rows, chooser: Chooser) -> None:
        self._rows, self._chooser = rows, chooser
        self._logits = rows.start()

    def guess(self, history: History, text: Text, most: int) -> list[int]:
        held, right = self._rows.histories[0].written, history.written
        same = next(
            (i for i, (a, b) in enumerate(zip(held, right, strict=False)) if a != b), min(len(held), len(right))
        )
        same = min(same, len(right) - 1)  # the newest token is read again: its logits are what is needed
        self._rows.back(len(held) - same)
        if most < 1:
            return []
        logits = self._rows.read([right[same:]])[:, -1]
        found: list[int] = []
        while True:
            uniforms = None if self._chooser.settings.greedy else [text.uniform(len(found))]
            found += self._chooser.choose(logits, [history.then(found)], uniforms)
            if len(found) == most:
                return found
            logits = self._rows.step(found[-1:])


class Lookup:
    """What followed the newest tokens where they stood before (prompt lookup, Saxena 2023): the longest run of at most
    `size` of them, its latest place first."""

    def __init__(self, size: int) -> None:
        self.size = size

    def guess(self, history: History, text: Text, most: int) -> list[int]:
        return follow(history.tokens, self.size, most)


def follow(tokens: Sequence[int], size: int, most: int) -> list[int]:
    for length in range(min(size, len(tokens) - 1), 0, -1):
        newest = tuple(tokens[-length:])
        for start in range(len(tokens) - length - 1, -1, -1):
            if tuple(tokens[start : start + length]) == newest:
                return list(tokens[start + length : start + length + max(most, 0)])
    return []
