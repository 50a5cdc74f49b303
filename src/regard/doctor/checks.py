"""The list: which checks there are, whom each applies to, and which others it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

from regard.doctor import files, labels, masks, numbers, surroundings, tokens, updates
from regard.doctor.finding import Finding, Said, Verdict, bad
from regard.doctor.subject import Subject
from regard.errors import RegardError

Ask = Callable[[Subject], Verdict]


def _always(subject: Subject) -> bool:
    return True


def _reads_text(subject: Subject) -> bool:
    return subject.reads_text


def _sees_or_hears(subject: Subject) -> bool:
    return not subject.reads_text and subject.task is not None and bool(subject.rows)


def _has_task(subject: Subject) -> bool:
    return subject.task is not None and bool(subject.rows)


def _has_text_task(subject: Subject) -> bool:
    return subject.reads_text and subject.task is not None


def _of(*names: str) -> Callable[[Subject], bool]:
    return lambda subject: subject.task is not None and subject.task.name in names


def _run(subject: Subject) -> bool:
    return subject.run is not None


def _has_data(subject: Subject) -> bool:
    return subject.reads_text and not subject.made_up


def _writes(subject: Subject) -> bool:
    return subject.reads_text and subject.bundle.task in ("causal-lm", "seq2seq")


@dataclass(frozen=True)
class Check:
    """One question. It is not asked where one of `after` is red, for then its answer would say nothing new."""

    name: str
    group: str
    ask: Ask
    applies: Callable[[Subject], bool] = _always
    after: tuple[str, ...] = ()


CHECKS = (  # each behind those that it rests on
    Check("vocabulary", "tokens", tokens.vocabulary, _reads_text),
    Check("unknown", "tokens", tokens.unknown, _has_data),
    Check("pad", "tokens", tokens.pad, _reads_text),
    Check("bos", "tokens", tokens.bos, _reads_text, after=("vocabulary",)),
    Check("finite", "numbers", numbers.finite, after=("vocabulary",)),
    Check("dropout", "numbers", numbers.dropout, _reads_text, after=("vocabulary", "finite")),
    Check("shift", "labels", labels.shift, masks.causal, after=("dropout",)),
    Check("eos", "labels", labels.eos, _writes, after=("shift",)),
    Check("place", "labels", labels.place, _of("masked-lm"), after=("dropout",)),
    Check("classes", "labels", labels.classes, _of("classification", "image-classification"), after=("dropout",)),
    Check("ids", "tokens", tokens.ids, _has_text_task, after=("bos", "place", "classes")),
    Check("sight", "masks", masks.sight, _reads_text, after=("dropout",)),
    Check("documents", "masks", masks.documents, _reads_text, after=("dropout",)),
    Check("future", "masks", masks.future, masks.causal, after=("documents",)),
    Check("padding", "masks", masks.padding, _reads_text, after=("dropout",)),
    Check("alone", "numbers", numbers.alone, _reads_text, after=("padding", "future")),
    Check("examples", "numbers", numbers.examples, _sees_or_hears, after=("finite",)),
    Check("packed", "numbers", numbers.packed, _reads_text, after=("documents",)),
    Check("cached", "numbers", numbers.cached, _writes, after=("future", "alone")),
    Check("moved", "updates", updates.moved, _has_task, after=("finite", "sight")),
    Check(
        "accumulated",
        "updates",
        updates.accumulated,
        _has_task,
        after=("packed", "examples", "shift", "place", "classes", "moved"),
    ),
    Check("tied", "files", files.tied),
    Check("saved", "files", files.saved, after=("tied", "finite", "classes")),
    Check("whole", "files", files.whole, _run),
    Check("data", "files", files.data, _run),
    Check("kernels", "machine", surroundings.kernels, after=("vocabulary",)),
    Check("packages", "machine", surroundings.packages),
    Check("threads", "machine", surroundings.threads),
    Check("room", "machine", surroundings.room),
)


def ask(subject: Subject) -> Iterator[Finding]:
    """The finding of every check that applies, in the order of the list."""
    red: dict[str, Finding] = {}
    for check in CHECKS:
        if not check.applies(subject):
            continue
        cause = next((red[name] for name in check.after if name in red), None)
        began = perf_counter()
        verdict = _asked(check, subject) if cause is None else _unasked(cause)
        found = Finding(check=check.name, group=check.group, verdict=verdict, seconds=perf_counter() - began)
        if found.status in ("red", "unasked"):
            red[check.name] = red[cause.check] if cause is not None else found
        yield found


def _asked(check: Check, subject: Subject) -> Verdict:
    try:
        return check.ask(subject)
    except RegardError as error:
        return bad("doctor.broken", subject.again, why=error)
    except Exception as error:  # of the model's own parts, whatever they are
        return bad("doctor.broken", masks.REINSTALL, why=f"{type(error).__name__}: {str(error)[:200]}")


def _unasked(cause: Finding) -> Verdict:
    return Verdict(status="unasked", key="doctor.unasked", values={"title": Said(f"doctor.{cause.check}.title")})
