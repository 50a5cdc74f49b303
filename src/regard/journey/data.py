"""Step 1: look at the data, clean them, and divide them into what is trained on and what is held out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from regard import limits
from regard.data import content, order, samples
from regard.data.check import Report, check
from regard.data.clean import clean
from regard.data.sources import Source, Subset
from regard.data.split import split
from regard.journey.folder import Folder
from regard.journey.variants import Variant, variants
from regard.journey.walk import Walk
from regard.report.sections import Label, Note, Section, Table, message
from regard.train.setup import some
from regard.words import say

SAMPLES = ("tang-poems", "film-reviews", "office-help")
COLUMNS = ("text", "label", "source", "target")
POEMS_HELD_OUT, PAGES_HELD_OUT = 0.02, 0.08
REVIEWS_TRAINED, REVIEWS_HELD_OUT = 400, 1000
RUNS = {"tang-poems": 5, "film-reviews": 20, "office-help": 0}  # letters by which variants are found; 0: pages divide
SEED = 0

Sides = tuple[Source, Source]


def work(walk: Walk) -> dict[str, Any]:
    """Writes data/NAME-train.jsonl and data/NAME-held-out.jsonl for each sample; what was found in it, by name."""
    stage = walk.stage("data", say("journey.data.working"))
    found = {}
    for name in SAMPLES:
        stage.at(say("journey.data.checking", name=name))
        source = some(samples.open(name), walk.plan.rows.get(name), SEED)
        walk.stop.poll()
        found[name] = prepare(walk.folder, name, source, walk.stop.poll)
        stage.at()
    return found


def prepare(folder: Folder, name: str, source: Source, polled: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Check, clean and divide one sample and write its two files; what was found in it."""
    report = check(source)
    polled()
    cleaned = clean(source)
    train, held_out = DIVIDED[name](cleaned.rows)
    near = _variants(train, held_out, RUNS[name])
    gone = {each.number for each in near}
    kept = Subset(train, [number for number in range(len(train)) if number not in gone])
    polled()
    _write(folder.data(f"{name}-train"), kept)
    _write(folder.data(f"{name}-held-out"), held_out)
    return _found(report, cleaned.counts, train, held_out, near) | {"train": len(kept), "held_out": len(held_out)}


def poems(rows: Source) -> Sides:
    """By poem."""
    train, held_out = split(rows, POEMS_HELD_OUT, SEED)
    return train, by_hash(held_out)


def reviews(rows: Source) -> Sides:
    """A few hundred to learn from, as if rating had been dear, and a thousand to be asked about."""
    numbers = order.permutation(SEED, 0, len(rows))
    held_out, train = np.split(numbers[: REVIEWS_HELD_OUT + REVIEWS_TRAINED], [REVIEWS_HELD_OUT])
    return Subset(rows, np.sort(train)), by_hash(Subset(rows, held_out))


def pairs(rows: Source) -> Sides:
    """By help page."""
    train, held_out = split(rows, PAGES_HELD_OUT, SEED, by="page")
    return train, by_hash(held_out)


def by_hash(rows: Source) -> Source:
    """The same rows in the order of their hashes, so that the first of them are a fair draw and nobody's choice."""
    hashes = [content.key(content.asked(rows.row(number))) for number in range(len(rows))]
    return Subset(rows, sorted(range(len(rows)), key=hashes.__getitem__))


DIVIDED: dict[str, Callable[[Source], Sides]] = {"tang-poems": poems, "film-reviews": reviews, "office-help": pairs}


def _variants(train: Source, held_out: Source, run: int) -> list[Variant]:
    if not run:
        return []
    return variants([row["text"] for row in train], [row["text"] for row in held_out], run)


def _write(path: Path, rows: Source) -> None:
    lines = [{key: row[key] for key in COLUMNS if key in row} for row in rows]
    limits.write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _found(
    report: Report, dropped: dict[str, int], train: Source, held_out: Source, near: Sequence[Variant]
) -> dict[str, Any]:
    main = next(iter(report.characters.values()))
    shown = max(near, key=lambda one: (-abs(one.share - 0.5), -one.number), default=None)
    return {
        "rows": report.rows,
        "characters": sum(each.total for each in report.characters.values()),
        "median": main.percentiles[50],
        "longest": main.most,
        "labels": report.labels,
        "dropped": dropped,
        "odd": {name: odd.count for name, odd in report.odd.items()},
        "examples": {name: list(odd.examples[0]) for name, odd in report.odd.items()},
        "variants": len(near),
        "variant": [train[shown.number]["text"], held_out[shown.of]["text"]] if shown else None,
    }


def sections(found: dict[str, Any]) -> list[Section]:
    """For the page and for the screen."""
    columns: list[Label] = [message("journey.data.name")]
    columns += [message(f"journey.data.{name}") for name in _COUNTS]
    rows = [(name, *(_COUNTS[column](found[name]) for column in _COUNTS)) for name in found]
    table = Table(columns=columns, rows=rows, note=message("journey.data.note"))
    return [table, *_remarks(found)]


_COUNTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "rows": lambda one: one["rows"],
    "characters": lambda one: one["characters"],
    "median": lambda one: int(one["median"]),
    "longest": lambda one: one["longest"],
    "dropped": lambda one: sum(one["dropped"].values()),
    "variants": lambda one: one["variants"],
    "train": lambda one: one["train"],
    "held_out": lambda one: one["held_out"],
}


def _remarks(found: dict[str, Any]) -> list[Section]:
    said: list[Section] = []
    for name, one in found.items():
        for reason, count in one["dropped"].items():
            if count:
                why = message(f"data.reason.{reason}")
                said.append(Note(text=message("journey.data.dropped_for", name=name, count=count, why=why)))
        for odd, count in one["odd"].items():
            if odd not in one["dropped"]:
                where, snippet = one["examples"][odd]
                values = {"name": name, "count": count, "odd": message(f"data.odd.{odd}")}
                said.append(Note(text=message("journey.data.odd", where=where, snippet=snippet, **values)))
    pair = next((one["variant"] for one in found.values() if one["variant"]), None)
    if pair:
        columns = (message("journey.data.gone"), message("journey.data.held_out"))
        lines = tuple(zip_longest(*(text.split("\n") for text in pair), fillvalue=""))
        said.append(Table(columns=columns, rows=lines, title=message("journey.data.variant")))
    return said
