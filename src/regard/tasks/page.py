"""What scorings and their comparisons look like in a report: for the terminal, the page and the picture alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regard.report.sections import (
    Bar,
    Bars,
    Cell,
    Chapter,
    Curve,
    Curves,
    Label,
    Note,
    Section,
    Table,
    message,
)
from regard.tasks.calibration import Calibration
from regard.tasks.compare import Difference, Spread
from regard.tasks.robustness import Robustness
from regard.tasks.scores import Result, Score
from regard.tasks.slices import ENOUGH, Slice


def scores(results: Sequence[Result]) -> Chapter:
    """Every method beside the others, the best marked."""
    names = list(results[-1].values)
    best = min(results, key=lambda each: sum(other.better_than(each) for other in results))
    columns = [message("tasks.page.method"), score_name(names[0]), message("tasks.page.range")]
    rows = [_row(each, names) for each in results]
    bars = [
        Bar(
            name=method(one.name),
            value=one.primary.value,
            low=one.primary.low,
            high=one.primary.high,
            marked=one is best,
        )
        for one in results
    ]
    sections: list[Section] = [
        Table(columns=[*columns, *map(score_name, names[1:])], rows=rows, marked=[results.index(best)]),
        Bars(title=score_name(names[0]), bars=bars),
    ]
    return Chapter(title=message("tasks.page.scores"), sections=sections)


def also(chapter: Chapter, *sections: Section) -> Chapter:
    """The chapter with more at its end."""
    return replace(chapter, sections=[*chapter.sections, *sections])


def calibration(found: Calibration) -> Chapter:
    said, right = _mean(found), _mean(found) - found.gap.value
    values = {"said": percent(said), "right": percent(right), "examples": found.examples}
    gap = found.gap
    if not found.real:
        verdict = Note(text=message("tasks.calibration.fine", **values), kind="good")
    elif gap.low is not None and gap.low > 0:
        verdict = Note(text=message("tasks.calibration.over", **values), kind="bad")
    elif gap.high is not None and gap.high < 0:
        verdict = Note(text=message("tasks.calibration.under", **values), kind="bad")
    else:
        verdict = Note(text=message("tasks.calibration.off", **values), kind="bad")
    return Chapter(
        title=message("tasks.calibration.title"),
        about=message("tasks.calibration.about"),
        sections=[verdict, _reliability(found), _errors(found), _bins(found)],
    )


def robustness(found: Robustness) -> Chapter:
    name = score_name(found.clean.name)
    columns: list[Label] = [message("tasks.robustness.kind"), message("tasks.robustness.changed"), name]
    columns += [message("tasks.robustness.drop"), message("tasks.page.range"), message("tasks.robustness.noise")]
    clean, score = message("tasks.robustness.clean"), found.clean
    rows: list[Sequence[Cell]] = [(clean, None, digits(score.name, score.value), None, _range(score), None)]
    bars = [Bar(name=clean, value=score.value, low=score.low, high=score.high, marked=True)]
    for one in sorted(found.disturbed, key=lambda one: one.drop.gain):
        kind, drop = message(f"tasks.robustness.kinds.{one.kind}"), one.drop
        real = message("tasks.robustness.yes") if drop.real else message("tasks.robustness.no")
        ends = f"{signed(drop.name, drop.low)} – {signed(drop.name, drop.high)}"
        rows.append((kind, one.changed, digits(score.name, one.score.value), signed(drop.name, drop.value), ends, real))
        bars.append(Bar(name=kind, value=one.score.value, low=one.score.low, high=one.score.high))
    sections: list[Section] = [
        Table(title=message("tasks.robustness.table"), columns=columns, rows=rows, marked=[0]),
        Bars(title=message("tasks.robustness.bars"), bars=bars, unit=name),
    ]
    if found.idle:
        kinds = [message(f"tasks.robustness.kinds.{kind}") for kind in found.idle]
        sections += [Note(text=message("tasks.robustness.idle", kinds=kind)) for kind in kinds]
    about = message("tasks.robustness.about", share=percent(found.strength, 0), column=found.column, seed=found.seed)
    return Chapter(title=message("tasks.robustness.title"), about=about, sections=sections)


def slices(found: Sequence[Slice]) -> Chapter:
    title = message("tasks.slices.title")
    if not found:
        return Chapter(title=title, sections=[Note(text=message("tasks.slices.none"))])
    name = score_name(found[0].score.name)
    columns = [message("tasks.slices.kind"), message("tasks.slices.value"), message("tasks.page.examples"), name]
    columns += [message("tasks.page.range"), message("tasks.slices.verdict")]
    rows = [
        (
            message(f"tasks.slices.kinds.{one.kind}"),
            one.value,
            one.examples,
            digits(one.score.name, one.score.value),
            _range(one.score),
            message("tasks.slices.verdicts.small", enough=ENOUGH)
            if one.verdict == "small"
            else message(f"tasks.slices.verdicts.{one.verdict}"),
        )
        for one in found
    ]
    marked = [at for at, one in enumerate(found) if one.verdict == "worse"]
    table = Table(columns=columns, rows=rows, marked=marked)
    return Chapter(title=title, about=message("tasks.slices.about", score=name), sections=[table])


def differences(found: Sequence[Difference], one: Label, other: Label) -> Table:
    """Two models, score by score; the rows that are more than noise are marked."""
    columns = [message("tasks.compare.score"), one, other, message("tasks.compare.difference")]
    columns += [message("tasks.page.range"), message("tasks.compare.p")]
    rows = [
        (
            score_name(each.name),
            digits(each.name, each.one),
            digits(each.name, each.other),
            signed(each.name, each.value),
            f"{signed(each.name, each.low)} – {signed(each.name, each.high)}",
            p_value(each.p),
        )
        for each in found
    ]
    return Table(
        title=message("tasks.compare.title", one=one, other=other, examples=found[0].examples),
        columns=columns,
        rows=rows,
        marked=[at for at, each in enumerate(found) if each.real],
        note=message("tasks.compare.note"),
    )


def verdict(found: Difference) -> Label:
    """One sentence: is `other` better, worse, or is it noise."""
    if not found.real:
        kind, gain = "noise", signed(found.name, found.value)
        low, high = signed(found.name, found.low), signed(found.name, found.high)
    else:
        kind, gain = ("better" if found.gain > 0 else "worse"), digits(found.name, abs(found.value))
        ends = (found.low, found.high) if found.value > 0 else (-found.high, -found.low)
        low, high = (digits(found.name, end) for end in ends)
    p = p_value(found.p) if found.p < 0.001 else f"= {p_value(found.p)}"
    return message(f"tasks.verdict.{kind}", gain=gain, low=low, high=high, p=p, examples=found.examples)


def seeds(found: Sequence[Spread]) -> Table:
    """Several trainings of one recipe, score by score."""
    count = len(found[0].values)
    heads = ("mean", "deviation", "lowest", "highest")
    columns = [message("tasks.compare.score"), *(message(f"tasks.seeds.{head}") for head in heads)]
    columns.insert(2, message("tasks.page.range"))
    rows = []
    for one in found:
        ends = (
            "" if one.low is None or one.high is None else f"{digits(one.name, one.low)} – {digits(one.name, one.high)}"
        )
        deviation = None if one.deviation is None else digits(one.name, one.deviation)
        least, most = digits(one.name, min(one.values)), digits(one.name, max(one.values))
        rows.append((score_name(one.name), digits(one.name, one.mean), ends, deviation, least, most))
    note = message("tasks.seeds.note", count=count)
    return Table(columns=columns, rows=rows, marked=[0], note=note)


def seeds_title(count: int) -> Label:
    return message("tasks.seeds.title", count=count)


def runs(names: Sequence[str], results: Sequence[Result]) -> Table:
    """The scores of several models, a line each."""
    scores = list(results[0].values)
    columns = [message("tasks.page.model"), score_name(scores[0]), message("tasks.page.range")]
    rows = [[name, *_row(each, scores)[1:]] for name, each in zip(names, results, strict=True)]
    return Table(columns=[*columns, *map(score_name, scores[1:])], rows=rows)


def score_name(name: str) -> Label:
    return message(f"tasks.score.{name}")


def method(name: str) -> Label:
    return message(f"tasks.method.{name}")


def digits(name: str, value: float) -> str:
    return f"{value:.1f}" if name in ("chrf", "bleu", "perplexity") else f"{value:.3f}"


def signed(name: str, value: float) -> str:
    text = digits(name, value)
    return text if text.startswith("-") else f"+{text}"


def percent(share: float, places: int = 1) -> str:
    return f"{100 * share:.{places}f} %"


def p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _row(result: Result, names: Sequence[str]) -> list[Cell]:
    values = result.values
    others = [digits(name, values[name]) if name in values else None for name in names[1:]]
    return [method(result.name), digits(names[0], result.primary.value), _range(result.primary), *others]


def _range(score: Score) -> str:
    if score.low is None or score.high is None:
        return ""
    return f"{digits(score.name, score.low)} – {digits(score.name, score.high)}"


def _mean(found: Calibration) -> float:
    """Mean confidence."""
    return sum(one.confidence * one.count for one in found.curve) / found.examples


def _reliability(found: Calibration) -> Curves:
    x = [one.confidence for one in found.curve]
    seen = Curve(
        name=message("tasks.calibration.seen"),
        x=x,
        y=[one.accuracy for one in found.curve],
        low=[one.accuracy_low for one in found.curve],
        high=[one.accuracy_high for one in found.curve],
    )
    return Curves(
        title=message("tasks.calibration.curve"),
        curves=[seen, Curve(name=message("tasks.calibration.ideal"), x=x, y=x)],
        x=message("tasks.calibration.confidence"),
        y=message("tasks.calibration.accuracy"),
        note=message("tasks.calibration.curve_note"),
    )


def _errors(found: Calibration) -> Table:
    measures = (
        ("ece_mass", found.mass, found.mass_chance),
        ("ece_width", found.width, found.width_chance),
        ("gap", found.gap, None),
        ("brier", found.brier, None),
    )
    heads = ("measure", "value", "interval", "chance")
    rows: list[list[Cell]] = []
    for name, score, chance in measures:
        row: list[Cell] = [message(f"tasks.calibration.{name}"), f"{score.value:.3f}", _range(score)]
        rows.append([*row, None if chance is None else f"{chance:.3f}"])
    return Table(
        title=message("tasks.calibration.figures"),
        columns=[message(f"tasks.calibration.{head}") for head in heads],
        rows=rows,
        note=message("tasks.calibration.figures_note"),
    )


def _bins(found: Calibration) -> Table:
    heads = [message(f"tasks.calibration.{head}") for head in ("from", "to", "confidence", "accuracy")]
    rows = [
        (
            f"{one.low:.3f}",
            f"{one.high:.3f}",
            f"{one.confidence:.3f}",
            f"{one.accuracy:.3f}",
            f"{one.accuracy_low:.3f} – {one.accuracy_high:.3f}",
            one.count,
        )
        for one in found.curve
    ]
    return Table(
        title=message("tasks.calibration.bins"),
        columns=[*heads, message("tasks.page.range"), message("tasks.page.examples")],
        rows=rows,
    )
