"""Which token of speech with its times may follow which (Radford et al. 2022, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard.generate.rows import CachedReader, Memory, Rows
from regard.generate.warp import log_probabilities
from regard.inputs.spoken import Spoken


class Ruled(Rows):
    """Rows whose logits are log-probabilities of what may follow; what may not is -inf.

    Times come in pairs and never go back; a text begins with one, of at most ``first`` seconds; and where all times
    together are more probable than any single word, it is a time that follows.
    """

    def __init__(
        self, model: Any, memory: Memory, prompts: Sequence[Sequence[int]], spoken: Spoken, first: float
    ) -> None:
        super().__init__(CachedReader(model, prompts, memory, None), prompts, model.config.vocab)
        self._head, self._spoken, self._latest = model.head, spoken, spoken.times + round(first / spoken.step)
        self.silence: list[float] = []

    def start(self) -> Tensor:
        """Also notes in ``silence`` how probable it was, where a text begins, that nobody speaks."""
        logits = super().start()
        for row, history in enumerate(self.histories):
            begin = max(place for place, token in enumerate(history.prompt) if token == self._spoken.start)
            at_start = log_probabilities(self._logits(self._head(self.hidden[row, begin])[None]))[0]
            self.silence.append(float(at_start[self._spoken.silent].exp()))
        return self._ruled(logits)

    def step(self, tokens: Sequence[int]) -> Tensor:
        return self._ruled(super().step(tokens))

    def _ruled(self, logits: Tensor) -> Tensor:
        spoken, logits = self._spoken, logits.clone()
        logits[:, list(spoken.never)] = -torch.inf
        for row, history in zip(logits, self.histories, strict=True):
            if not history.written:
                row[list(spoken.never_first)] = -torch.inf
                row[: spoken.times] = -torch.inf
                row[self._latest + 1 :] = -torch.inf
            else:
                self._paired(row, history.written)
        logits = log_probabilities(logits)
        times, words = logits[:, spoken.times :], logits[:, : spoken.times]
        timely = times.logsumexp(-1) > words.amax(-1)
        words[timely] = -torch.inf
        return log_probabilities(logits)

    def _paired(self, row: Tensor, written: Sequence[int]) -> None:
        """What may follow a text (V,) that has begun."""
        times, newest = self._spoken.times, written[-1] >= self._spoken.times
        said = [token for token in written if token >= times]
        if newest and (len(written) < 2 or written[-2] >= times):
            row[times:] = -torch.inf  # the second of a pair, or the first of all: words follow
        elif newest:
            row[: self._spoken.end] = -torch.inf  # the end of a piece: the next begins, or the text ends
        if said:  # a piece that has begun ends later than it began
            row[times : said[-1] + (not newest or (len(written) > 1 and written[-2] >= times))] = -torch.inf
