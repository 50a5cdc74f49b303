"""Checkpoints: a folder each, complete or not there.

    checkpoints/step-00000123/model.safetensors, optimizer.safetensors, …, manifest.json

Where the ranks of a training hold rows of each tensor (train/engine.py), each writes its own: model-00001-of-00002,
model-00002-of-00002, which any number of ranks can read.

The manifest holds the SHA-256 and size of each file and of itself, the step, the place in the data, and what made it.
A checkpoint is written beside as tmp-…, every file and the folder are flushed to the disk, and only then is it renamed;
so whatever stands under its name is whole unless the disk damaged it, and then the manifest no longer matches and
the one before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from regard.errors import BadFileError, RegardError
from regard.limits import check_format, file_size, inside, read_json, sync_folder
from regard.train.pieces import divided, mine
from regard.train.ranks import ALONE, Ranks
from regard.weights import header

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were found to match its manifest."""

    folder: Path
    step: int
    state: dict[str, Any]  # integers and floats of the run: place in the data, best score, …
    files: tuple[str, ...] = ()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors of "model", "optimizer" or "average", put together where they are in many files; or none."""
        found: dict[str, list[Tensor]] = {}
        for file in sorted(self.files):
            if file == f"{name}.safetensors" or file.startswith(f"{name}-"):
                header.check(self.folder / file)
                for key, tensor in load_file(self.folder / file).items():
                    found.setdefault(key, []).append(tensor)
        return {key: pieces[0] if len(pieces) == 1 else torch.cat(pieces) for key, pieces in found.items()}


def newest(checkpoints: Path, damaged: Callable[[BadFileError], None]) -> Checkpoint | None:
    """The newest whole checkpoint of a folder; `damaged` is told of each newer one that was passed over."""
    return next(_whole(checkpoints, damaged), None)


def write(
    checkpoints: Path,
    step: int,
    files: Mapping[str, Mapping[str, Tensor]],
    state: dict[str, Any],
    writers: Ranks = ALONE,
) -> Path:
    """Write the tensors of `files` as the checkpoint of `step`; all of it, or (full disk, RegardError) nothing.

    Each of the `writers` comes here with its rows, into the same folder; the first makes it a checkpoint.
    """
    final = checkpoints / name(step)
    beside = checkpoints / f"tmp-{name(step)}-{writers.told(os.getpid()):.0f}"
    try:
        if not writers.led(lambda: _room(final, beside)):
            return final
        parts = writers.gathered(lambda: json.dumps(_files(beside, files, writers)).encode())
        listed = {file: entry for part in parts for file, entry in json.loads(part).items()}
        writers.led(lambda: _finish(beside, final, {"format": FORMAT, "step": step, "state": state, "files": listed}))
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise RegardError("train.not_saved", step=step, folder=checkpoints, why=error) from error
    return final


def retain(checkpoints: Path, keep: int, also: Iterable[int], damaged: Callable[[BadFileError], None]) -> None:
    """Delete all but the newest `keep` whole checkpoints and those of the steps `also`.

    Every one that counts is checked first: were a damaged one counted, the last good one could be deleted for it.
    """
    kept = [checkpoint.step for checkpoint in islice(_whole(checkpoints, damaged), keep)]
    if len(kept) < keep:
        return
    for step, folder in _folders(checkpoints):
        if step < kept[-1] and step not in also:
            _remove(folder)


def sweep(checkpoints: Path) -> None:
    """Remove what an interrupted save or deletion left. Only for the one who holds the run's lock."""
    for left in checkpoints.glob("tmp-*"):
        shutil.rmtree(left, ignore_errors=True)


def verify(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, every file compared with the manifest; BadFileError names the first that differs."""
    manifest = read_json(folder / "manifest.json")
    try:
        body = {key: value for key, value in manifest.items() if key != "sha256"}
        sealed, step, state, files = manifest["sha256"], body["step"], body["state"], dict(body["files"])
        sizes = {file: (entry["size"], entry["sha256"]) for file, entry in files.items()}
        good = sealed == _seal(body) and type(step) is int and folder.name == name(step) and isinstance(state, dict)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadFileError("train.damaged", file=folder / "manifest.json") from error
    if not good:
        raise BadFileError("train.damaged", file=folder / "manifest.json")
    check_format(body.get("format"), FORMAT, str(folder / "manifest.json"))
    for file, (size, sha256) in sizes.items():
        path = inside(folder, file)
        try:
            whole = file_size(path) == size and digest(path) == sha256
        except (OSError, BadFileError):
            whole = False
        if not whole:
            raise BadFileError("train.damaged", file=path)
    return Checkpoint(folder, step, state, tuple(sizes))


def name(step: int) -> str:
    return f"step-{step:08d}"


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """See to it that the file's bytes are on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _room(final: Path, beside: Path) -> bool:
    """Make the folder that is written to; False if there is a whole checkpoint already."""
    if final.exists() and not _clear(final):
        return False
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    return True


def _files(beside: Path, files: Mapping[str, Mapping[str, Tensor]], writers: Ranks) -> dict[str, Any]:
    """Write this rank's files; what the manifest has to say about each. The first rank writes what all hold whole."""
    listed = {}
    for stem, tensors in files.items():
        kept = {key: mine(value.detach()) for key, value in tensors.items() if writers.leads or divided(value)}
        part = f"-{writers.number + 1:05d}-of-{writers.count:05d}" if writers.count > 1 else ""
        path = beside / f"{stem}{part}.safetensors"
        save_file({key: value.contiguous() for key, value in kept.items()}, path)
        flush(path)
        listed[path.name] = {"size": path.stat().st_size, "sha256": digest(path)}
    return listed


def _finish(beside: Path, final: Path, body: dict[str, Any]) -> bool:
    """The manifest, and then the name by which it is a checkpoint."""
    manifest = beside / "manifest.json"
    manifest.write_text(json.dumps({**body, "sha256": _seal(body)}, indent=1), encoding="utf-8")
    flush(manifest)
    sync_folder(beside)
    os.replace(beside, final)
    sync_folder(final.parent)
    return True


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _folders(checkpoints: Path) -> list[tuple[int, Path]]:
    """Newest first, whole or not."""
    found = [(int(folder.name[5:]), folder) for folder in checkpoints.glob("step-*") if folder.name[5:].isdecimal()]
    return sorted(found, reverse=True)


def _whole(checkpoints: Path, damaged: Callable[[BadFileError], None]) -> Iterator[Checkpoint]:
    """Newest first."""
    for _, folder in _folders(checkpoints):
        try:
            yield verify(folder)
        except BadFileError as error:
            damaged(error)


def _clear(final: Path) -> bool:
    """Make room for a checkpoint where a damaged one stands; False if the one that stands there is whole."""
    with contextlib.suppress(BadFileError):
        verify(final)
        return False
    _remove(final)
    return True


def _remove(folder: Path) -> None:
    """Renamed before it is deleted: half a checkpoint never stands under a checkpoint's name."""
    doomed = folder.with_name(f"tmp-old-{folder.name}-{os.getpid()}")
    os.replace(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)
