"""`regard eval`: a model's scores on held-out data, beside what the same data give without a Transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb
from regard.cli.languages import between, language_options
from regard.cli.mistakes import Mistake
from regard.words import say

if TYPE_CHECKING:
    from regard.data.sources import Source
    from regard.report.sections import Chapter
    from regard.tasks.compare import Difference
    from regard.tasks.scores import Result
    from regard.train.assess import Subject

COLUMNS = ("text", "label", "source", "target")
FURTHER = ("robust", "slices", "calibration")

Remarks = list[tuple[str, dict[str, Any]]]  # sentences of the message table with their values
Findings = tuple[dict[str, Any], list["Chapter"], Remarks]  # as plain values, as it is read, what must be known


@verb("eval")
@argument("models", type=click.Path(), nargs=-1, required=True, metavar="MODEL...")
@option("--data")
@option("--train")
@option("--text")
@option("--label")
@option("--source")
@option("--target")
@language_options
@option("--rows", type=click.IntRange(1))
@option("--no-baselines", is_flag=True)
@option("--robust", is_flag=True)
@option("--strength", type=click.FloatRange(0, 1, min_open=True), default=0.1, show_default=True)
@option("--slices", is_flag=True)
@option("--calibration", is_flag=True)
@option("--html", type=click.Path(dir_okay=False))
@option("--png", type=click.Path(dir_okay=False))
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(models: tuple[str, ...], html: str | None, png: str | None, **options: Any) -> None:
    from regard.cli import reports
    from regard.cli.machine import chosen
    from regard.report.sections import Note, Report, message
    from regard.train import assess

    if len(models) > 1 and any(options[name] for name in FURTHER):
        raise Mistake("cli_eval.one_at_a_time")
    machine = chosen(*(options[name] for name in ("device", "dtype", "threads")))
    spoken = options["source_language"], options["target_language"]
    subjects = [assess.subject(path, lambda loaded: between(loaded, *spoken), **machine) for path in models]
    assess.refuse_unlike(subjects)
    held_out, name = assess.held_out(subjects, options["data"], {column: options[column] for column in COLUMNS})
    rows = some(held_out, options["rows"])
    document: dict[str, Any] = {"model": models[0] if len(models) == 1 else list(models), "data": name}
    document |= {"task": subjects[0].task.name, "rows": len(rows), "primary": subjects[0].task.primary}
    if len(subjects) == 1:
        more, chapters, remarks = _alone(subjects[0], rows, options)
    else:
        more, chapters, remarks = _together(subjects, rows)
    if options["data"] is not None:
        remarks += learnt(subjects, rows)
    report = Report(
        title=message("cli_eval.title", data=name, examples=len(rows)),
        facts=[(message("tasks.page.model"), ", ".join(models)), (message("tasks.page.task"), subjects[0].task.name)],
        sections=[*chapters, *(Note(text=message(key, **values)) for key, values in remarks)],
    )
    reports.write(report, html, png)
    said = [say(key, **values) for key, values in remarks]
    answer({**document, **more, "remarks": said}, lambda screen: reports.show(report, screen))


def _alone(subject: Subject, rows: Sequence[Any], options: Mapping[str, Any]) -> Findings:
    """One model: its scores beside the baselines, and whatever else was asked for."""
    from regard.report.sections import Text, message
    from regard.tasks import page, robustness

    if options["robust"]:
        robustness.column_of(subject.task)  # refused before anything is computed
    result = scored(subject, rows)
    further, chapters = _further(subject, rows, result, options)
    known = None if options["no_baselines"] else _known(subject, options)
    baselines: list[Result] = []
    if known is not None:
        with notes().status(say("cli_eval.baselines")):
            baselines = subject.task.baselines(known, rows)
    results = [*baselines, result]
    document = {"results": [each.to_dict() for each in results], **further}
    scores = page.scores(results)
    if baselines:
        name, found = _against(baselines, result)
        document["against_baseline"] = {"baseline": name, **found.to_dict()}
        verdict = message("tasks.page.against", baseline=page.method(name), verdict=page.verdict(found))
        chapters = [page.also(scores, Text(paragraphs=[verdict])), *chapters]
    else:
        chapters = [scores, *chapters]
    return document, chapters, _remarks(result, baselines=known is not None or options["no_baselines"])


def _together(subjects: Sequence[Subject], rows: Sequence[Any]) -> Findings:
    """Several runs of one recipe: how their scores spread."""
    from regard.report.sections import Chapter
    from regard.tasks import page
    from regard.tasks.compare import spread

    results = [scored(subject, rows) for subject in subjects]
    found = [spread(name, [each.values[name] for each in results]) for name in results[0].values]
    table = page.runs([subject.path for subject in subjects], results)
    document = {
        "results": [{**each.to_dict(), "name": one.path} for one, each in zip(subjects, results, strict=True)],
        "spread": [each.to_dict() for each in found],
    }
    chapter = Chapter(title=page.seeds_title(len(subjects)), sections=[page.seeds(found), table])
    return document, [chapter], _unlike(subjects)


def _further(subject: Subject, rows: Sequence[Any], result: Result, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """(as plain values, as chapters): what was asked for beside the scores."""
    from regard.tasks import calibration, disturb, page, robustness, slices

    document: dict[str, Any] = {}
    chapters: list[Chapter] = []
    if options["calibration"]:
        sure = calibration.calibration(result.outcome)
        document["calibration"] = sure.to_dict()
        chapters.append(page.calibration(sure))
    if options["robust"]:
        with counting(len(rows) * len(disturb.DISTURBANCES)) as progress:
            found = robustness.robustness(
                subject.task, subject.bundle.model, rows, result, strength=options["strength"], progress=progress
            )
        document["robustness"] = found.to_dict()
        chapters.append(page.robustness(found))
    if options["slices"]:
        parts = slices.slices(result, rows)
        document["slices"] = [one.to_dict() for one in parts]
        chapters.append(page.slices(parts))
    return document, chapters


def _known(subject: Subject, options: Mapping[str, Any]) -> Source | None:
    """What the baselines learn from: data that were named, else the run's own."""
    from regard.data import sources
    from regard.train import setup

    if options["train"] is not None:
        reading = subject.run.recipe.data.reading if subject.run else {}
        given = {name: options[name] for name in COLUMNS if options[name] is not None}
        return sources.open(options["train"], **{**reading, **given})
    return None if subject.run is None else setup.rows(subject.run.recipe.data)[0]


def _against(baselines: Sequence[Result], result: Result) -> tuple[str, Difference]:
    """The best baseline by name, and what sets the model apart from it."""
    from regard.tasks.compare import compare

    best = min(baselines, key=lambda each: sum(other.better_than(each) for other in baselines))
    return best.name, compare(best, result)[0]


def _remarks(scored: Result, *, baselines: bool) -> Remarks:
    """What a reader of the figures must know."""
    remarks: Remarks = [("cli_eval.interval", {})]
    if scored.cut:
        remarks.append(("cli_eval.cut", {"tokens": scored.cut}))
    if scored.details.get("unknown_characters"):
        remarks.append(("cli_eval.unknown", {"count": scored.details["unknown_characters"]}))
    if not scored.details.get("lossless", True):
        remarks.append(("cli_eval.not_lossless", {}))
    if not baselines:
        remarks.append(("cli_eval.no_training_data", {}))
    return remarks


def _unlike(subjects: Sequence[Subject]) -> Remarks:
    """What sets runs apart that should differ in their seed alone."""
    from regard.train.recipe import differences

    recipes = [one.run.recipe for one in subjects if one.run is not None]
    keys = {key for other in recipes[1:] for key, _, _ in differences(recipes[0], other)}
    more = sorted(key for key in keys if key != "train.seed" and not key.startswith("about."))
    return [("cli_eval.unlike", {"keys": ", ".join(more)})] if more else []


def learnt(subjects: Sequence[Subject], rows: Sequence[Any]) -> Remarks:
    """A remark for each model that was trained on some of these rows."""
    from regard.train import assess

    found = [(one.path, assess.learnt(one, rows)) for one in subjects]
    return [("cli_eval.learnt", {"model": path, "count": count}) for path, count in found if count]


def some(rows: Any, most: int | None) -> list[Any]:
    """At most so many of the rows, always the same, read once."""
    from regard.data import order

    numbers = (
        range(len(rows)) if most is None or len(rows) <= most else sorted(order.permutation(0, 0, len(rows))[:most])
    )
    return [rows[int(number)] for number in numbers]


def scored(subject: Subject, rows: Sequence[Any]) -> Result:
    """The model's result on the rows, with a bar while it is found."""
    with counting(len(rows)) as progress:
        return subject.task.evaluate(subject.bundle.model, rows, progress=progress)


@contextmanager
def counting(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr that counts rows."""
    from rich.progress import Progress

    with Progress(console=notes(), transient=True) as bar:
        line = bar.add_task(say("cli_eval.scoring"), total=total)
        yield lambda done: bar.update(line, advance=done)
