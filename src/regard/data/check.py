"""What is in the data, and what is odd about it, before anything is trained on it: `regard data check`."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from regard.data import content
from regard.data.clean import judge
from regard.data.personal import mask
from regard.data.sources import Source

PERCENTILES = (1, 25, 50, 75, 95, 99)
BINS = 12
EXAMPLES = 5  # of each oddity, by file:line
SNIPPET = 60  # characters of a text shown beside its place
FAR = 20  # times the median length

ODDITIES = {
    "damaged": content.DAMAGE,
    "control": re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"),
    "invisible": re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"),  # not U+200D, which joins emoji
    "private": re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]"),  # characters that only one font knows
    "garbled": re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|锟斤拷|烫烫烫"),  # decoded as what it was not
    "markup": re.compile(r"&(?:[a-z]{2,6}|#\d{1,6});|</?(?:br|p|div|span|a|b|i|td|tr|li)\b[^>]*>", re.IGNORECASE),
    "repeated": re.compile(r"(\S)\1{19}"),
}
_ANY = re.compile("|".join(f"(?:{rule.pattern})" for name, rule in ODDITIES.items() if name != "repeated"), re.I)


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long the texts are. Bin i of the histogram has the texts of length `edges[i]` to `edges[i + 1] - 1`; the last
    bin has all longer ones too.
    """

    total: int
    least: int
    most: int
    mean: float
    percentiles: dict[int, float]
    edges: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """What is beyond `context` tokens: how many rows, and how many of all tokens."""

    context: int
    rows: int
    tokens: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Odd:
    """How many rows have this oddity, and the places of the first of them with a piece of the text."""

    count: int = 0
    examples: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything `check` found. `characters` and `tokens` are by column; `dropped` is what `clean` would take out."""

    name: str
    rows: int
    columns: tuple[str, ...]
    fingerprint: str
    characters: dict[str, Lengths]
    tokens: dict[str, Lengths] = field(default_factory=dict)
    truncation: dict[str, Truncation] = field(default_factory=dict)
    dropped: dict[str, Odd] = field(default_factory=dict)
    shared: Odd | None = None  # rows whose text the held-out data has too
    labels: dict[str, int] = field(default_factory=dict)
    odd: dict[str, Odd] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(
    source: Source,
    *,
    held_out: Source | None = None,
    encode: Callable[[str], Sequence[int]] | None = None,
    context: int | None = None,
    found: Mapping[str, np.ndarray] | None = None,
) -> Report:
    """Goes through all rows. With `encode`, lengths are counted in tokens too; with `context`, what goes beyond it.

    `found` is what `judge` found in them, where that is already known.
    """
    characters: dict[str, array[int]] = {}
    tokens: dict[str, array[int]] = {}
    labels: Counter[str] = Counter()
    odd: dict[str, array[int]] = {name: array("q") for name in (*ODDITIES, "untranslated")}
    for number in range(len(source)):
        row = source.row(number)
        for role in ("text", "source", "target"):
            if role not in row:
                continue
            characters.setdefault(role, array("q")).append(len(row[role]))
            if encode is not None:
                tokens.setdefault(role, array("q")).append(len(encode(row[role])))
        if "label" in row:
            labels[row["label"]] += 1
        for name in oddities("\n".join(content.parts(row))):
            odd[name].append(number)
        if "target" in row and "source" in row and row["source"].strip() == row["target"].strip():
            odd["untranslated"].append(number)
    odd["far_longer"] = array("q", _far_longer(characters).tolist())
    return Report(
        name=source.name,
        rows=len(source),
        columns=source.columns,
        fingerprint=source.fingerprint,
        characters={role: lengths(values) for role, values in characters.items()},
        tokens={role: lengths(values) for role, values in tokens.items()},
        truncation={role: _truncation(values, context) for role, values in tokens.items() if context is not None},
        dropped={reason: odd_rows(source, numbers, reason) for reason, numbers in (found or judge(source)).items()},
        shared=None if held_out is None else odd_rows(source, shared(source, held_out)),
        labels=dict(labels.most_common()),
        odd={name: odd_rows(source, numbers, name) for name, numbers in odd.items() if len(numbers)},
    )


def oddities(text: str) -> list[str]:
    """Which of ODDITIES a text has."""
    suspects = ODDITIES if _ANY.search(text) else ("repeated",)
    return [name for name in suspects if ODDITIES[name].search(text)]


def lengths(values: Sequence[int]) -> Lengths:
    """The distribution of lengths; the bins end at the 99th percentile, so that one long text does not flatten them."""
    found = np.asarray(values, dtype=np.int64)
    points = np.percentile(found, PERCENTILES)
    least = int(found.min())
    step = math.ceil((int(points[-1]) + 1 - least) / BINS)
    bins = np.minimum((found - least) // step, math.ceil((int(points[-1]) + 1 - least) / step) - 1)
    counts = np.bincount(bins)
    return Lengths(
        total=int(found.sum()),
        least=least,
        most=int(found.max()),
        mean=float(found.mean()),
        percentiles={point: float(value) for point, value in zip(PERCENTILES, points, strict=True)},
        edges=tuple(least + step * number for number in range(len(counts) + 1)),
        counts=tuple(int(count) for count in counts),
    )


def shared(source: Source, held_out: Source) -> np.ndarray:
    """The numbers of the rows of `source` that say the same as some row of `held_out`."""
    keys = bytearray()
    for rows in (held_out, source):
        for number in range(len(rows)):
            keys += content.key(content.asked(rows.row(number)))
    return np.flatnonzero(content.groups(keys)[len(held_out) :] < len(held_out))


def _truncation(values: Sequence[int], context: int) -> Truncation:
    found = np.asarray(values, dtype=np.int64)
    beyond = np.maximum(found - context, 0)
    return Truncation(
        context=context,
        rows=int((beyond > 0).sum()),
        tokens=int(beyond.sum()),
        share=float(beyond.sum() / max(int(found.sum()), 1)),
    )


def _far_longer(characters: dict[str, array[int]]) -> np.ndarray:
    found = [np.asarray(values) > FAR * max(float(np.median(values)), 1.0) for values in characters.values()]
    return np.flatnonzero(np.logical_or.reduce(found))


def odd_rows(source: Source, numbers: Sequence[int] | np.ndarray, name: str = "") -> Odd:
    """The rows of these numbers with the places of the first of them; personal data are masked in what is shown. `name`
    is what the rows have, one of ODDITIES or of personal.KINDS: the piece that is shown has it.
    """
    examples = []
    for number in numbers[:EXAMPLES]:
        row = source.row(int(number))
        text = mask(" | ".join(content.parts(row)))
        match = ODDITIES[name].search(text) if name in ODDITIES else None
        at = match.start() if match else max(text.find(f"[{name.upper()}]"), 0)  # the mark, for a kind of personal data
        examples.append((row["where"], snippet(text, at)))
    return Odd(count=len(numbers), examples=tuple(examples))


def snippet(text: str, at: int = 0) -> str:
    """A piece of `text` around the place `at`, safe to print: what is no visible character is written as its escape."""
    first = max(at - SNIPPET // 2, 0) if at >= SNIPPET else 0
    piece = content.visible(text[first : first + SNIPPET].replace("\n", " "))
    return ("…" if first else "") + piece + ("…" if first + SNIPPET < len(text) else "")
