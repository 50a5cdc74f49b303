"""One pass over a text file of any size: its lines, checked, a page at a time, in constant memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from regard import limits
from regard.errors import BadFileError
from regard.limits import LONGEST_LINE, MIB

PAGE = MIB
MOST_LINES = 2**32 - 1  # what the line number in an index can hold

# Where a record stands in its file: bytes from `start`, and the number of its first line, from 1.
SPAN = np.dtype([("start", "<u8"), ("size", "<u4"), ("line", "<u4")])

_BLANK = np.zeros(256, dtype=bool)
_BLANK[list(b" \t\r\n\v\f")] = True
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, eq=False)
class Page:
    """Whole lines: `data` begins at `offset` in the file; `spans` leave out line ends; `blank` lines hold no text."""

    data: bytes
    offset: int
    spans: np.ndarray
    blank: np.ndarray

    def lines(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(start, size, line number, bytes) of each line that is not blank."""
        for start, size, line in self.spans[~self.blank].tolist():
            at = start - self.offset
            yield start, size, line, self.data[at : at + size]


def pages(path: Path, name: str, digest: hashlib._Hash) -> Iterator[Page]:
    """The pages of a file; `digest` is fed every byte, `name` is what errors call the file.

    Refuses, by file:line, what is not UTF-8, a NUL byte, and a line longer than LONGEST_LINE. A leading byte-order mark
    belongs to no line.
    """
    rest, offset, line = b"", 0, 1
    with open_file(path, name) as file:
        while True:
            try:
                chunk = file.read(PAGE)
            except OSError as error:
                raise unreadable(name, error) from error
            digest.update(chunk)
            data = rest + chunk
            cut = data.rfind(b"\n") + 1 if chunk else len(data)
            if cut:
                page = _page(data[:cut], offset, line, name)
                yield page
                line += len(page.spans)
            elif len(data) > LONGEST_LINE:
                raise too_long(name, line)
            if not chunk:
                return
            rest, offset = data[cut:], offset + cut


def digest_of(path: Path, name: str) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open_file(path, name) as file:
        try:
            while piece := file.read(PAGE):
                digest.update(piece)
        except OSError as error:
            raise unreadable(name, error) from error
    return digest.hexdigest()


def open_file(path: Path, name: str) -> BinaryIO:
    """The file for reading bytes, or one sentence why not."""
    try:
        if path.is_dir():
            raise BadFileError("limits.is_folder", where=name)
        if not path.exists():
            raise BadFileError("limits.missing", where=name)
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def unreadable(name: str | os.PathLike[str], error: OSError | ValueError) -> BadFileError:
    return BadFileError("limits.unreadable", where=str(name), why=getattr(error, "strerror", None) or str(error))


def too_long(name: str, line: int) -> BadFileError:
    return BadFileError("limits.line_too_long", where=f"{name}:{line}", most=f"{LONGEST_LINE // MIB} MiB")


def _page(data: bytes, offset: int, line: int, name: str) -> Page:
    values = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(values == ord("\n")) + 1
    if len(ends) == 0 or ends[-1] != len(data):  # the last line of a file may lack its end
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1]])
    if line + len(starts) > MOST_LINES:
        raise BadFileError("data.too_many_lines", where=name, most=MOST_LINES)
    _check(data, offset, starts, line, name)
    bare = ends - (values[ends - 1] == ord("\n"))
    bare = bare - ((bare > starts) & (values[np.maximum(bare - 1, 0)] == ord("\r")))
    blank = ~np.logical_or.reduceat(~_BLANK[values], starts)
    if offset == 0 and data.startswith(_BOM):
        starts[0] = len(_BOM)
        blank[0] = not data[len(_BOM) : ends[0]].strip()
    sizes = bare - starts
    if sizes.max() > LONGEST_LINE:
        raise too_long(name, line + int(np.argmax(sizes > LONGEST_LINE)))
    spans = np.empty(len(starts), dtype=SPAN)
    spans["start"], spans["size"], spans["line"] = starts + offset, sizes, np.arange(line, line + len(starts))
    return Page(data, offset, spans, blank)


def _check(data: bytes, offset: int, starts: np.ndarray, line: int, name: str) -> None:
    """UTF-8 and no NUL, or an error that names line and byte."""
    nul, bad = data.find(b"\0"), -1
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = error.start
    if nul < 0 and bad < 0:
        return
    first = nul if bad < 0 or 0 <= nul < bad else bad
    number = int(np.searchsorted(starts, first, side="right")) - 1
    where = f"{name}:{line + number} (byte {offset + first}: 0x{data[first]:02X})"
    if first == nul:
        raise BadFileError("limits.nul", where=where)
    start = int(starts[number])
    limits.decode(data[start : data.find(b"\n", first) + 1 or len(data)], where, first=offset + start == 0)
    raise AssertionError("these bytes were not UTF-8 a moment ago")
