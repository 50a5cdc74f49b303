"""What is saved is what is loaded; what is tied stays tied; what a run keeps is whole."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from typing import Any

import torch

from regard import bundle, models
from regard.doctor.finding import Verdict, bad, doubtful, good
from regard.doctor.masks import REINSTALL
from regard.doctor.subject import Subject
from regard.errors import RegardError
from regard.train import checkpoint


def tied(subject: Subject) -> Verdict:
    """The parameters that the family shares under several names are one tensor each."""
    expected, found = ties(models.empty(subject.model.config)), ties(subject.model)
    missing = sorted(expected - found, key=sorted)
    if missing:
        return bad("doctor.tied.bad", REINSTALL, names=" = ".join(sorted(missing[0])))
    return good("doctor.tied.ok" if found else "doctor.tied.none", count=len(found))


def saved(subject: Subject) -> Verdict:
    """Saved into a folder and loaded from it, every tensor is the same to the bit, and so is all else."""
    size = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < 2 * size:
            return doubtful("doctor.saved.space", "regard runs", need=2 * size >> 20, free=free >> 20)
        try:
            bundle.save(folder, subject.bundle)
            again = bundle.load(folder, str(subject.device), None)
        except RegardError as error:
            return bad("doctor.saved.refused", REINSTALL, why=error)
        return _compared(subject, again)


def whole(subject: Subject) -> Verdict:
    """The newest checkpoint of the run matches its manifest."""
    assert subject.run is not None
    damaged: list[RegardError] = []
    found = checkpoint.newest(subject.run.checkpoints, damaged.append)
    command = f"regard train --resume {subject.quoted}"
    if found is None and damaged:
        return bad("doctor.whole.none", subject.again, why=damaged[0])
    if damaged:
        return doubtful("doctor.whole.damaged", command, why=damaged[0], step=found.step if found else 0)
    if found is None:
        return doubtful("doctor.whole.missing", command)
    return good("doctor.whole.ok", step=found.step)


def data(subject: Subject) -> Verdict:
    """The run's data are there, and they are those that it began with."""
    assert subject.run is not None
    if subject.setup is None:
        return doubtful("doctor.data.lost", subject.again, why=subject.lost)
    kept = subject.run.data.get("fingerprints", {})
    held_out = subject.setup.held_out
    now = {"train": subject.setup.train.fingerprint, "held_out": held_out.fingerprint if held_out else None}
    changed = [side for side, value in kept.items() if side in now and value != now[side]]
    if changed:
        return bad("doctor.data.changed", subject.again, sides=", ".join(changed))
    return good("doctor.data.ok", rows=len(subject.setup.train))


def ties(model: Any) -> set[frozenset[str]]:
    """The names of each parameter that has several."""
    names: dict[int, set[str]] = defaultdict(set)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].add(name)
    return {frozenset(group) for group in names.values() if len(group) > 1}


def _compared(subject: Subject, again: bundle.Bundle) -> Verdict:
    theirs = dict(again.model.named_parameters())
    for name, parameter in subject.model.named_parameters():
        if name not in theirs:
            return bad("doctor.saved.lost", REINSTALL, name=name)
        if theirs[name].dtype != parameter.dtype or not torch.equal(theirs[name], parameter):
            return bad("doctor.saved.changed", REINSTALL, name=name)
    if ties(again.model) != ties(subject.model):
        return bad("doctor.saved.untied", REINSTALL)
    for what in ("labels", "task", "family"):
        if getattr(again, what) != getattr(subject.bundle, what):
            values = {"before": getattr(subject.bundle, what), "after": getattr(again, what)}
            return bad("doctor.saved.other", REINSTALL, what=what, **values)
    return good("doctor.saved.ok", count=len(theirs))
