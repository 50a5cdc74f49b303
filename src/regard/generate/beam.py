"""Beam search: the `beams` most probable beginnings of a text go on together, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.generate.choose import Chooser
from regard.generate.rows import Rows
from regard.generate.sample import steps
from regard.generate.settings import Settings
from regard.generate.text import Step
from regard.generate.warp import log_probabilities


@dataclass(frozen=True)
class Hypothesis:
    """A text the search holds: its steps, what it is ranked by (the sum of its tokens' log-probabilities after the
    rules), and why it ended (None while it goes on)."""

    steps: tuple[Step, ...] = ()
    score: float = 0.0
    reason: str | None = None

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(step.token for step in self.steps)


@dataclass(frozen=True)
class Ends:
    """When a text of one prompt ends: at most `most` tokens; `why` of its tokens so far, or None; `count` tokens end
    one."""

    why: Callable[[Sequence[int]], str | None]
    most: int
    count: int = 1


def search(rows: Rows, ends: Sequence[Ends], chooser: Chooser, told: int = 0) -> list[list[Hypothesis]]:
    """The best finished hypotheses of each prompt, at most `beams` and best first.

    Each prompt is searched as it would be alone: its hypotheses compete only with each other, and its rows leave the
    batch when its search is over.
    """
    searches = [Prompt(chooser, each) for each in ends]
    live = searches
    logits = rows.start()
    rows.select([row for row, one in enumerate(live) for _ in range(one.width)])
    logits = logits[[row for row, one in enumerate(live) for _ in range(one.width)]]
    while True:
        # As in transformers, rules change log-probabilities, and what they leave is not made to sum to one again.
        scores = chooser.ruled(log_probabilities(logits), rows.histories)
        parents: list[int] = []
        first = 0
        for one in live:
            until = first + one.width
            parents += [first + parent for parent in one.advance(scores[first:until], logits[first:until], told)]
            first = until
        live = [one for one in live if one.width]
        if not live:
            return [one.finished() for one in searches]
        rows.select(parents)
        logits = rows.step([token for one in live for token in one.newest()])


class Prompt:
    """The search of one prompt: its groups of beams, one after the other, each kept from the choices of those before it
    (diverse beam search, Vijayakumar et al. 2016)."""

    def __init__(self, chooser: Chooser, ends: Ends) -> None:
        settings, wants = chooser.settings, chooser.settings.search
        self._diversity, self._count = wants.diversity, settings.beams
        if wants.forced:
            self.groups: list[Search] = [Forced(settings, settings.beams, ends, chooser.forced)]
        else:
            self.groups = [Search(settings, settings.beams // wants.groups, ends) for _ in range(wants.groups)]

    @property
    def width(self) -> int:
        """Rows it takes."""
        return sum(len(group.running) for group in self.groups)

    def newest(self) -> list[int]:
        return [one.steps[-1].token for group in self.groups for one in group.running]

    def advance(self, scores: Tensor, logits: Tensor, told: int) -> list[int]:
        """Take one step, given the scores and logits (width, V) of the running hypotheses; returns which old one each
        new one continues."""
        parents: list[int] = []
        chosen: list[int] = []
        first = 0
        for group in self.groups:
            until = first + len(group.running)
            if until > first:
                made = torch.bincount(torch.tensor(chosen, dtype=torch.int64), minlength=scores.shape[-1]).to(scores)
                found = group.advance(scores[first:until] - self._diversity * made, logits[first:until], told)
                parents += [first + parent for parent in found]
                chosen += group.chosen
            first = until
        return parents

    def finished(self) -> list[Hypothesis]:
        both = [(group.rank(one), one) for group in self.groups for one in group.finished]
        return [one for _, one in sorted(both, key=lambda item: -item[0])][: self._count]


class Search:
    """One group of beams: `running` hypotheses, one a row of the batch, and `finished` ones, best first.

    Follows transformers: of the 2 x beams best continuations those that end the text are finished if they are among the
    best `beams`, the best `beams` of the others run on. It is over when `beams` are finished and, by `early_stopping`,
    no running one can rank higher. With a length penalty above 0 a longer text could still rank higher: "estimate" then
    is a heuristic, as it is there (`early_stopping=False`).
    """

    def __init__(self, settings: Settings, beams: int, ends: Ends) -> None:
        self._wants, self._beams, self._ends = settings.search, beams, ends
        self.running = [Hypothesis()]
        self.finished: list[Hypothesis] = []
        self.chosen: list[int] = []  # the newest step's tokens, but for those that end a text

    def advance(self, scores: Tensor, logits: Tensor, told: int) -> list[int]:
        """Take one step, given scores and logits (running, V); `running` is empty when the search is over. Returns
        which old hypothesis each new one continues."""
        grown = self._grown(scores, logits, told)
        self.chosen = [after.steps[-1].token for _, after in grown if after.reason != "eos"][: self._beams]
        running = self._sorted_out(grown)
        self.finished = sorted(self.finished, key=self.rank, reverse=True)[: self._beams]
        self.running = [] if self._over(running) else [after for _, after in running]
        return [parent for parent, _ in running] if self.running else []

    def _sorted_out(self, grown: Sequence[tuple[int, Hypothesis]]) -> list[tuple[int, Hypothesis]]:
        """Those that run on; the finished ones are put to the others."""
        running: list[tuple[int, Hypothesis]] = []
        for rank, (parent, after) in enumerate(grown):
            if after.reason is None and len(running) < self._beams:
                running.append((parent, after))
            elif after.reason is not None and rank < self._beams:
                self.finished.append(after)
        return running

    def rank(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score / len(hypothesis.steps) ** self._wants.length_penalty

    def _grown(self, scores: Tensor, logits: Tensor, told: int) -> list[tuple[int, Hypothesis]]:
        """The 2 x beams best continuations and what each continues, best first; more where more than one token ends a
        text, so that `beams` of them go on."""
        before = torch.tensor([one.score for one in self.running], dtype=torch.float32, device=scores.device)
        totals = scores + before[:, None]
        best = totals.flatten().topk(min((1 + max(1, self._ends.count)) * self._beams, totals.numel()))
        if best.values[0].isnan():  # topk ranks NaN first
            raise RegardError("generate.not_finite", step=len(self.running[0].steps) + 1)
        sums, places = best.values.tolist(), best.indices.tolist()
        found = [(total, *divmod(place, totals.shape[-1])) for total, place in zip(sums, places, strict=True)]
        return self._continued([each for each in found if each[0] > -torch.inf], logits, told)

    def _continued(
        self, found: Sequence[tuple[float, int, int]], logits: Tensor, told: int
    ) -> list[tuple[int, Hypothesis]]:
        """Hypotheses out of (score, parent, token)."""
        parents = [parent for _, parent, _ in found]
        made = steps(logits[parents], [token for *_, token in found], told) if found else []
        grown = []
        for (score, parent, token), step in zip(found, made, strict=True):
            reason = self._ends.why([*self.running[parent].tokens, token])
            grown.append((parent, Hypothesis((*self.running[parent].steps, step), score, reason)))
        return grown

    def _over(self, running: list[tuple[int, Hypothesis]]) -> bool:
        if not running:
            return True
        if len(self.finished) < self._beams:
            return False
        best = max((after for _, after in running), key=lambda one: one.score)
        never = self._wants.early_stopping == "never" and self._wants.length_penalty > 0
        length = self._ends.most if never else len(best.steps)
        return self._wants.early_stopping == "full" or (
            best.score / length**self._wants.length_penalty <= self.rank(self.finished[-1])
        )


class Forced(Search):
    """Beams whose texts must hold every one of `words`. A hypothesis is in the bank of so many words' tokens as it
    holds; the beams are shared out among the banks, so that one that is on its way is not lost to a more probable one
    that is not (dynamic beam allocation, Post and Vilar 2018)."""

    def __init__(self, settings: Settings, beams: int, ends: Ends, words: Sequence[Sequence[int]]) -> None:
        super().__init__(settings, beams, ends)
        self._words = [tuple(word) for word in words]

    def _grown(self, scores: Tensor, logits: Tensor, told: int) -> list[tuple[int, Hypothesis]]:
        """The best continuations of all, and of each hypothesis the best one and those that go on with a word."""
        grown = {(parent, after.tokens): after for parent, after in super()._grown(scores, logits, told)}
        found = [(parent, int(row.argmax())) for parent, row in enumerate(scores)]
        for parent, one in enumerate(self.running):
            found += [(parent, word[held]) for word, held in self._wanting(one.tokens)]
        sums = [
            (self.running[parent].score + float(scores[parent, token]), parent, token)
            for parent, token in dict.fromkeys(found)
            if (parent, (*self.running[parent].tokens, token)) not in grown
        ]
        more = self._continued([each for each in sums if each[0] > -torch.inf], logits, told)
        return sorted([*((parent, after) for (parent, _), after in grown.items()), *more], key=lambda e: -e[1].score)

    def _sorted_out(self, grown: Sequence[tuple[int, Hypothesis]]) -> list[tuple[int, Hypothesis]]:
        banks: dict[int, list[tuple[int, Hypothesis]]] = {}
        for parent, after in grown:
            wanting = self._wanting(after.tokens)
            if after.reason is None:
                reached = max((held for _, held in wanting), default=0)
                bank = sum(map(len, self._words)) - sum(len(word) for word, _ in wanting) + reached
                banks.setdefault(bank, []).append((parent, after))
            elif not wanting:
                self.finished.append(after)
        running: list[tuple[int, Hypothesis]] = []
        while len(running) < self._beams and any(banks.values()):
            for bank in sorted(banks, reverse=True):
                if banks[bank] and len(running) < self._beams:
                    running.append(banks[bank].pop(0))
        if not running and not self.finished:
            raise RegardError("generate.words_do_not_fit", words=len(self._words), most=self._ends.most)
        return running

    def _wanting(self, tokens: Sequence[int]) -> list[tuple[tuple[int, ...], int]]:
        """The words that a text does not hold, and how many tokens of each its end does."""
        text = tuple(tokens)
        wanting = []
        for word in self._words:
            size = len(word)
            if not any(text[at : at + size] == word for at in range(len(text) - size + 1)):
                held = next(n for n in range(min(size - 1, len(text)), -1, -1) if text[len(text) - n :] == word[:n])
                wanting.append((word, held))
        return wanting
