"""A data set written anew without the rows that teach nothing or teach wrongly: `regard data clean`.

    found = rewrite(sources.open("reviews.csv"), "clean.jsonl", near=0.8, masked=True)
    found.kept, found.dropped["duplicate"].count, found.masked["phone"]

What stays is a pure function of the rows and the settings, in the order it had. The file appears whole or not at all.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from regard.data import content, personal
from regard.data.check import Odd, odd_rows, shared
from regard.data.clean import judge
from regard.data.faults import Faults
from regard.data.near import Near, leaks, near
from regard.data.shingles import sketches
from regard.data.sources import Row, Source, Subset
from regard.data.survey import Unreadable, by_label, said
from regard.errors import RegardError
from regard.limits import sync_folder

FORMS = (".jsonl", ".csv", ".tsv", ".txt")


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """What was written and what was left out: `dropped` by reason with places, `masked` places by kind."""

    name: str
    out: str
    sha256: str
    rows: int
    kept: int
    dropped: dict[str, Odd]
    unreadable: Unreadable
    masked: dict[str, int] = field(default_factory=dict)
    masked_rows: int = 0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gone:
    """Rows left out for one reason; `of` has the row, in `others`, that each is like, where that is the reason."""

    numbers: np.ndarray
    of: np.ndarray | None = None
    others: Source | None = None


def rewrite(
    source: Source,
    out: str | os.PathLike[str],
    *,
    held_out: Source | None = None,
    likeness: float | None = None,
    masked: bool = False,
    passed: Faults | None = None,
    removed: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Rewritten:
    """Write the rows of `source` that stay to `out`, in the form its name ends with (FORMS).

    Left out are the rows of `clean`; with `held_out` those that are in it; with `likeness` those as much like an
    earlier row of the same label, or like a held-out row. With `masked` personal data give way to marks first, so that
    texts that differ in a number alone become one. `removed` is a JSONL file that gets every row left out, masked. A
    file that exists is written over only with `overwrite`.
    """
    for path in (out, removed):
        if path is not None and Path(path).exists() and not overwrite:
            raise RegardError("data.clean_exists", where=path)
    if Path(out).suffix.lower() not in FORMS:
        raise RegardError("data.clean_form", where=out, known=", ".join(FORMS))
    rows: Source = Masked(source) if masked else source
    found = gone(rows, held_out, likeness)
    kept = np.ones(len(rows), dtype=bool)
    for one in found.values():
        kept[one.numbers] = False
    if not kept.any():
        raise RegardError("data.clean_nothing", where=source.name)
    staying = Subset(rows, np.flatnonzero(kept))
    faults = passed or Faults()
    sha256 = _write(Path(out), _lines(staying, Path(out)))
    if removed is not None:
        _write(Path(removed), _listed(rows, found, faults))
    counts, masked_rows = rows.counted(staying.numbers) if isinstance(rows, Masked) else ({}, 0)
    return Rewritten(
        name=source.name,
        out=os.fspath(out),
        sha256=sha256,
        rows=len(source),
        kept=len(staying),
        dropped={reason: odd_rows(rows, one.numbers) for reason, one in found.items()},
        unreadable=Unreadable.of(faults),
        masked=counts,
        masked_rows=masked_rows,
    )


def gone(rows: Source, held_out: Source | None, likeness: float | None) -> dict[str, Gone]:
    """The rows to leave out, each under the first reason that holds for it."""
    found = {reason: Gone(numbers=numbers) for reason, numbers in judge(rows).items()}
    kept = np.ones(len(rows), dtype=bool)
    for one in found.values():
        kept[one.numbers] = False
    if held_out is not None:
        numbers = shared(rows, held_out)
        found["shared"] = Gone(numbers=numbers[kept[numbers]])
        kept[numbers] = False
    if likeness is None:
        return found
    numbers = np.flatnonzero(kept)
    staying = Subset(rows, numbers)
    if held_out is not None:
        leaking = _leaking(staying, held_out, likeness)
        found["near_shared"] = Gone(numbers=numbers[leaking.number], of=leaking.of, others=held_out)
        numbers = np.delete(numbers, leaking.number)
        staying = Subset(rows, numbers)
    keys = sketches(said(row) for row in staying)
    same, _ = by_label(staying, near(keys, lambda number: said(staying.row(number)), likeness=likeness))
    found["near"] = Gone(numbers=numbers[same.number], of=numbers[same.of], others=rows)
    return found


class Masked(Source):
    """The rows of a source with a mark in place of personal data, in every column but the label."""

    def __init__(self, whole: Source) -> None:
        self.whole, self.name, self.columns = whole, whole.name, whole.columns
        self.fingerprint = hashlib.sha256(f"masked {whole.fingerprint}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.whole)

    def row(self, number: int) -> Row:
        row = self.whole.row(number)
        return {key: value if key in ("where", "label") else personal.mask(value) for key, value in row.items()}

    def record(self, number: int) -> dict[str, Any]:
        label = self.whole.row(number).get("label")
        record = self.whole.record(number)
        return {key: value if value == label else _masked(value) for key, value in record.items()}

    def counted(self, numbers: np.ndarray) -> tuple[dict[str, int], int]:
        """(places by kind, rows) that were masked in these rows."""
        places: Counter[str] = Counter()
        rows = 0
        for number in numbers.tolist():
            label = self.whole.row(number).get("label")
            texts = [each for each in self.whole.record(number).values() if isinstance(each, str) and each != label]
            kinds = Counter(one.kind for text in texts for one in personal.find(text))
            places += kinds
            rows += bool(kinds)
        return {kind: places[kind] for kind in personal.KINDS if places[kind]}, rows


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return personal.mask(value)
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return {key: _masked(each) for key, each in value.items()} if isinstance(value, dict) else value


def _leaking(rows: Source, held_out: Source, likeness: float) -> Near:
    return leaks(
        sketches(content.asked(row) for row in rows),
        sketches(content.asked(row) for row in held_out),
        lambda number: content.asked(rows.row(number)),
        lambda number: content.asked(held_out.row(number)),
        likeness=likeness,
    )


def _lines(rows: Source, out: Path) -> Iterator[str]:
    return _WRITERS[out.suffix.lower()](rows, out)


def _json_lines(rows: Source, out: Path) -> Iterator[str]:
    for number in range(len(rows)):
        yield json.dumps(rows.record(number), ensure_ascii=False) + "\n"


def _table(delimiter: str) -> Callable[[Source, Path], Iterator[str]]:
    def lines(rows: Source, out: Path) -> Iterator[str]:
        line = io.StringIO()
        writer = csv.writer(line, delimiter=delimiter, lineterminator="\n")
        for cells in _cells(rows):
            writer.writerow(cells)
            yield line.getvalue()
            line.seek(0)
            line.truncate()

    return lines


def _cells(rows: Source) -> Iterator[list[str]]:
    yield list(rows.columns)
    for number in range(len(rows)):
        record = rows.record(number)
        yield [_cell(record.get(column)) for column in rows.columns]


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _texts(rows: Source, out: Path) -> Iterator[str]:
    if set(rows.columns) != {"text"}:
        raise RegardError("data.clean_columns", where=out, columns=", ".join(rows.columns))
    for row in rows:
        if "\n" in row["text"]:
            raise RegardError("data.clean_lines", where=out, row=row["where"])
        yield row["text"] + "\n"


_WRITERS = {".jsonl": _json_lines, ".csv": _table(","), ".tsv": _table("\t"), ".txt": _texts}


def _listed(rows: Source, found: Mapping[str, Gone], faults: Faults) -> Iterator[str]:
    """Every row left out: where it stood, why it went, the row it is like, and what it said, masked."""
    for why, piece in faults.examples:
        yield json.dumps({"reason": "unreadable", "why": why, "text": piece}, ensure_ascii=False) + "\n"
    if faults.more:
        yield json.dumps({"reason": "unreadable", "more": faults.more}) + "\n"
    for reason, one in found.items():
        for at, number in enumerate(one.numbers.tolist()):
            row = rows.row(number)
            of = {} if one.of is None or one.others is None else {"of": one.others.row(int(one.of[at]))["where"]}
            label = {"label": row["label"]} if "label" in row else {}
            listed = {"where": row["where"], "reason": reason, **of, **label, "text": personal.mask(said(row))}
            yield json.dumps(listed, ensure_ascii=False) + "\n"


def _write(path: Path, lines: Iterator[str]) -> str:
    """Write a file of any size, whole or not at all; its SHA-256."""
    digest = hashlib.sha256()
    try:
        with _beside(path) as file:
            for line in lines:
                data = line.encode("utf-8", "surrogatepass")
                digest.update(data)
                file.write(data)
    except OSError as error:
        raise RegardError("data.clean_write", where=path, why=error.strerror or str(error)) from error
    return digest.hexdigest()


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)
