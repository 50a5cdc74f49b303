"""Lines that cannot be read, all of them, and a copy of the file in which they are blank: the other rows keep their
places, file:line, and can still be looked at.

    passed = Faults()
    rows = sources.open("reviews.csv", passed=passed)      # would have been refused at its first bad line
    passed.count, passed.examples[0]                       # 3, ("reviews.csv:17: this is not UTF-8 …", "snippet")
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from regard import limits
from regard.data import plain
from regard.data.columns import Choice
from regard.data.content import visible
from regard.data.fields import Fields, Misquoted
from regard.data.forms import Form, JsonLines, Paragraphs, Table, Tally, Whole
from regard.data.pages import digest_of, open_file, too_long
from regard.data.personal import mask
from regard.errors import BadFileError
from regard.limits import LONGEST_LINE

EXAMPLES = 1000  # that are kept
SNIPPET = 40

Line = tuple[int, bytes]  # number from 1, bytes with the line end


@dataclass
class Faults:
    """How many lines were passed over, by file:line why and what they hold, and what encodings those that are not UTF-8
    seem to have. A record of several lines is one example and counts all of them.
    """

    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)
    encodings: Counter[str] = field(default_factory=Counter)
    more: int = 0  # faults beyond the examples
    nothing_left: bool = False  # of the file looked at last

    def add(self, error: BadFileError, raw: bytes, lines: int = 1) -> None:
        self.count += lines
        if error.key == "limits.not_utf8":
            self.encodings[error.values["guess"]] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append((str(error), _glimpse(raw, error.values.get("guess"))))
        else:
            self.more += 1

    def sound(self, path: Path, name: str, form: Form, choice: Choice) -> tuple[Path, str]:
        """The file with its bad lines blank, in the cache, and the SHA-256 of that; the bad lines are added here."""
        roles = self._roles(path, name, form, choice)
        solid = sum(bool(raw.strip()) for raw in _mended(path, name, form, roles, self))
        self.nothing_left = solid <= int(isinstance(form, Table) and form.header)
        key = hashlib.sha256(f"{digest_of(path, name)}-{form.name}-{sorted(roles.items())}".encode()).hexdigest()
        return plain.kept(f"{key}-sound", lambda: _mended(path, name, form, roles, Faults()))

    @staticmethod
    def _roles(path: Path, name: str, form: Form, choice: Choice) -> dict[str, str]:
        """Which columns the rows of a JSONL file are held to have: those that most of its rows do have."""
        if not isinstance(form, JsonLines):
            return {}
        seen, rows = Counter[str](), 0
        for number, raw in _lines(path, name):
            try:
                seen.update(list(form.parse(raw.strip(), f"{name}:{number}", Tally())))
                rows += 1
            except BadFileError:
                continue
        return choice.roles({column: count for column, count in seen.items() if 2 * count > rows}, rows, name)


def can_pass(form: Form) -> bool:
    """Whether single lines of such a file can be passed over: a paragraph or file with a hole would be another text."""
    return not isinstance(form, Paragraphs | Whole)


def _mended(path: Path, name: str, form: Form, roles: dict[str, str], faults: Faults) -> Iterator[bytes]:
    """The lines of the file, bad ones as line ends alone."""
    lines = _sound_bytes(path, name, faults)
    if isinstance(form, Table):
        return _records(lines, name, form, faults)
    return _objects(lines, name, form, roles, faults) if isinstance(form, JsonLines) else (raw for _, raw in lines)


def _lines(path: Path, name: str) -> Iterator[Line]:
    """All lines; of one that is too long the beginning, one byte longer than is allowed."""
    with open_file(path, name) as file:
        number = 0
        while raw := file.readline(LONGEST_LINE + 1):
            number += 1
            yield number, raw
            if len(raw) > LONGEST_LINE:
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(1 << 16)


def _sound_bytes(path: Path, name: str, faults: Faults) -> Iterator[Line]:
    for number, raw in _lines(path, name):
        where = f"{name}:{number}"
        try:
            if len(raw) > LONGEST_LINE:
                raise too_long(name, number)
            limits.decode(raw, where, first=number == 1)
            yield number, raw
        except BadFileError as error:
            faults.add(error, raw)
            yield number, b"\n"


def _objects(lines: Iterator[Line], name: str, form: Form, roles: dict[str, str], faults: Faults) -> Iterator[bytes]:
    for number, raw in lines:
        where = f"{name}:{number}"
        try:
            if raw.strip():
                record = form.parse(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, where, Tally())
                for role, column in roles.items():
                    Choice.value(record, column, role, where)
            yield raw
        except BadFileError as error:
            faults.add(error, raw)
            yield b"\n"


def _records(lines: Iterator[Line], name: str, form: Table, faults: Faults) -> Iterator[bytes]:
    """The lines of a table; a record that is misquoted or has too many or too few fields is blank in all its lines."""
    again: deque[Line] = deque()  # lines of a record whose quote never closed: all but its first are read once more
    fields, record, size, wanted = Fields(form.delimiter, quoted=form.quoted), [], 0, 0

    def drop(error: BadFileError, count: int) -> Iterator[bytes]:
        nonlocal fields, record, size
        faults.add(error, record[0][1], count)
        again.extendleft(reversed(record[count:]))
        yield from (b"\n" for _ in record[:count])
        fields, record, size = Fields(form.delimiter, quoted=form.quoted), [], 0

    while True:
        line = again.popleft() if again else next(lines, None)
        if line is None:
            if not record:
                return
            yield from drop(BadFileError("data.open_quote", where=f"{name}:{record[0][0]}"), 1)
            continue
        if not record and not line[1].strip(b"\r\n" if form.delimiter == "\t" else None):
            yield line[1]
            continue
        record.append(line)
        size += len(line[1])
        where = f"{name}:{record[0][0]}"
        try:
            values = fields.feed(line[1].decode("utf-8-sig" if line[0] == 1 else "utf-8").rstrip("\r\n"))
        except Misquoted as error:
            yield from drop(BadFileError("data.misquoted", where=f"{name}:{line[0]}", near=str(error)), len(record))
            continue
        if values is None:
            if size > LONGEST_LINE:
                yield from drop(BadFileError("data.open_quote", where=where), 1)
            continue
        wanted = wanted or len(values)
        if len(values) != wanted:
            yield from drop(BadFileError("data.ragged", where=where, found=len(values), wanted=wanted), len(record))
            continue
        yield from (raw for _, raw in record)
        record, size = [], 0


def _glimpse(raw: bytes, guess: str | None) -> str:
    """The beginning of a bad line, as well as it can be read."""
    encoding = {"UTF-16": "utf-16", "GB18030": "gb18030", "Windows-1252": "cp1252"}.get(guess or "", "utf-8")
    text = raw[: 16 * SNIPPET].decode(encoding, "replace").strip()
    masked = mask(text)
    return visible(masked[:SNIPPET]) + ("…" if len(masked) > SNIPPET else "")
