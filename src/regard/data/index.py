"""Random access to the records of a file larger than memory: where each begins, found once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from regard.data import cache
from regard.data.forms import Form, Tally
from regard.data.pages import SPAN, open_file, pages, unreadable
from regard.errors import BadFileError

VERSION = 1
_TAIL = struct.Struct("<8sQ")  # magic, length of the JSON before it
_MAGIC = b"REGARDIX"
_SPAN = struct.Struct("<QII")
_RUN = 4096  # spans that are read at once when going through all


class Reader:
    """Reads pieces of a file that must not change. Safe to share between threads, to fork and to send to a process.

    It seeks and reads and does not map: a mapped file that somebody shortens kills the process, and the pages that
    were touched count as its memory.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._process = 0
        with open_file(path, name) as file:
            self._state = _state(file)

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start`; a BadFileError if the file is no longer the one that was opened."""
        try:
            with self._lock:
                file = self._handle()
                file.seek(start)
                data = file.read(size)
                same = _state(file) == self._state
        except OSError as error:
            raise unreadable(self.name, error) from error
        if len(data) != size or not same:
            raise BadFileError("data.changed", where=self.name)
        return data

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _handle(self) -> BinaryIO:
        # A forked child must not share its parent's position in the file.
        if self._file is None or self._process != os.getpid():
            self.close()
            self._file, self._process = open_file(self.path, self.name), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_file")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._lock, self._file = threading.Lock(), None

    def __del__(self) -> None:
        if vars(self).get("_file") is not None:
            self.close()


class Index:
    """Where the records of one file stand, with what the pass that found them saw."""

    def __init__(self, path: Path, count: int, tally: Tally) -> None:
        self.count, self.tally = count, tally
        self._reader = Reader(path, str(path))

    def __getitem__(self, number: int) -> tuple[int, int, int]:
        """(start, size, line) of one record."""
        return _SPAN.unpack(self._reader.read(number * _SPAN.size, _SPAN.size))

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for first in range(0, self.count, _RUN):
            size = min(_RUN, self.count - first) * _SPAN.size
            yield from _SPAN.iter_unpack(self._reader.read(first * _SPAN.size, size))


def index(path: Path, name: str, form: Form, digest: str) -> Index:
    """The index of the records that `form` finds in the file whose SHA-256 is `digest`: from the cache, or made now."""
    key = f"{digest}-{form.name}-{VERSION}.index"
    kept = cache.keep(key, lambda file: _build(file, path, name, form, digest))
    found = _load(kept)
    if found is None:
        cache.forget(key)
        found = _load(cache.keep(key, lambda file: _build(file, path, name, form, digest)))
    if found is None:
        raise BadFileError("data.cache", folder=cache.folder(), why=str(kept))
    return found


def _build(out: BinaryIO, path: Path, name: str, form: Form, digest: str) -> None:
    tally, seen, written = Tally(), hashlib.sha256(), hashlib.sha256()
    count = 0
    for spans in form.scan(pages(path, name, seen), name, tally):
        assert spans.dtype == SPAN
        data = spans.tobytes()
        written.update(data)
        out.write(data)
        count += len(spans)
    if seen.hexdigest() != digest:
        raise BadFileError("data.changed", where=name)
    facts = {
        "count": count,
        "sha256": written.hexdigest(),
        "quoted": tally.quoted,
        "columns": {column: dict(kinds) for column, kinds in tally.columns.items()},
    }
    tail = json.dumps(facts).encode()
    out.write(tail + _TAIL.pack(_MAGIC, len(tail)))


def _load(path: Path) -> Index | None:
    """None where the file is damaged."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _TAIL.size:
            return None
        file.seek(size - _TAIL.size)
        magic, length = _TAIL.unpack(file.read(_TAIL.size))
        if magic != _MAGIC or length > size - _TAIL.size:
            return None
        file.seek(size - _TAIL.size - length)
        try:
            facts = json.loads(file.read(length))
            spans, count, wanted = size - _TAIL.size - length, facts["count"], facts["sha256"]
            tally = Tally({name: Counter(kinds) for name, kinds in facts["columns"].items()}, facts["quoted"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        if spans != count * _SPAN.size:
            return None
        file.seek(0)
        digest = hashlib.sha256()
        while spans:
            piece = file.read(min(spans, 1 << 20))
            digest.update(piece)
            spans -= len(piece)
    return Index(path, count, tally) if digest.hexdigest() == wanted else None


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
