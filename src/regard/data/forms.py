"""The forms a text file can have: where its records begin and end, and what a record's bytes mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from regard import limits
from regard.data.fields import Fields, Misquoted, split
from regard.data.pages import SPAN, Page, too_long
from regard.errors import BadFileError
from regard.limits import LONGEST_LINE

MOST_COLUMNS = 4096

_KINDS = {str: "text", bool: "true/false", int: "whole number", float: "number", type(None): "null"}


@dataclass
class Tally:
    """What a pass over a file found: the columns, how often each holds what kind of value, and how quotes are read."""

    columns: dict[str, Counter[str]] = field(default_factory=dict)
    quoted: bool = False


class Form(Protocol):
    """How records stand in a file. `name` keeps the indexes of different forms apart."""

    name: str

    def scan(self, pages: Iterable[Page], name: str, tally: Tally) -> Iterator[np.ndarray]:
        """The SPANs of the records, in arrays; `tally` is filled on the way. Refuses bad records by file:line."""
        ...

    def parse(self, raw: bytes, where: str, tally: Tally) -> dict[str, Any]:
        """A record's columns from its bytes."""
        ...


class Lines:
    """Every line that is not blank is a text."""

    name = "lines"

    def scan(self, pages: Iterable[Page], name: str, tally: Tally) -> Iterator[np.ndarray]:
        for page in pages:
            kept = page.spans[~page.blank]
            _count_texts(tally, len(kept))
            yield kept

    def parse(self, raw: bytes, where: str, tally: Tally) -> dict[str, Any]:
        return {"text": _text(raw, where)}


class Paragraphs(Lines):
    """Lines up to a blank one are a text."""

    name = "paragraphs"

    def scan(self, pages: Iterable[Page], name: str, tally: Tally) -> Iterator[np.ndarray]:
        begin = end = first = 0
        for page in pages:
            done: list[tuple[int, int, int]] = []
            for (start, size, line), blank in zip(page.spans.tolist(), page.blank.tolist(), strict=True):
                if blank:
                    if first:
                        done.append((begin, end - begin, first))
                    first = 0
                    continue
                if not first:
                    begin, first = start, line
                end = start + size
                if end - begin > LONGEST_LINE:
                    raise too_long(name, first)
            _count_texts(tally, len(done))
            yield np.array(done, dtype=SPAN)
        if first:
            _count_texts(tally, 1)
            yield np.array([(begin, end - begin, first)], dtype=SPAN)


class Whole(Lines):
    """The file is one text."""

    name = "whole"

    def scan(self, pages: Iterable[Page], name: str, tally: Tally) -> Iterator[np.ndarray]:
        begin, end, first = 0, 0, 0
        for page in pages:
            solid = page.spans[~page.blank]
            if len(solid):
                if not first:
                    begin, first = int(solid["start"][0]), int(solid["line"][0])
                end = int(solid["start"][-1] + solid["size"][-1])
            if end - begin > LONGEST_LINE:
                raise too_long(name, first)
        if first:
            _count_texts(tally, 1)
            yield np.array([(begin, end - begin, first)], dtype=SPAN)


class JsonLines:
    """Every line that is not blank is a JSON object."""

    name = "jsonl"

    def scan(self, pages: Iterable[Page], name: str, tally: Tally) -> Iterator[np.ndarray]:
        for page in pages:
            for _, _, line, raw in page.lines():
                for column, value in self.parse(raw, f"{name}:{line}", tally).items():
                    if column not in tally.columns:
                        if len(tally.columns) == MOST_COLUMNS:
                            raise BadFileError("data.too_many_columns", where=f"{name}:{line}", most=MOST_COLUMNS)
                        tally.columns[column] = Counter()
                    tally.columns[column][kind(value)] += 1
            yield page.spans[~page.blank]

    def parse(self, raw: bytes, where: str, tally: Tally) -> dict[str, Any]:
        if raw.startswith(b"[") and where.endswith(":1"):
            raise BadFileError("data.json_array", where=where)
        record = limits.parse_json(raw, where)
        if not isinstance(record, dict):
            raise BadFileError("data.not_object", where=where)
        return record


class Table:
    """CSV or TSV. The first line names the columns; without `header` they are called 1, 2, 3 and so on."""

    def __init__(self, delimiter: str, *, header: bool, quoted: bool) -> None:
        self.delimiter, self.header, self.quoted = delimiter, header, quoted
        self.name = f"table-{ord(delimiter)}-{'named' if header else 'numbered'}-{'quoted' if quoted else 'literal'}"

    def scan(self, pages: Iterable[Page], name: str, tally: Tally) -> Iterator[np.ndarray]:
        tally.quoted = self.quoted
        columns: list[str] = []
        for page in self._records(pages, name):
            spans = []
            for start, size, line, values in page:
                if not columns:
                    columns = self._columns(values, f"{name}:{line}")
                    tally.columns = {column: Counter() for column in columns}
                    if self.header or values == columns:
                        continue
                if len(values) != len(columns):
                    raise BadFileError("data.ragged", where=f"{name}:{line}", found=len(values), wanted=len(columns))
                spans.append((start, size, line))
            for counter in tally.columns.values():
                counter["text"] += len(spans)
            yield np.array(spans, dtype=SPAN)

    def parse(self, raw: bytes, where: str, tally: Tally) -> dict[str, Any]:
        values = split(_text(raw, where), self.delimiter, quoted=tally.quoted)
        if values is None or len(values) != len(tally.columns):
            raise BadFileError("data.changed", where=where)
        return dict(zip(tally.columns, values, strict=True))

    def _records(self, pages: Iterable[Page], name: str) -> Iterator[list[tuple[int, int, int, list[str]]]]:
        """(start, size, first line, fields) of the records that end in each page."""
        fields = Fields(self.delimiter, quoted=self.quoted)
        begin, end, first = 0, 0, 0
        for page in pages:
            done: list[tuple[int, int, int, list[str]]] = []
            for (start, size, line), blank in zip(page.spans.tolist(), page.blank.tolist(), strict=True):
                if blank and not fields.open and (size == 0 or self.delimiter != "\t"):
                    continue
                if not fields.open:
                    begin, first = start, line
                end = start + size
                if end - begin > LONGEST_LINE:
                    raise BadFileError("data.open_quote", where=f"{name}:{first}")
                at = start - page.offset
                try:
                    values = fields.feed(page.data[at : at + size].decode("utf-8"))
                except Misquoted as error:
                    raise BadFileError("data.misquoted", where=f"{name}:{line}", near=str(error)) from error
                if values is not None:
                    done.append((begin, end - begin, first, values))
            yield done
        if fields.open:
            raise BadFileError("data.open_quote", where=f"{name}:{first}")

    def _columns(self, values: list[str], where: str) -> list[str]:
        if len(values) > MOST_COLUMNS:
            raise BadFileError("data.too_many_columns", where=where, most=MOST_COLUMNS)
        if not self.header:
            return [str(number) for number in range(1, len(values) + 1)]
        names = [value.strip() for value in values]
        for number, column in enumerate(names, start=1):
            if not column or column in names[: number - 1]:
                raise BadFileError("data.bad_header", where=where, number=number, column=column)
        return names


def kind(value: Any) -> str:
    """What a user would call a JSON value's type."""
    return _KINDS.get(type(value), "list" if isinstance(value, list) else "object")


def _count_texts(tally: Tally, count: int) -> None:
    tally.columns.setdefault("text", Counter())["text"] += count


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:  # it was checked when the file was opened
        raise BadFileError("data.changed", where=where) from error
