"""Proofs on a user's own run: what the commonest complaints are about, asked of the model, the data and the machine.

    found = doctor.examine("runs/poems-1")
    found.status                        # "green", "amber" or "red"
    found["future"].sentence            # "In training and in padded rows no output feels a later token …"
    for each in found.of("red"): print(each.title, each.sentence, each.command)

Each check is one function of a `Subject` in the file of its matter (tokens, labels, masks, numbers, updates, files,
surroundings); `checks.CHECKS` says which apply to what.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter

from regard.bundle import Bundle
from regard.doctor import subject as subjects
from regard.doctor.checks import CHECKS, ask
from regard.doctor.finding import Examination, Finding
from regard.doctor.subject import Subject

__all__ = ["CHECKS", "Examination", "Finding", "Subject", "examine"]


def examine(
    what: str | os.PathLike[str] | Bundle | Subject,
    *,
    device: str = "cpu",
    heard: Callable[[Finding], None] = lambda finding: None,
) -> Examination:
    """Every check that applies to a run's folder, a recipe, a model folder, or a loaded bundle.

    `heard` is told of each finding as it is made. Raises RegardError where there is nothing to examine.
    """
    began = perf_counter()
    if isinstance(what, Subject):
        subject = what
    elif isinstance(what, Bundle):
        subject = subjects.of_bundle(what)
    else:
        subject = subjects.find(what, device)
    findings = []
    for finding in ask(subject):
        findings.append(finding)
        heard(finding)
    return Examination(
        what=subject.what,
        kind=subject.kind,
        task=subject.bundle.task,
        family=subject.bundle.family,
        findings=tuple(findings),
        rows=len(subject.rows),
        tokens=sum(sample.size for sample in subject.samples),
        seconds=perf_counter() - began,
    )
