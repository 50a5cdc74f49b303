"""Fetching a model whole: each file beside its place, taken up where it stopped, counted when its hash is right."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from regard import limits
from regard.errors import BadFileError, RegardError
from regard.hub import listing, mirrors, net
from regard.hub.listing import Entry, Listing
from regard.hub.names import ORIGIN, Reference, place
from regard.weights import header
from regard.weights.gguf.container import open_file

TRIES = 5  # in a row without a new byte
CHUNK = limits.MIB
ROOM = 64 * limits.MIB  # left free on the disk

Progress = Callable[[str, int, int], None]  # (file, bytes there, bytes in all)


@dataclass(frozen=True, kw_only=True)
class Request:
    """file: the one file that is wanted of several; pickles: weights in PyTorch's pickled form may be taken, and are
    turned into safetensors; mirrors: asked in this order, in the place of those that are configured."""

    file: str | None = None
    pickles: bool = False
    mirrors: Sequence[str] = ()


def fetch(ref: Reference, request: Request | None = None, progress: Progress | None = None) -> Path:
    """Where the model lies, fetched if it is not here yet. Raises a RegardError that says what each mirror answered.

    Interrupted, it leaves what it has beside the model's place, and goes on from there the next time.
    """
    there = place(ref)
    if there is not None:
        return there
    request = request or Request()
    ref.home.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{ref.home}.lock"):
        there = place(ref)  # another process may have fetched it meanwhile
        return there or _from_any(ref, request, progress or (lambda *_: None))


def adopt(source: Path, ref: Reference, *, pickles: bool = False) -> Path:
    """Copy a model of this machine, a folder or a GGUF file, to where models are kept; the same files as of a hub."""
    if place(ref) is not None:
        raise RegardError("hub.taken", name=ref, path=ref.home)
    names = (
        [source.name]
        if source.is_file()
        else [
            str(one.relative_to(source))
            for one in sorted(source.rglob("*"))
            if one.is_file() and len(one.relative_to(source).parts) <= 2
        ]
    )
    folder = source.parent if source.is_file() else source
    sizes = [Entry(name, (folder / name).stat().st_size) for name in names]
    wanted = listing.chosen(Listing("", tuple(sizes)), ref, file=None, pickles=pickles)
    made = _staging(ref)
    _room(made, wanted)
    for entry in wanted:
        target = made / entry.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(limits.member(folder, entry.name), "rb") as given, limits.replacing(target) as file:
            shutil.copyfileobj(given, file, CHUNK)
    return _finished(ref, made, wanted, {"source": str(source.resolve()), "commit": ""})


def _from_any(ref: Reference, request: Request, progress: Progress) -> Path:
    answers: list[tuple[str, net.Unanswered]] = []
    for endpoint in mirrors.endpoints(ref.kind, request.mirrors):
        try:
            found = listing.ask(ref, endpoint)
            wanted = listing.chosen(found, ref, file=request.file, pickles=request.pickles)
            return _all(ref, endpoint, found, wanted, progress)
        except net.Unanswered as error:
            answers.append((endpoint, error))
    told = "; ".join(f"{endpoint}: {error}" for endpoint, error in answers)
    offline = all(error.key in ("unknown_host", "no_connection", "slow") for _, error in answers)
    raise RegardError("hub.no_network" if offline else "hub.unanswered", name=ref, answers=told)


def _all(ref: Reference, endpoint: str, found: Listing, wanted: list[Entry], progress: Progress) -> Path:
    made = _staging(ref)
    _room(made, wanted)
    for entry in wanted:
        if not (entry.sha256 or entry.git):
            raise net.Unanswered("no_hash", file=entry.name)
        url = listing.url(ref, endpoint, found.commit, entry.name)
        file(url, made, entry, ref.kind, endpoint, progress)
    return _finished(ref, made, wanted, {"source": endpoint, "commit": found.commit})


def file(url: str, folder: Path, entry: Entry, kind: str, endpoint: str, progress: Progress) -> Path:
    """One file, in as many pieces as the line gives; what is there of it already is not asked for again."""
    target = limits.inside(folder, entry.name)
    if target.is_file() and target.stat().st_size == entry.size and _right(target, entry):
        return target
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    if part.stat().st_size > entry.size:
        part.write_bytes(b"")
    begun = part.stat().st_size
    tries = 0
    while (size := part.stat().st_size) < entry.size:
        try:
            _more(url, part, entry, kind, endpoint, progress)
        except net.Forbidden:
            raise
        except net.Unanswered as error:
            tries = 0 if part.stat().st_size > size else tries + 1
            if tries >= TRIES or error.key in ("absent", "locked"):
                raise
            time.sleep(min(0.25 * 2**tries, 8.0))
    if not _right(part, entry):
        part.unlink()
        if begun:  # what was left from before may have been of another time
            return file(url, folder, entry, kind, endpoint, progress)
        raise net.Unanswered("hash", file=entry.name)
    with open(part, "rb+") as written:
        os.fsync(written.fileno())
    os.replace(part, target)
    return target


def _more(url: str, part: Path, entry: Entry, kind: str, endpoint: str, progress: Progress) -> None:
    """As much more as one answer gives, and never more than there should be."""
    there = part.stat().st_size
    answer = net.ask(url, kind, endpoint, {"Range": f"bytes={there}-"} if there else None)
    with answer:
        if there and not _continues(answer, there, entry.size):
            there = 0
        length = answer.headers.get("Content-Length")
        if length is not None and length != str(entry.size - there):
            raise net.Forbidden("length", file=entry.name, told=length[:20], size=entry.size - there)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise net.Forbidden("encoding", file=entry.name)
        with open(part, "rb+") as written:
            written.truncate(there)
            written.seek(there)
            while there <= entry.size:
                try:
                    data = answer.read(min(CHUNK, entry.size - there + 1))
                except http.client.IncompleteRead as error:
                    written.write(error.partial[: entry.size - there])
                    raise net.Unanswered("cut") from error
                except OSError as error:
                    raise net.Unanswered("cut") from error
                if not data:
                    break
                if there + len(data) > entry.size:
                    raise net.Forbidden("longer", file=entry.name, size=entry.size)
                written.write(data)
                there += len(data)
                progress(entry.name, there, entry.size)
    if there < entry.size:
        raise net.Unanswered("cut")


def _continues(answer: http.client.HTTPResponse, there: int, size: int) -> bool:
    """Whether an answer goes on where the file stops; one that begins anew is as good."""
    if answer.status != 206:
        return False
    if answer.headers.get("Content-Range") != f"bytes {there}-{size - 1}/{size}":
        raise net.Forbidden("range_other", told=str(answer.headers.get("Content-Range"))[:60])
    return True


def _right(path: Path, entry: Entry) -> bool:
    """Whether the file is what the hub lists: by SHA-256, or as git names a blob."""
    digest = hashlib.sha256() if entry.sha256 else hashlib.sha1(b"blob %d\0" % entry.size, usedforsecurity=False)
    with open(path, "rb") as read:
        while data := read.read(CHUNK):
            digest.update(data)
    return digest.hexdigest() == (entry.sha256 or entry.git)


def _staging(ref: Reference) -> Path:
    made = ref.home.with_name(f".{ref.home.name}.partial")
    made.mkdir(parents=True, exist_ok=True)
    return made


def _room(folder: Path, wanted: list[Entry]) -> None:
    """Refuse before the first byte what the disk cannot hold."""
    need = sum(entry.size for entry in wanted) + ROOM
    there = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    free = shutil.disk_usage(folder).free + there
    if need > free:
        raise RegardError("hub.disk", need=f"{need / 1e9:,.2f} GB", free=f"{free / 1e9:,.2f} GB", folder=folder)


def _finished(ref: Reference, made: Path, wanted: list[Entry], told: dict[str, str]) -> Path:
    """What was fetched must be what it is called; then it takes its place, all of it at once."""
    names = {entry.name for entry in wanted}
    for left in [one for one in made.rglob("*") if one.is_file() and one.relative_to(made).as_posix() not in names]:
        left.unlink()
    try:
        for name in sorted(names):
            if name.endswith(".safetensors"):
                header.check(made / name)
            elif name.endswith(".gguf"):
                open_file(made / name)
        if any(name.endswith(".bin") for name in names):
            from regard.weights import pickled

            pickled.convert(made)
    except BadFileError:
        shutil.rmtree(made)
        raise
    limits.write(made / ORIGIN, json.dumps({**told, "name": str(ref), "files": sorted(names)}, indent=2) + "\n")
    os.replace(made, ref.home)
    limits.sync_folder(ref.home.parent)
    return place(ref) or ref.home
