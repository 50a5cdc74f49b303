"""The same numbers whichever way they are computed: alone, padded, packed, cached, accumulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from regard.doctor.finding import Verdict, bad, doubtful, good
from regard.doctor.laid import LAYOUTS, question
from regard.doctor.masks import REINSTALL
from regard.doctor.subject import Subject, texts
from regard.generate import Settings, generate
from regard.layers import Context, Key, Mask
from regard.tasks.base import Task

NEAR = 1e-5  # of the largest output: what float32 rounds away in a few layers
FAR = 1e-3  # beyond this it is no rounding


def finite(subject: Subject) -> Verdict:
    """Every weight and the loss are numbers."""
    for name, tensor in subject.model.named_parameters():
        if not bool(tensor.isfinite().all()):
            return bad("doctor.finite.weight", subject.again, name=name, count=int((~tensor.isfinite()).sum()))
    if subject.task is None or not subject.rows:
        return good("doctor.finite.ok", count=subject.parameters)
    with torch.no_grad():
        loss = float(subject.task.loss(subject.model, subject.batch, None)) / subject.batch.count
    if not math.isfinite(loss):
        return bad("doctor.finite.loss", subject.again, loss=loss)
    return good("doctor.finite.loss_ok", count=subject.parameters, loss=loss)


def dropout(subject: Subject) -> Verdict:
    """In evaluation nothing is drawn; in training, under a rate above 0, something is, and a key gives it again."""
    rate = getattr(subject.model.config, "dropout", 0.0)
    first, second = (_outputs(subject) for _ in range(2))
    if not torch.equal(first, second):
        return bad("doctor.dropout.evaluation", REINSTALL)
    if subject.task is None or not rate:
        return good("doctor.dropout.none")
    keys = (Key(1), Key(2), Key(1))
    one, other, again = (_loss(subject, subject.task, key) for key in keys)
    if one != again:
        return bad("doctor.dropout.unrepeated", REINSTALL)
    if one == other:
        return bad("doctor.dropout.never", REINSTALL, rate=rate)
    return good("doctor.dropout.ok", rate=rate)


def alone(subject: Subject) -> Verdict:
    """A document in a padded batch gets what it gets by itself, padded right or left."""
    expected = _alone(subject)
    worst = max(_apart(_outputs(subject, name), expected) for name in ("right", "left"))
    return _judged(subject, worst, "doctor.alone.ok", "doctor.alone.bad")


def packed(subject: Subject) -> Verdict:
    """A document in the row of a training batch gets what it gets by itself."""
    worst = _apart(_outputs(subject, "packed"), _alone(subject))
    return _judged(subject, worst, "doctor.packed.ok", "doctor.packed.bad")


@torch.no_grad()
def examples(subject: Subject) -> Verdict:
    """An image, or a sound that is padded beside longer ones, costs in a batch what it costs by itself."""
    task = subject.task
    assert task is not None
    apart = []
    for several in (subject.samples, subject.samples[::-1]):
        batch = task.collate(several, range(len(several))).to(subject.device)
        single = [task.collate([one], [0]).to(subject.device) for one in several]
        together = float(task.loss(subject.model, batch, None))
        by_themselves = sum(float(task.loss(subject.model, one, None)) for one in single)
        apart.append(abs(together - by_themselves) / max(1.0, abs(by_themselves)))
    worst = max(apart) if all(map(math.isfinite, apart)) else math.inf
    if worst <= NEAR:
        return good("doctor.examples.ok", apart=worst, count=len(subject.samples))
    if worst <= FAR:
        again = f"regard doctor {subject.quoted} --device cpu --threads 1"
        return doubtful("doctor.numbers.rounding", again, apart=worst, usual=NEAR)
    return bad("doctor.examples.bad", REINSTALL, apart=worst)


@torch.no_grad()
def cached(subject: Subject) -> Verdict:
    """Reading token by token or in pieces from a cache gives what reading all at once gives; so do written texts."""
    expected = _split(subject, _alone(subject))
    capacity = max(map(len, subject.documents)) + 1
    worst = 0.0
    for size in (1, 3):
        for room in (None, capacity):
            found = [_by_pieces(subject, number, size, room) for number in range(len(subject.documents))]
            worst = max(worst, _apart(torch.cat(found), torch.cat(expected)))
    worst = max(worst, _apart(_ragged(subject), torch.cat(expected)))
    if worst <= FAR and not _same_texts(subject):
        return bad("doctor.cached.texts", REINSTALL)
    return _judged(subject, worst, "doctor.cached.ok", "doctor.cached.bad")


def _apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest output; infinite where it is not a number."""
    apart = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    return apart if math.isfinite(apart) else math.inf


def _judged(subject: Subject, worst: float, well: str, badly: str) -> Verdict:
    if worst <= NEAR:
        return good(well, apart=worst, count=len(subject.documents))
    if worst <= FAR:
        again = f"regard doctor {subject.quoted} --device cpu --threads 1"
        return doubtful("doctor.numbers.rounding", again, apart=worst, usual=NEAR)
    return bad(badly, REINSTALL, apart=worst)


def _outputs(subject: Subject, layout: str = "packed") -> Tensor:
    """(M, ...) everything that the model gives for the documents in a layout, document by document."""
    seen = question(subject.model, subject.documents, subject.sources, LAYOUTS[layout]).look()
    order = torch.argsort(seen.owner * (1 + int(seen.place.max())) + seen.place)
    return seen.out.detach()[order]


def _alone(subject: Subject) -> Tensor:
    """The same for each document by itself."""
    outputs = []
    for number, document in enumerate(subject.documents):
        source = subject.sources[number : number + 1]
        outputs.append(question(subject.model, [document], source).look().out.detach())
    return torch.cat(outputs)


def _split(subject: Subject, outputs: Tensor) -> list[Tensor]:
    return list(outputs.split([len(document) for document in subject.documents]))


def _loss(subject: Subject, task: Task, key: Key) -> float:
    """The loss as training has it."""
    model, was = subject.model, subject.model.training
    model.train()
    try:
        with torch.no_grad():
            return float(task.loss(model, subject.batch, key))
    finally:
        model.train(was)


def _by_pieces(subject: Subject, number: int, size: int, capacity: int | None) -> Tensor:
    """(T, V) logits of a document that is read a few tokens at a time."""
    model, document = subject.model, subject.documents[number]
    cache = model.cache(1, capacity)
    beside = _memory(subject, [number])
    pieces = document[None].split(size, 1)
    return torch.cat([model.head(model.hidden(piece, replace(beside, cache=cache)))[0] for piece in pieces])


def _ragged(subject: Subject) -> Tensor:
    """All documents as a batch of rows: their first halves, padded, into the cache, the rest token by token."""
    model, rows = subject.model, subject.documents
    device, halves = subject.device, [len(row) // 2 for row in rows]
    cache = model.cache(len(rows))
    beside = _memory(subject, list(range(len(rows))))
    begun = LAYOUTS["right"]([row[:half] for row, half in zip(rows, halves, strict=True)]).tokens
    context = Context.padded(halves, device, cache)
    logits = model.head(model.hidden(begun, replace(beside, positions=context.positions, cache=cache)))
    found = [[logits[number, :half]] for number, half in enumerate(halves)]
    for step in range(max(len(row) - half for row, half in zip(rows, halves, strict=True))):
        at = [min(half + step, len(row) - 1) for row, half in zip(rows, halves, strict=True)]
        new = torch.stack([row[place] for row, place in zip(rows, at, strict=True)])[:, None]
        logits = model.head(model.hidden(new, replace(beside, cache=cache)))
        for number, (row, half) in enumerate(zip(rows, halves, strict=True)):
            found[number] += [logits[number]] if half + step < len(row) else []
    return torch.cat([part for parts in found for part in parts])


def _memory(subject: Subject, numbers: Sequence[int]) -> Context:
    """What stands beside the tokens: nothing, or the encoder's memory of these documents' sources."""
    if not subject.sources:
        return Context()
    lengths = [len(subject.sources[number]) for number in numbers]
    laid = LAYOUTS["right"]([subject.sources[number] for number in numbers])
    memory = subject.model.encode(laid.tokens, laid.context)
    return Context(memory=memory, memory_mask=Mask(lengths=torch.tensor(lengths, device=subject.device)))


def _same_texts(subject: Subject) -> bool:
    """Whether texts are written alike with and without a cache; a difference among equally good tokens is none."""
    if subject.bundle.task not in ("causal-lm", "seq2seq"):
        return True
    prompts = [texts(row)[:6] for row in subject.rows[:2]]
    written = [
        generate(subject.bundle, prompts, Settings(temperature=0.0, max_tokens=6, cache=kind))
        for kind in ("preallocated", "none")
    ]
    return all(a.tokens == b.tokens or abs(a.logprob - b.logprob) < FAR for a, b in zip(*written, strict=True))
