"""The tokens: the same in training and in use, begun once, padded with a token of their own, all in the model."""

from __future__ import annotations

import shlex
from typing import Any

import torch
from torch import Tensor

from regard import tasks
from regard.doctor.finding import Verdict, bad, doubtful, good
from regard.doctor.laid import embeddings, read_by
from regard.doctor.subject import Subject, texts
from regard.generate import Settings
from regard.tasks.base import IGNORED

MANY_UNKNOWN = 0.05  # share of tokens that stand for what the tokenizer cannot spell


def vocabulary(subject: Subject) -> Verdict:
    """The model has a row for every token that the tokenizer can give."""
    tokenizer, model = subject.bundle.tokenizer, subject.model
    rows = min(int(module.tokens.weight.shape[0]) for module in embeddings(model))
    # A pad token that a tokenizer got only here has no row, and is never shown to a model.
    needed = tokenizer.size - (tokenizer.pad == tokenizer.size - 1 == rows)
    if needed > rows:
        return bad("doctor.vocabulary.bad", f"{subject.again} --set model.vocab={needed}", size=needed, rows=rows)
    return good("doctor.vocabulary.ok", size=tokenizer.size, rows=rows)


def unknown(subject: Subject) -> Verdict:
    """Few tokens stand for what the tokenizer cannot spell."""
    tokenizer = subject.bundle.tokenizer
    found = {texts(row): tokenizer.encode(texts(row), special=False) for row in subject.rows}
    ids = [token for each in found.values() for token in each]
    share = sum(token == tokenizer.unk for token in ids) / max(len(ids), 1)
    if share > MANY_UNKNOWN:
        example = max(found, key=lambda text: sum(token == tokenizer.unk for token in found[text]))
        command = f"regard tokenizer show {subject.quoted} {shlex.quote(example)}"
        return doubtful("doctor.unknown.many", command, share=share, count=len(ids))
    return good("doctor.unknown.ok", count=len(ids))


def pad(subject: Subject) -> Verdict:
    """Padding has a token of its own, and it is never learnt."""
    tokenizer = subject.bundle.tokenizer
    for role in ("eos", "bos", "sep", "cls", "mask", "unk"):
        if getattr(tokenizer, role) == tokenizer.pad:
            return bad("doctor.pad.shared", subject.again, role=role, token=_spelled(subject, tokenizer.pad))
    if len(subject.batch.where) and int((subject.batch.labels == tokenizer.pad).sum()):
        return bad("doctor.pad.learnt", subject.again, count=int((subject.batch.labels == tokenizer.pad).sum()))
    return good("doctor.pad.ok", token=_spelled(subject, tokenizer.pad))


def bos(subject: Subject) -> Verdict:
    """No document begins with its first special token twice, nor does a text in which it is spelled out."""
    tokenizer = subject.bundle.tokenizer
    first = {tokenizer.bos, tokenizer.cls, *tokenizer.template.before} - {None}
    for document in [*subject.documents, *subject.sources]:
        ids = document.tolist()
        if ids[0] == ids[1] and (ids[0] in first or ids[0] in tokenizer.specials):
            return bad("doctor.bos.twice", subject.again, begins=tokenizer.decode(ids[:4], special=True))
    before = list(tokenizer.template.before)
    marked = tokenizer.encode_marked(tokenizer.decode(before, special=True) + texts(subject.rows[0]))
    if before and marked[len(before) : 2 * len(before)] == before:
        return bad("doctor.bos.twice", subject.again, begins=tokenizer.decode(marked[:4], special=True))
    if not any(int(document[0]) in tokenizer.specials for document in subject.documents):
        return good("doctor.bos.none")
    return good("doctor.bos.ok", token=_spelled(subject, int(subject.documents[0][0])))


def ids(subject: Subject) -> Verdict:
    """What a text is made into for a prediction is what training made of it."""
    assert subject.task is not None
    used = subject.used
    task = tasks.of(used, subject.recipe.task_settings)
    for number, row in zip(subject.batch.ids, range(len(subject.documents)), strict=True):
        text = texts(subject.rows[number])
        read = _predicted(subject, task, used, text)
        learnt_sides = _trained(subject, row)
        first = len(read) - len(learnt_sides)  # a text that is its own target is learnt as the source alone
        for side, learnt in enumerate(learnt_sides, first):
            given = read[side].flatten().tolist()
            if subject.task.name == "masked-lm":
                given = given[:-2] + given[-1:]  # without the mask that was asked about
            if given != learnt:
                decode = used.tokenizer.decode
                begins = {"training": decode(learnt[:8], special=True), "use": decode(given[:8], special=True)}
                return bad("doctor.ids.bad", subject.again, text=text, **begins)
    return good("doctor.ids.ok", count=len(subject.documents))


def _trained(subject: Subject, row: int) -> list[list[int]]:
    """What each side reads of a document in training; of a decoder that writes, only what it begins with."""
    assert subject.task is not None
    target = subject.documents[row]
    if subject.task.name == "seq2seq":
        return [target[:1].tolist(), subject.sources[row].tolist()]
    if subject.task.name == "masked-lm":
        target = _restored(subject, row)
    return [target.tolist()]


def _restored(subject: Subject, row: int) -> Tensor:
    """The document with what was hidden put back."""
    from regard.doctor.labels import documents

    _, tokens, labels = list(documents(subject))[row]
    return torch.tensor([t if label == IGNORED else label for t, label in zip(tokens, labels, strict=True)])


def _predicted(subject: Subject, task: Any, used: Any, text: str) -> dict[int, Tensor]:
    """The tokens that each side's embedding is given first when the task predicts for this text."""
    if task.name == "masked-lm":
        text += used.tokenizer.roles["mask"]
    settings = Settings(temperature=0.0, max_tokens=1, cache="none")
    writes = {"settings": settings} if task.name in ("causal-lm", "seq2seq") else {}
    with read_by(subject.model) as read:
        task.predict(used, [text], **writes)
    return read


def _spelled(subject: Subject, token: int) -> str:
    return subject.bundle.tokenizer.decode([token], special=True)
