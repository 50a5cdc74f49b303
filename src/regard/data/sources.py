"""Texts, pairs and labelled rows from whatever they come in, one row at a time, however large it is.

    rows = sources.open("reviews.csv", text="review", label="stars")
    len(rows), rows[3]      # {"text": "…", "label": "4", "where": "reviews.csv:5"}

What can be opened: a text file (.txt and anything unknown: a text is a line, a paragraph, or the whole file), JSONL,
CSV, TSV, Parquet; these packed as .gz, .xz or .bz2; a folder of them, or of one folder of texts per label; the same
packed as .zip or .tar (also .tar.gz, .tar.xz, .tar.bz2), or one file of it (`data.zip#train.csv`); a folder that
`datasets` saved, `datasets:NAME#SPLIT`; `sample:NAME`, a built-in sample, or several (`sample:NAME+NAME`).

A file is read whole whenever it is opened, for its SHA-256, and once more the first time, when all of it is checked;
where its records begin is then kept in the cache. Memory stays the same however large the file is.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from regard import limits
from regard.data import archive, catalog, plain
from regard.data.columns import Choice
from regard.data.content import visible
from regard.data.faults import Faults, can_pass
from regard.data.forms import Form, JsonLines, Lines, Paragraphs, Table, Whole
from regard.data.index import Index, Reader, index
from regard.data.pages import digest_of, unreadable
from regard.errors import BadFileError

Row = dict[str, str]
Unit = Literal["line", "paragraph", "file"]

TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
# What can be wrong with a line, and is no fault of the file or of the question.
PASSED = frozenset(
    [f"limits.{fault}" for fault in ("not_utf8", "nul", "line_too_long", "not_json", "key_twice", "not_finite")]
    + [f"limits.{fault}" for fault in ("too_many_digits", "too_deep", "half_character")]
    + [f"data.{fault}" for fault in ("not_object", "not_text", "ragged", "misquoted", "open_quote")]
)
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_UNITS: dict[Unit, Callable[[], Form]] = {"line": Lines, "paragraph": Paragraphs, "file": Whole}


class Source(Sequence[Row]):
    """Rows that can be asked for by number; a slice is a Source too.

    A row has the keys among text, label, source and target that the source provides, as text, and `where`, the place it
    comes from. `columns` are all that a `record` has.
    """

    name: str
    fingerprint: str  # SHA-256 over the content and over how it is read
    columns: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def row(self, number: int) -> Row:
        """The row of this number, from 0."""

    @abstractmethod
    def record(self, number: int) -> dict[str, Any]:
        """All columns of a row under their own names."""

    @overload
    def __getitem__(self, number: int) -> Row: ...

    @overload
    def __getitem__(self, number: slice) -> Source: ...

    def __getitem__(self, number: int | slice) -> Row | Source:
        if isinstance(number, slice):
            return Subset(self, np.arange(len(self))[number])
        position = number + len(self) if number < 0 else number
        if not 0 <= position < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        return self.row(position)


def open(
    spec: str | os.PathLike[str],
    *,
    text: str | None = None,
    label: str | None = None,
    source: str | None = None,
    target: str | None = None,
    unit: Unit | None = None,
    passed: Faults | None = None,
) -> Source:
    """The rows of `spec` (see above). A column that is not named is taken if it has its usual name.

    Columns are named as the file names them; by numbers from 1 if it has no line of names. `unit` is what one text is
    in a text file: a line, a paragraph, or the file; unless said, a line, and in a folder of texts the file. Everything
    that can be wrong with the content is refused here, by file:line; given `passed`, lines that cannot be read are
    listed there instead, and passed over.
    """
    choice = Choice(text=text, label=label, source=source, target=target)
    name = os.fspath(spec)
    if name.startswith(catalog.PREFIX):
        parts = [_sample(catalog.find(part), choice) for part in name.removeprefix(catalog.PREFIX).split("+")]
        return parts[0] if len(parts) == 1 else Joined(name, parts)
    if name.startswith(plain.DATASETS):
        return _table(*plain.dataset(name), name, JsonLines(), choice)
    path = Path(name)
    try:
        if path.is_dir():
            return _folder(path, choice, unit, passed)
        if not path.exists():
            outer, _, inner = name.rpartition("#")
            if inner and archive.is_archive(Path(outer)) and Path(outer).is_file():
                return _archive(Path(outer), choice, unit, passed, inner)
            raise BadFileError("data.missing", where=visible(name))
    except (OSError, ValueError) as error:
        raise unreadable(ascii(name)[:200], error) from error
    if archive.is_archive(path):
        return _archive(path, choice, unit, passed)
    return _file(path, choice, unit or "line", passed)


class FileSource(Source):
    """The records of one plain text file."""

    def __init__(self, path: Path, name: str, form: Form, choice: Choice, index: Index, digest: str) -> None:
        self.name, self._form, self._index = name, form, index
        self.columns = tuple(index.tally.columns)
        self._reader = Reader(path, name)
        self._roles = choice.roles(index.tally.columns, index.count, name)
        self.fingerprint = _hash(digest, form.name, self._roles)
        choice.check(self._roles, index.tally.columns, self)

    def __len__(self) -> int:
        return self._index.count

    def row(self, number: int) -> Row:
        record, where = self._read(number)
        row = {role: Choice.value(record, column, role, where) for role, column in self._roles.items()}
        return {**row, "where": where}

    def record(self, number: int) -> dict[str, Any]:
        return self._read(number)[0]

    def where(self, number: int) -> str:
        """file:line of a record."""
        return f"{self.name}:{self._index[number][2]}"

    def _read(self, number: int) -> tuple[dict[str, Any], str]:
        start, size, line = self._index[number]
        where = f"{self.name}:{line}"
        return self._form.parse(self._reader.read(start, size), where, self._index.tally), where


class FolderSource(Source):
    """Text files, each of them one text, by what they are called; `labels` names the class of each, or is None."""

    columns = ("text",)

    def __init__(self, name: str, files: Mapping[str, Path], labels: Sequence[str] | None) -> None:
        self.name, self._places, self._files, self._labels = name, list(files), list(files.values()), labels
        if labels is not None:
            self.columns = ("text", "label")
        self._states = [_state(file) for file in self._files]
        content = []
        for number, (place, file) in enumerate(files.items()):
            if not self._text(number).strip():
                raise BadFileError("data.empty", where=place)
            content.append((place.removeprefix(name)[1:].replace(os.sep, "/"), digest_of(file, place)))
        self.fingerprint = _hash(content)

    def __len__(self) -> int:
        return len(self._files)

    def row(self, number: int) -> Row:
        return {**self.record(number), "where": self._places[number]}

    def record(self, number: int) -> dict[str, Any]:
        record = {"text": self._text(number)}
        return record if self._labels is None else {**record, "label": self._labels[number]}

    def _text(self, number: int) -> str:
        file = self._files[number]
        if _state(file) != self._states[number]:
            raise BadFileError("data.changed", where=self._places[number])
        return limits.read_text(file, most=limits.LONGEST_LINE)


class Joined(Source):
    """Several sources one after another."""

    def __init__(self, name: str, parts: Sequence[Source]) -> None:
        self.name, self.parts = name, parts
        self.columns = tuple(column for column in parts[0].columns if all(column in part.columns for part in parts))
        self.fingerprint = _hash([part.fingerprint for part in parts])
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def row(self, number: int) -> Row:
        part, inside = self._part(number)
        return part.row(inside)

    def record(self, number: int) -> dict[str, Any]:
        part, inside = self._part(number)
        return part.record(inside)

    def _part(self, number: int) -> tuple[Source, int]:
        at = int(np.searchsorted(self._ends, number, side="right"))
        return self.parts[at], number - (int(self._ends[at - 1]) if at else 0)


class Subset(Source):
    """Some rows of a source, in the order of `numbers`."""

    def __init__(self, whole: Source, numbers: Sequence[int] | np.ndarray) -> None:
        self.whole, self.numbers = whole, np.asarray(numbers, dtype=np.int64)
        self.name, self.columns = whole.name, whole.columns
        self.fingerprint = _hash(whole.fingerprint, hashlib.sha256(self.numbers.astype("<i8").tobytes()).hexdigest())

    def __len__(self) -> int:
        return len(self.numbers)

    def row(self, number: int) -> Row:
        return self.whole.row(int(self.numbers[number]))

    def record(self, number: int) -> dict[str, Any]:
        return self.whole.record(int(self.numbers[number]))


def _sample(sample: catalog.Sample, choice: Choice) -> Source:
    name = catalog.PREFIX + sample.name
    path, digest = plain.unpacked(sample.path, name, sample.path.suffix)
    if digest != sample.sha256:
        raise BadFileError("data.damaged_sample", name=sample.name)
    return _table(path, digest, name, JsonLines(), choice)


def _file(path: Path, choice: Choice, unit: Unit, passed: Faults | None) -> Source:
    return _content(path, str(path), path.name, choice, unit, passed)


def _content(path: Path, name: str, called: str, choice: Choice, unit: Unit, passed: Faults | None) -> Source:
    """The rows of the file at `path`, whose form the name it is `called` by tells."""
    inner, suffix = os.path.splitext(called.lower())
    digest = ""
    if suffix in plain.OPENERS:
        path, digest = plain.unpacked(path, name, suffix)
        suffix = os.path.splitext(inner)[1]
        if suffix == ".parquet":
            raise BadFileError("data.packed_parquet", where=name)
    if suffix == ".parquet":
        return _table(*plain.parquet(path, name), name, JsonLines(), choice)
    digest = digest or digest_of(path, name)
    forms = _forms(suffix, choice, unit)
    for number, form in enumerate(forms):
        try:
            return _table(path, digest, name, form, choice)
        except BadFileError as error:
            if number + 1 < len(forms) and error.key in ("data.misquoted", "data.open_quote"):
                continue
            if passed is None or not can_pass(form) or error.key not in PASSED:
                raise
            sound, digest = passed.sound(path, name, form, choice)
            if passed.nothing_left:
                raise
            return _table(sound, digest, name, form, choice)
    raise AssertionError("every file has a form")


def _forms(suffix: str, choice: Choice, unit: Unit) -> list[Form]:
    """The forms that a file with this suffix may have, the likelier first."""
    if suffix in (".jsonl", ".ndjson"):
        return [JsonLines()]
    if suffix not in _DELIMITERS:
        return [_UNITS[unit]()]
    delimiter, header = _DELIMITERS[suffix], not choice.numbered
    quoted = Table(delimiter, header=header, quoted=True)
    # Quotes mean nothing in plain TSV; a file in which they would have to is such a one.
    return [quoted, Table(delimiter, header=header, quoted=False)] if suffix == ".tsv" else [quoted]


def _table(path: Path, digest: str, name: str, form: Form, choice: Choice) -> Source:
    found = index(path, name, form, digest)
    if found.count == 0:
        raise BadFileError("data.empty", where=name)
    return FileSource(path, name, form, choice, found, digest)


def _archive(path: Path, choice: Choice, unit: Unit | None, passed: Faults | None, inner: str | None = None) -> Source:
    """One file of an archive, or all of them read as the files of a folder are."""
    members = archive.members(path, str(path), inner)
    places = {f"{path}#{member.name}": member for member in members}
    tables = [member.name for member in members if _inner_suffix(Path(member.name)) in TABLES]
    if tables and len(tables) < len(members):
        other = next(member.name for member in members if member.name not in tables)
        raise BadFileError("data.archive_mixed", where=str(path), file=visible(tables[0]), other=visible(other))
    if len(members) == 1 or tables or unit not in (None, "file"):
        parts = [
            _content(member.path, place, member.name, choice, unit or "line", passed)
            for place, member in places.items()
        ]
        return parts[0] if len(parts) == 1 else Joined(str(path), parts)
    folders = [os.path.basename(os.path.dirname(member.name)) for member in members]
    found = FolderSource(
        str(path), {place: member.path for place, member in places.items()}, folders if len(set(folders)) > 1 else None
    )
    choice.roles(dict.fromkeys(found.columns), len(found), str(path))
    return found


def _folder(folder: Path, choice: Choice, unit: Unit | None, passed: Faults | None) -> Source:
    if (folder / "state.json").is_file():
        return _table(*plain.dataset(str(folder)), str(folder), JsonLines(), choice)
    folders, files = _entries(folder)
    if folders and files:
        raise BadFileError("data.mixed_folder", where=str(folder), file=files[0].name, folder=folders[0].name)
    tables = [file for file in files if _inner_suffix(file) in TABLES]
    if tables and len(tables) < len(files):
        other = next(file for file in files if file not in tables)
        raise BadFileError("data.mixed_folder", where=str(folder), file=tables[0].name, folder=other.name)
    labels: list[str] | None = None
    if folders:
        labelled = [(file, child.name) for child in folders for file in _entries(child)[1]]
        files, labels = [file for file, _ in labelled], [label for _, label in labelled]
    if not files:
        raise BadFileError("data.empty_folder", where=str(folder))
    if tables or (unit not in (None, "file") and labels is None):
        return Joined(str(folder), [_file(file, choice, unit or "line", passed) for file in files])
    found = FolderSource(str(folder), {str(file): file for file in files}, labels)
    choice.roles(dict.fromkeys(found.columns), len(found), str(folder))
    return found


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the files in a folder, by name; hidden ones are passed over."""
    try:
        found = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda e: e.name)
        return [entry for entry in found if entry.is_dir()], [entry for entry in found if not entry.is_dir()]
    except OSError as error:
        raise unreadable(str(folder), error) from error


def _inner_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix in plain.OPENERS else suffix


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(str(path), error) from error
    return status.st_size, status.st_mtime_ns


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def texts(rows: Iterable[Row]) -> Iterable[str]:
    """Everything readable in rows, for training a tokenizer."""
    for row in rows:
        for role in ("text", "source", "target"):
            if role in row:
                yield row[role]
