"""From logits to the next token of each row: the rules, then the most probable token or a drawn one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.generate import warp
from regard.generate.form import Form
from regard.generate.rows import History
from regard.generate.settings import Settings
from regard.inputs.marks import Marks


class Chooser:
    """What the settings and the model's own marks make of logits (B, V), given the tokens that each row holds."""

    def __init__(self, tokenizer: Any, settings: Settings, marks: Marks | None = None) -> None:
        self.settings, self.rules = settings, settings.rules
        marks = marks or Marks()
        self._ends = sorted({*marks.ends, *(() if tokenizer.eos is None else (tokenizer.eos,))})
        self._first = marks.first
        self._words = [(tokenizer.encode(word, special=False), value) for word, value in self.rules.bias]
        bad = [tokens for word in self.rules.bad for tokens in _spelled(tokenizer, word)]
        never = [list(run) for run in marks.never]
        self._bad = [(tokens, -torch.inf) for tokens in (*bad, *never) if tokens != [tokenizer.eos]]
        self.forced = [tokenizer.encode(word, special=False) for word in settings.search.forced]
        formed = self.rules.schema is not None or self.rules.regex is not None
        self._form = Form(tokenizer, schema=self.rules.schema, regex=self.rules.regex) if formed else None

    def choose(self, logits: Tensor, histories: Sequence[History], uniforms: Sequence[float] | None) -> list[int]:
        """The next token of each row; drawn at `uniforms`, or the most probable where they are None."""
        ruled = self.ruled(logits, histories)
        if uniforms is None:
            return ruled.argmax(-1).tolist()
        return warp.draw(self.warped(ruled), torch.tensor(uniforms, dtype=torch.float64)).tolist()

    def ruled(self, logits: Tensor, histories: Sequence[History]) -> Tensor:
        """After the rules; what they rule out is -inf. Raises RegardError where they leave no token."""
        rules, before = self.rules, logits
        rows = [history.tokens for history in histories]
        if self._words:
            logits = warp.bias(logits, rows, self._words)
        if rules.repetition != 1:
            logits = warp.repetition(logits, rows, rules.repetition)
        if rules.frequency or rules.presence:
            written = [history.written for history in histories]
            logits = warp.counted(logits, written, rules.frequency, rules.presence)
        if rules.no_repeat is not None:
            logits = warp.no_repeat(logits, rows, rules.no_repeat)
        if self._bad:
            logits = warp.bias(logits, rows, self._bad)
        early = [number for number, each in enumerate(histories) if len(each.written) < rules.min_tokens]
        if early and self._ends:
            logits = warp.without(logits, self._ends, early)
        if self._form is not None:
            logits = self._form.held(logits, [self._worded(history) for history in histories])
        if self._first is not None:
            begins = [number for number, each in enumerate(histories) if len(each.tokens) == 1]
            logits = warp.only(logits, self._first, begins) if begins else logits
        if logits is not before and (logits == -torch.inf).all(-1).any():
            raise RegardError("generate.nothing_left", step=len(histories[0].written) + 1)
        return logits

    def _worded(self, history: History) -> History:
        """Without the token that every text begins with, which belongs to no form."""
        begun = self._first is not None and len(history.prompt) == 1
        return History((*history.prompt, *history.written[:1]), history.written[1:]) if begun else history

    def warped(self, logits: Tensor) -> Tensor:
        """The distribution that is drawn from, as logits."""
        settings = self.settings
        if settings.temperature != 1:
            logits = warp.temperature(logits, settings.temperature)
        if settings.top_k is not None:
            logits = warp.top_k(logits, settings.top_k)
        if settings.top_p is not None and settings.top_p < 1:
            logits = warp.top_p(logits, settings.top_p)
        if settings.min_p is not None:
            logits = warp.min_p(logits, settings.min_p)
        if self.rules.typical_p is not None and self.rules.typical_p < 1:
            logits = warp.typical_p(logits, self.rules.typical_p)
        return logits


def _spelled(tokenizer: Any, word: str) -> list[list[int]]:
    """A word's tokens as it stands and, where that is another, with a space before it."""
    found: list[list[int]] = []
    for text in (word, " " + word):
        tokens = tokenizer.encode(text, special=False)
        if tokens and tokens not in found:
            found.append(tokens)
    return found
