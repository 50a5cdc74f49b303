"""Nothing that is hidden reaches a logit; what is to be seen does."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from regard.doctor.finding import Said, Verdict, bad, good
from regard.doctor.laid import LAYOUTS, Laid, Question, Seen, question, trained
from regard.doctor.subject import Subject
from regard.layers import Experts

REINSTALL = "python -m pip install --force-reinstall --no-deps regard"
ROUNDING = 1e-5  # of the largest output, where sums have another order
CUTS = 3  # places in each document after which the rest is hidden


def future(subject: Subject) -> Verdict:
    """In training and in padded rows, no output feels a token after its own."""
    for name, asked in _layouts(subject, "training", "right", "left"):
        before = asked.look()
        target = asked.sides[0]
        for cut in _cuts(target):
            later = (target.place > cut[target.owner]) & target.tokens_only
            earlier = before.place <= cut[before.owner]
            felt = _felt(asked, before, _alone(asked, later), earlier)
            if felt is not None:
                owner, place = felt
                values = {"at": int(cut[owner]) + 1, "later": place + 1}
                return bad("doctor.future.bad", REINSTALL, layout=_said(name), row=owner + 1, **values)
    return good("doctor.future.ok", documents=len(subject.documents))


def padding(subject: Subject) -> Verdict:
    """In rows padded right and left, of the source and of the target, no output feels padding."""
    for name, asked in _layouts(subject, "right", "left"):
        before = asked.look()
        pads = [~side.tokens_only for side in asked.sides]
        if _felt(asked, before, pads, torch.ones_like(before.owner, dtype=torch.bool)) is not None:
            return bad("doctor.padding.bad", REINSTALL, layout=_said(name))
    return good("doctor.padding.ok", documents=len(subject.documents))


def documents(subject: Subject) -> Verdict:
    """In the row of a training batch, no document feels another, nor another's source."""
    for _, asked in _layouts(subject, "training"):
        before = asked.look()
        for number in range(len(subject.documents)):
            others = [(side.owner != number) & side.tokens_only for side in asked.sides]
            felt = _felt(asked, before, others, before.owner == number)
            if felt is not None:
                return bad("doctor.documents.bad", REINSTALL, row=number + 1, other=felt[0] + 1)
    return good("doctor.documents.ok", documents=len(subject.documents))


def sight(subject: Subject) -> Verdict:
    """Each document's output feels the neighbouring token that it is to see, and its source."""
    for _, asked in _layouts(subject, "training"):
        before = asked.look()
        for number in range(len(subject.documents)):
            if (missing := _unseen(subject, asked, before, number)) is not None:
                return bad("doctor.sight.bad", REINSTALL, row=number + 1, what=Said(f"doctor.sight.{missing}"))
    return good("doctor.sight.ok", count=len(subject.documents))


def causal(subject: Subject) -> bool:
    """Whether the task reads from left to right."""
    return subject.task is not None and subject.task.name in ("causal-lm", "seq2seq")


def _unseen(subject: Subject, asked: Question, before: Seen, number: int) -> str | None:
    """What the outputs of document `number` do not feel and should: "before", "after" or "source"."""
    mine = before.owner == number
    target = asked.sides[0]
    rows = mine.nonzero()[:, 0]
    if len(rows) == 1 or causal(subject):
        felt = before.felt(mine & (before.place == before.place[rows].max()))
        own = felt[0][target.owner == number]
        # One vector for a document comes from its first token, its last or all; it must come from two at least.
        if own.sum() < 2:
            return "before"
    else:
        felt = before.felt(mine & (before.place == 1))
        own = felt[0][target.owner == number]
        if not own[0]:
            return "before"
        if not own[2]:
            return "after"
    if len(felt) > 1 and not felt[1][asked.sides[1].owner == number].any():
        return "source"
    return None


def _layouts(subject: Subject, *names: str) -> Iterator[tuple[str, Question]]:
    for name in names:
        if name == "training" and subject.task is not None:
            yield name, trained(subject.model, subject.task, subject.batch)
        else:
            layout = LAYOUTS["packed" if name == "training" else name]
            yield name, question(subject.model, subject.documents, subject.sources, layout)


def _felt(asked: Question, before: Seen, hidden: list[Tensor], rows: Tensor) -> tuple[int, int] | None:
    """(document, place) of a hidden token that the outputs `rows` feel; None where they feel none, not by a bit."""
    for side, seen, concealed in zip(asked.sides, before.felt(rows), hidden, strict=True):
        if (leak := seen & concealed).any():
            return _where(side, leak)
    if _same(asked, asked.look(hidden).out[rows], before.out[rows]):
        return None
    side, concealed = next((s, h) for s, h in zip(asked.sides, hidden, strict=True) if h.any())
    return _where(side, concealed)


def _same(asked: Question, found: Tensor, expected: Tensor) -> bool:
    """To the bit; but an expert's product has as many rows as tokens came to it, and the order of its sums goes by
    their number."""
    if any(isinstance(module, Experts) for module in asked.model.modules()):
        found, expected = found.detach(), expected.detach()
        return float((found - expected).abs().max()) <= ROUNDING * max(1.0, float(expected.abs().max()))
    return torch.equal(found, expected)


def _where(side: Laid, found: Tensor) -> tuple[int, int]:
    row, column = found.nonzero()[0].tolist()
    return int(side.owner[row, column]), int(side.place[row, column])


def _alone(asked: Question, target: Tensor) -> list[Tensor]:
    """Hidden of the target; of a source nothing is."""
    return [target, *(torch.zeros_like(side.owner, dtype=torch.bool) for side in asked.sides[1:])]


def _cuts(side: Laid) -> Iterator[Tensor]:
    """Places (documents,), at the beginning, in the middle, and before the last token of each document."""
    last = side.lengths() - 2
    for share in range(CUTS):
        yield (last * share) // (CUTS - 1)


def _said(layout: str) -> Said:
    return Said(f"doctor.layout.{layout}")
