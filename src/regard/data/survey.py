"""All that can be said of a data set before anything is trained on it, as a report to be sent to somebody.

What `check` finds in every training, and beside it what takes longer: rows that say nearly the same, rows that are
nearly in the held-out data, scripts and languages, personal data, and lines that could not be read. No personal data
stand in it: every piece of a text that is shown is masked. It takes some hundred bytes a row, however long the texts;
tests/data/survey_probe.py prints how many, and how many rows a second.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from regard.data import content, personal, scripts
from regard.data.check import EXAMPLES, Odd, Report, check, odd_rows, shared, snippet
from regard.data.clean import judge
from regard.data.faults import Faults
from regard.data.near import LIKENESS, Near, leaks, near
from regard.data.shingles import sketches
from regard.data.sources import Row, Source, Subset

ROLES = ("text", "source", "target")
_FAULTS = 50  # that are shown
_BATCH = 512  # texts whose scripts are counted at once


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows by their places, a piece of each, how alike they are (1: the same), and their labels, if they have."""

    where: str
    text: str
    of: str
    of_text: str
    likeness: float
    labels: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """How many rows there are of this kind, and the first of them beside the row that each belongs to."""

    count: int = 0
    examples: tuple[Pair, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Lines that could not be read, `(why, a piece)` of the first of them, and the encodings they seem to have."""

    count: int = 0
    examples: tuple[tuple[str, str], ...] = ()
    encodings: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, faults: Faults) -> Unreadable:
        shown = tuple(faults.examples[:_FAULTS])
        return cls(count=faults.count, examples=shown, encodings=dict(faults.encodings.most_common()))


@dataclass(frozen=True, kw_only=True)
class Survey(Report):
    """What `check` found, and more. `near`: rows as much like an earlier row as `likeness` and of one label with it;
    `near_conflicts`: of another label; `near_shared`: like a held-out row, without being the same; `repeated`: the
    texts said most often, with the times; `scripts`: characters; `languages`: rows; `personal`: rows; `findings`:
    places.
    """

    likeness: float = LIKENESS
    conflicts: Pairs = Pairs()
    near: Pairs = Pairs()
    near_conflicts: Pairs = Pairs()
    near_shared: Pairs | None = None
    repeated: tuple[tuple[int, str, str], ...] = ()
    scripts: dict[str, dict[str, int]] = field(default_factory=dict)
    languages: dict[str, dict[str, Odd]] = field(default_factory=dict)
    personal: dict[str, Odd] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    personal_rows: int = 0
    unreadable: Unreadable = Unreadable()


def survey(
    source: Source,
    *,
    held_out: Source | None = None,
    encode: Callable[[str], Sequence[int]] | None = None,
    context: int | None = None,
    likeness: float = LIKENESS,
    passed: Faults | None = None,
    tell: Callable[[str], None] = lambda stage: None,
) -> Survey:
    """Goes through the rows a few times. `passed` has the lines that `sources.open` passed over; `tell` hears what is
    being done.
    """
    tell("rows")
    found = judge(source)
    report = check(source, held_out=held_out, encode=encode, context=context, found=found)
    tell("texts")
    numbers = _staying(len(source), found)
    look = _Look(source)
    keys = sketches(text for number, text in look if numbers[number])
    kept = Subset(source, np.flatnonzero(numbers))
    tell("near")
    same, other = by_label(kept, near(keys, lambda number: said(kept.row(number)), likeness=likeness))
    return Survey(
        **vars(report),
        likeness=likeness,
        conflicts=_conflicts(source, found["two_classes"]),
        near=pairs(kept, kept, same),
        near_conflicts=pairs(kept, kept, other),
        near_shared=None if held_out is None else _leaks(kept, keys, held_out, likeness),
        repeated=_repeated(source, found["duplicate"]),
        scripts=look.scripts(),
        languages=look.languages(),
        personal={kind: odd_rows(source, look.personal[kind], kind) for kind in personal.KINDS if look.personal[kind]},
        findings={kind: look.findings[kind] for kind in personal.KINDS if look.findings[kind]},
        personal_rows=look.personal_rows,
        unreadable=Unreadable.of(passed or Faults()),
    )


def said(row: Row) -> str:
    """What is compared of a row to see whether another says nearly the same."""
    return "\n".join(content.parts(row))


def by_label(rows: Source, found: Near) -> tuple[Near, Near]:
    """The pairs whose rows have one label (or none), and those whose rows have two."""
    alike = [
        rows.row(number).get("label") == rows.row(of).get("label")
        for number, of in zip(found.number.tolist(), found.of.tolist(), strict=True)
    ]
    same = np.array(alike, dtype=bool)
    return found.some(same), found.some(~same)


def pairs(rows: Source, others: Source, found: Near, *, most: int = EXAMPLES) -> Pairs:
    """For a reader: the rows furthest from being the same first, for there one sees where the line was drawn."""
    order = np.argsort(found.likeness, kind="stable")[:most]
    shown = [
        _pair(rows.row(int(found.number[at])), others.row(int(found.of[at])), float(found.likeness[at])) for at in order
    ]
    return Pairs(count=len(found), examples=tuple(shown))


def _pair(row: Row, of: Row, likeness: float) -> Pair:
    labels = (row["label"], of["label"]) if "label" in row and "label" in of else None
    one, other = personal.mask(" | ".join(content.parts(row))), personal.mask(" | ".join(content.parts(of)))
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return Pair(
        where=row["where"],
        text=snippet(one, at),
        of=of["where"],
        of_text=snippet(other, at),
        likeness=round(likeness, 4),
        labels=labels,
    )


class _Look:
    """Yields (number, text) of every row and looks at each on the way."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.personal: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self.findings: Counter[str] = Counter()
        self.personal_rows = 0
        self._counts: dict[str, np.ndarray] = {}
        self._languages: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._first: defaultdict[tuple[str, str], list[int]] = defaultdict(list)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        waiting: list[tuple[int, str, str]] = []
        for number in range(len(self._source)):
            row = self._source.row(number)
            text = said(row)
            kinds = Counter(one.kind for one in personal.find(text))
            self.findings += kinds
            self.personal_rows += bool(kinds)
            for kind in kinds:
                self.personal[kind].append(number)
            waiting += [(number, role, row[role]) for role in ROLES if role in row]
            if len(waiting) >= _BATCH:
                self._count(waiting)
                waiting = []
            yield number, text
        self._count(waiting)

    def scripts(self) -> dict[str, dict[str, int]]:
        """Characters by column and script, the commonest first."""
        return {
            role: _largest({name: int(each) for name, each in zip(scripts.SCRIPTS, count, strict=True) if each})
            for role, count in self._counts.items()
        }

    def languages(self) -> dict[str, dict[str, Odd]]:
        """Rows by column and language, the commonest first; the rare ones with places."""
        return {
            role: {
                name: Odd(count=count, examples=odd_rows(self._source, self._first[role, name]).examples)
                for name, count in found.most_common()
            }
            for role, found in self._languages.items()
        }

    def _count(self, waiting: Sequence[tuple[int, str, str]]) -> None:
        if not waiting:
            return
        for (number, role, text), count in zip(waiting, scripts.counts([text for _, _, text in waiting]), strict=True):
            name = scripts.language(text, count)
            self._languages[role][name] += 1
            if len(self._first[role, name]) < EXAMPLES:
                self._first[role, name].append(number)
            self._counts[role] = self._counts.get(role, 0) + count


def _staying(count: int, found: Mapping[str, np.ndarray]) -> np.ndarray:
    numbers = np.ones(count, dtype=bool)
    for gone in found.values():
        numbers[gone] = False
    return numbers


def _leaks(rows: Source, keys: np.ndarray, held_out: Source, likeness: float) -> Pairs:
    """Of the rows that are not in the held-out data, those that nearly are, by what a model is asked."""
    if len(rows) and "text" not in rows.row(0):
        keys = sketches(content.asked(rows.row(number)) for number in range(len(rows)))
    others = sketches(content.asked(held_out.row(number)) for number in range(len(held_out)))
    found = leaks(
        keys,
        others,
        lambda number: content.asked(rows.row(number)),
        lambda number: content.asked(held_out.row(number)),
        likeness=likeness,
    )
    new = ~np.isin(found.number, shared(rows, held_out))
    return pairs(rows, held_out, found.some(new))


def _conflicts(source: Source, numbers: np.ndarray) -> Pairs:
    """Rows of one text and two labels, each text once."""
    first: dict[str, Row] = {}
    shown: dict[str, Pair] = {}
    for number in numbers.tolist():
        row = source.row(number)
        text = content.normal(said(row))
        if first.setdefault(text, row).get("label") != row.get("label") and text not in shown:
            shown[text] = _pair(first[text], row, 1.0)
        if len(shown) == EXAMPLES:
            break
    return Pairs(count=len(numbers), examples=tuple(shown.values()))


def _repeated(source: Source, numbers: np.ndarray) -> tuple[tuple[int, str, str], ...]:
    """(times, place of the second, a piece) of the texts said most often."""
    groups = content.groups(
        bytearray().join(content.key(content.normal(said(source.row(n)))) for n in numbers.tolist())
    )
    which, times = np.unique(groups, return_counts=True)
    found = []
    for at in np.argsort(-times, kind="stable")[:EXAMPLES].tolist():
        row = source.row(int(numbers[which[at]]))
        found.append((int(times[at]) + 1, row["where"], snippet(personal.mask(" | ".join(content.parts(row))))))
    return tuple(found)


def _largest(found: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(found.items(), key=lambda one: -one[1]))
