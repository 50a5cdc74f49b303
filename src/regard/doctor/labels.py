"""What carries loss, and where it stands."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from regard.doctor.finding import Verdict, bad, good
from regard.doctor.laid import asked_of_head, question
from regard.doctor.masks import REINSTALL
from regard.doctor.subject import Subject
from regard.layers import Context
from regard.tasks.base import IGNORED

AGREE = 1e-3  # of the loss and what the logits give, relative


def eos(subject: Subject) -> Verdict:
    """The end of every document is a label that carries loss."""
    end = ends(subject)
    without = [row for row, _, labels in documents(subject) if end is None or labels[-1] != end]
    if without:
        return bad("doctor.eos.bad", subject.again, count=len(without), of=len(subject.documents))
    return good("doctor.eos.ok", count=len(subject.documents), token=_spelled(subject, end))


def shift(subject: Subject) -> Verdict:
    """Each label of a model that reads from left to right is the next token: shifted once, in the batch alone."""
    found: Counter[int] = Counter()
    for _, tokens, labels in documents(subject):
        for at in range(len(tokens) - 1):
            if labels[at] not in (IGNORED, tokens[at + 1]):
                found[next((k for k in range(-2, 4) if _at(tokens, at + k) == labels[at]), 99)] += 1
    if found:
        steps = found.most_common(1)[0][0]
        key = "doctor.shift.bad" if steps != 99 else "doctor.shift.strange"
        return bad(key, REINSTALL, steps=steps, count=found.total())
    return _scored(subject, "doctor.shift.ok")


def place(subject: Subject) -> Verdict:
    """Each label of a model that fills gaps is the token that stood there; whatever is no gap is as it was."""
    for row, tokens, labels in documents(subject):
        ids = subject.bundle.tokenizer.encode(subject.rows[row]["text"], special=False)
        for at, original in enumerate(ids, start=1):
            if labels[at] not in (IGNORED, original) or (labels[at] == IGNORED and tokens[at] != original):
                return bad("doctor.place.bad", REINSTALL, row=row + 1, at=at + 1)
    return _scored(subject, "doctor.place.ok")


def classes(subject: Subject) -> Verdict:
    """Each example's class is its label, and the head, the model's names and the task's are the same classes."""
    task, batch = subject.task, subject.batch
    assert task is not None
    outputs, names = len(_logits(subject)[0]), subject.bundle.labels
    if not len(task.labels) == len(names) == outputs:
        return bad("doctor.classes.count", subject.again, task=len(task.labels), names=len(names), head=outputs)
    if task.labels != names:
        return bad("doctor.classes.order", _named(subject), model=", ".join(names[:5]), data=", ".join(task.labels[:5]))
    for number, klass in zip(batch.ids, batch.labels.tolist(), strict=True):
        if task.labels[klass] != subject.rows[number]["label"]:
            values = {"where": subject.rows[number].get("where", number + 1), "label": subject.rows[number]["label"]}
            return bad("doctor.classes.wrong", _named(subject), learnt=task.labels[klass], **values)
    return _scored(subject, "doctor.classes.ok", count=outputs)


def ends(subject: Subject) -> int | None:
    """The token that ends a document."""
    tokenizer = subject.bundle.tokenizer
    return tokenizer.eos if tokenizer.eos is not None or subject.bundle.task != "causal-lm" else tokenizer.sep


def documents(subject: Subject) -> Iterator[tuple[int, list[int], list[int]]]:
    """(number of the row, tokens, labels with IGNORED where nothing is asked) of each document of the batch."""
    batch = subject.batch
    labels = torch.full((batch.tokens.shape[1],), IGNORED, device=subject.device)
    if len(batch.where):
        labels[batch.where] = batch.labels
    parts = zip(batch.ids, subject.documents, labels.split(batch.lengths), strict=True)
    yield from ((row, tokens.tolist(), own.tolist()) for row, tokens, own in parts)


def _scored(subject: Subject, key: str, **values: int) -> Verdict:
    """Whether the task's loss is that of the labels at the logits of their own places."""
    task, batch = subject.task, subject.batch
    assert task is not None
    logits = _logits(subject)
    with torch.no_grad(), asked_of_head(subject.model):
        loss = float(task.loss(subject.model, batch, None))
    picked = logits.gather(-1, batch.labels[:, None])[:, 0]
    expected = float((logits.logsumexp(-1) - picked).sum())
    if abs(loss - expected) > AGREE * max(1.0, abs(expected)):
        return bad("doctor.shift.loss", REINSTALL, loss=loss / batch.count, expected=expected / batch.count)
    return good(key, **values)


def _logits(subject: Subject) -> Tensor:
    """(M, V) logits of the places that carry loss, or (documents, classes), from the model called itself."""
    if not subject.reads_text:
        with torch.no_grad():
            return subject.model(subject.batch.image, Context()).double()
    with torch.no_grad():
        seen = question(subject.model, subject.documents, subject.sources).look()
    out = seen.out.detach().double()
    return out[subject.batch.where] if len(subject.batch.where) else out


def _at(tokens: list[int], place: int) -> int | None:
    return tokens[place] if 0 <= place < len(tokens) else None


def _named(subject: Subject) -> str:
    labels = sorted({str(row["label"]) for row in subject.rows})
    return f"{subject.again} --set {shlex.quote('task.labels=' + ','.join(labels))}"


def _spelled(subject: Subject, token: int | None) -> str:
    return "-" if token is None else subject.bundle.tokenizer.decode([token], special=True)
