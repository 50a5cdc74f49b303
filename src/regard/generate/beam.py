"""Beam search: the `beams` most probable beginnings of a text go on together, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.generate.rows import Rows
from regard.generate.settings import Settings
from regard.generate.warp import log_probabilities, repetition


@dataclass(frozen=True)
class Hypothesis:
    """A text the search holds: its tokens, what they are ranked by (the sum of their log-probabilities after the
    repetition penalty), their log-probability under the model itself, and why it ended (None while it goes on)."""

    tokens: tuple[int, ...]
    score: float
    logprob: float
    reason: str | None = None


Ended = Callable[[tuple[int, ...]], str | None]  # of new tokens: why they end the text, or None


def search(rows: Rows, ended: Sequence[Ended], settings: Settings) -> list[list[Hypothesis]]:
    """The best finished hypotheses of each prompt, at most `beams` and best first.

    Each prompt is searched as it would be alone: its hypotheses compete only with each other, and its rows leave the
    batch when its search is over.
    """
    searches = [Search(settings, each) for each in ended]
    live = searches
    logits = rows.start()
    while True:
        candidates = _candidates(logits, rows, live, settings)
        parents: list[int] = []
        first = 0
        for one in live:
            width = len(one.running)
            parents += [first + parent for parent in one.advance(candidates[first : first + width])]
            first += width
        live = [one for one in live if one.running]
        if not live:
            return [one.finished for one in searches]
        rows.select(parents)
        logits = rows.step([hypothesis.tokens[-1] for one in live for hypothesis in one.running])


class Search:
    """The search of one prompt: `running` hypotheses, one a row of the batch, and `finished` ones, best first.

    Follows transformers: of the 2 x beams best continuations those that end the text are finished if they are among the
    best `beams`, the best `beams` of the others run on. It is over when `beams` are finished and the best running one,
    at its present length, ranks below them all. With a length penalty above 0 a longer text could still rank higher:
    this last rule then is a heuristic, as it is there (`early_stopping=False`).
    """

    def __init__(self, settings: Settings, ended: Ended) -> None:
        self._settings = settings
        self._ended = ended
        self.running = [Hypothesis((), 0.0, 0.0)]
        self.finished: list[Hypothesis] = []

    def advance(self, candidates: Sequence[Sequence[Candidate]]) -> list[int]:
        """Take one step, given the best next tokens of each running hypothesis; `running` is empty when the search is
        over. Returns which old hypothesis each new one continues."""
        beams = self._settings.beams
        grown = [
            (before.score + each.score, before, parent, each)
            for parent, (before, choices) in enumerate(zip(self.running, candidates, strict=True))
            for each in choices
        ]
        grown.sort(key=lambda item: -item[0])
        running: list[tuple[int, Hypothesis]] = []
        for rank, (score, before, parent, each) in enumerate(grown[: 2 * beams]):
            tokens = (*before.tokens, each.token)
            reason = self._ended(tokens)
            after = Hypothesis(tokens, score, before.logprob + each.logprob, reason)
            if reason is None and len(running) < beams:
                running.append((parent, after))
            elif reason is not None and rank < beams:
                self.finished.append(after)
        self.finished = sorted(self.finished, key=self.rank, reverse=True)[:beams]
        self.running = [] if self._over(running) else [after for _, after in running]
        return [parent for parent, _ in running] if self.running else []

    def rank(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score / len(hypothesis.tokens) ** self._settings.length_penalty

    def _over(self, running: list[tuple[int, Hypothesis]]) -> bool:
        full = len(self.finished) == self._settings.beams
        return not running or (full and self.rank(running[0][1]) <= self.rank(self.finished[-1]))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A next token: what it adds to the score, and its log-probability under the model itself."""

    token: int
    score: float
    logprob: float


def _candidates(logits: Tensor, rows: Rows, live: Sequence[Search], settings: Settings) -> list[list[Candidate]]:
    """The best next tokens of each row: as many as the whole prompt could need, should all come from this row."""
    own = scores = log_probabilities(logits)
    if settings.repetition_penalty != 1:
        scores = log_probabilities(repetition(logits, rows.seen, settings.repetition_penalty))
    best = scores.topk(min(2 * settings.beams, scores.shape[-1]))
    if not best.values[:, 0].isfinite().all():  # topk ranks NaN first
        raise RegardError("generate.not_finite", step=len(live[0].running[0].tokens) + 1)
    columns = best.indices.tolist(), best.values.tolist(), own.gather(-1, best.indices).tolist()
    return [
        [Candidate(*each) for each in zip(*row, strict=True) if each[1] > -torch.inf]
        for row in zip(*columns, strict=True)
    ]
