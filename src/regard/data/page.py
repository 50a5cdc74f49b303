"""A survey as a report page: what was found, by file:line, and how it was looked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from regard.data.check import Lengths, Odd
from regard.data.remarks import remarks
from regard.data.shingles import BANDS, ROWS, WIDTH, WIDTH_CJK
from regard.data.survey import Pairs, Survey
from regard.report.sections import (
    Bar,
    Bars,
    Chapter,
    Label,
    Note,
    Number,
    Numbers,
    Report,
    Section,
    Table,
    Text,
    message,
    visible,
)

_LABELS = 30  # that are drawn


def report(found: Survey) -> Report:
    """The whole page."""
    chapters = [
        Chapter(title=message("data.page.glance"), sections=list(_glance(found))),
        Chapter(title=message("data.page.lengths"), sections=list(_lengths(found))),
        Chapter(title=message("data.page.labels"), sections=list(_labels(found))),
        Chapter(title=message("data.page.scripts"), sections=list(_scripts(found))),
        Chapter(title=message("data.page.twice"), sections=list(_twice(found))),
        Chapter(title=message("data.page.leaks"), sections=list(_leaks(found))),
        Chapter(title=message("data.page.faults"), sections=list(_faults(found))),
        Chapter(title=message("data.page.personal"), sections=list(_personal(found))),
        Chapter(title=message("data.page.how"), sections=[_how(found)]),
    ]
    return Report(
        title=message("data.page.title", name=found.name),
        about=message("data.page.about"),
        facts=[
            (message("data.page.rows"), found.rows),
            (message("data.page.columns"), ", ".join(found.columns)),
            (message("data.page.fingerprint"), found.fingerprint[:16]),
        ],
        sections=[chapter for chapter in chapters if chapter.sections],
    )


def _glance(found: Survey) -> Iterator[Section]:
    said = [
        ("rows", found.rows),
        ("characters", sum(each.total for each in found.characters.values())),
        ("unreadable", found.unreadable.count),
        ("duplicate", found.dropped["duplicate"].count),
        ("near", found.near.count),
        ("two_classes", found.dropped["two_classes"].count),
        ("leaking", None if found.shared is None else found.shared.count + (found.near_shared or Pairs()).count),
        ("personal", sum(found.findings.values())),
    ]
    yield Numbers(
        numbers=[
            Number(label=message(f"data.tile.{name}"), value=value, about=_share(name, value, found.rows))
            for name, value in said
            if value is not None
        ]
    )
    for kind, sentence in remarks(found):
        yield Note(text=sentence, kind=kind)


def _share(name: str, value: int, rows: int) -> Label:
    if name in ("rows", "characters", "unreadable", "personal") or not value:
        return ""
    return message("data.tile.share", share=f"{value / rows:.1%}")


def _lengths(found: Survey) -> Iterator[Section]:
    for unit, measured in (("characters", found.characters), ("tokens", found.tokens)):
        for role, lengths in measured.items():
            title = message(f"data.page.in_{unit}", role=role)
            yield Bars(bars=list(_bins(lengths)), title=title, unit=message("data.page.rows"))
            yield _percentiles(lengths)
    for role, cut in found.truncation.items():
        values = {"rows": f"{cut.rows:,}", "context": f"{cut.context:,}", "tokens": f"{cut.tokens:,}"}
        text = message("data.summary.truncation", role=role, share=f"{cut.share:.1%}", **values)
        yield Note(text=text, kind="caution" if cut.rows else "good")


def _bins(lengths: Lengths) -> Iterator[Bar]:
    for number, count in enumerate(lengths.counts):
        last = number + 1 == len(lengths.counts)
        upper = lengths.most if last else lengths.edges[number + 1] - 1
        yield Bar(name=f"{lengths.edges[number]:,} – {upper:,}", value=count)


def _percentiles(lengths: Lengths) -> Table:
    columns = [message("data.page.least"), *(f"{point} %" for point in lengths.percentiles)]
    row = [lengths.least, *(round(value) for value in lengths.percentiles.values())]
    ends: list[Label] = [message("data.page.most"), message("data.page.mean")]
    return Table(columns=[*columns, *ends], rows=[[*row, lengths.most, round(lengths.mean, 1)]])


def _labels(found: Survey) -> Iterator[Section]:
    if found.labels:
        bars = [Bar(name=visible(label), value=count) for label, count in list(found.labels.items())[:_LABELS]]
        left = len(found.labels) - len(bars)
        more = message("data.page.more_labels", count=f"{left:,}") if left else ""
        yield Bars(bars=bars, unit=message("data.page.rows"), note=more)


def _scripts(found: Survey) -> Iterator[Section]:
    for role, counts in found.scripts.items():
        total = sum(counts.values())
        shares = {name: round(count / total * 100, 2) for name, count in counts.items()}
        bars = [Bar(name=message(f"data.script.{name}"), value=share) for name, share in shares.items() if share]
        yield Bars(bars=bars, title=message("data.page.by_script", role=role), unit=message("data.page.percent"))
    for role, languages in found.languages.items():
        rows = [
            (message(f"data.language.{name.replace('-', '_')}"), odd.count, *_first(odd))
            for name, odd in languages.items()
        ]
        columns = [message("data.page.language"), *_heads()]
        yield Table(columns=columns, rows=rows, title=message("data.page.by_language", role=role))


def _twice(found: Survey) -> Iterator[Section]:
    if found.repeated:
        columns = [message("data.page.times"), message("data.page.place"), message("data.page.text")]
        yield Table(columns=columns, rows=found.repeated, title=message("data.page.repeated"))
    for name in ("conflicts", "near", "near_conflicts"):
        if getattr(found, name).count:
            yield _pairs(name, getattr(found, name))


def _leaks(found: Survey) -> Iterator[Section]:
    if found.shared is not None:
        kind = "bad" if found.shared.count else "good"
        yield Note(text=message("data.page.shared", count=f"{found.shared.count:,}"), kind=kind)
        if found.shared.count:
            columns = [message("data.page.place"), message("data.page.text")]
            yield Table(columns=columns, rows=found.shared.examples)
    if found.near_shared is not None and found.near_shared.count:
        yield _pairs("near_shared", found.near_shared)


def _pairs(name: str, pairs: Pairs) -> Table:
    labelled = any(pair.labels for pair in pairs.examples)
    columns = [message(f"data.page.{each}") for each in ("likeness", "place", "text")]
    rows = []
    for pair in pairs.examples:
        for place, text, side in ((pair.where, pair.text, 0), (pair.of, pair.of_text, 1)):
            label = [visible(pair.labels[side]) if pair.labels else ""] if labelled else []
            rows.append(("" if side else f"{pair.likeness:.0%}", place, *label, text))
    if labelled:
        columns.insert(2, message("data.page.label"))
    title = message(f"data.page.{name}", count=f"{pairs.count:,}")
    return Table(columns=columns, rows=rows, title=title)


def _faults(found: Survey) -> Iterator[Section]:
    if found.unreadable.count:
        encodings = ", ".join(f"{name} {count:,}" for name, count in found.unreadable.encodings.items())
        yield Table(
            columns=[message("data.page.fault"), message("data.page.text")],
            rows=found.unreadable.examples,
            title=message("data.page.unreadable", count=f"{found.unreadable.count:,}"),
            note=message("data.page.encodings", encodings=encodings) if encodings else "",
        )
    names = {f"data.reason.{name}": odd for name, odd in found.dropped.items() if name in ("empty", "damaged")}
    names |= {f"data.odd.{name}": odd for name, odd in found.odd.items() if name not in found.dropped}
    yield from _odds({key: odd for key, odd in names.items() if odd.count})


def _personal(found: Survey) -> Iterator[Section]:
    yield from _odds({f"data.kind.{kind}": odd for kind, odd in found.personal.items()})
    if found.personal:
        yield Note(text=message("data.page.masked"), kind="note")


def _odds(odds: Mapping[str, Odd]) -> Iterator[Table]:
    if odds:
        rows = []
        for key, odd in odds.items():
            for number, (place, text) in enumerate(odd.examples):
                rows.append(("" if number else message(key), None if number else odd.count, place, text))
        heads = _heads()
        yield Table(columns=[message("data.page.what"), *heads], rows=rows)


def _first(odd: Odd) -> tuple[str, str]:
    return odd.examples[0] if odd.examples else ("", "")


def _heads() -> list[Label]:
    return [message("data.page.rows"), message("data.page.place"), message("data.page.text")]


def _how(found: Survey) -> Text:
    recall = 1 - (1 - found.likeness**ROWS) ** BANDS
    values = {"likeness": f"{found.likeness:g}", "cjk": WIDTH_CJK, "width": WIDTH, "recall": f"{recall:.1%}"}
    return Text(
        paragraphs=[
            message("data.page.how_same"),
            message("data.page.how_near", **values),
            message("data.page.how_language"),
            message("data.page.how_personal"),
        ]
    )
