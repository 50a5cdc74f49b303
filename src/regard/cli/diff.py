"""`regard diff`: what sets two runs apart, and whether one is better by more than noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, option, verb
from regard.words import language, say

if TYPE_CHECKING:
    from regard.report.sections import Section
    from regard.train.run import Run


@verb("diff")
@argument("one", type=click.Path())
@argument("other", type=click.Path())
@option("--data")
@option("--text")
@option("--label")
@option("--source")
@option("--target")
@option("--rows", type=click.IntRange(1))
@option("--no-scores", is_flag=True)
@option("--html", type=click.Path(dir_okay=False))
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(one: str, other: str, **options: Any) -> None:
    compare(one, other, options)


def compare(one: str, other: str, options: Mapping[str, Any]) -> None:
    """Answer with everything that sets `one` and `other` apart; `options` are those of the verb, by name."""
    from regard.cli import reports
    from regard.report.sections import Note, Report, message
    from regard.train.run import Run

    runs = [Run(path) for path in (one, other)]
    document: dict[str, Any] = {"runs": [one, other]}
    sections: list[Any] = []
    if all(run.exists for run in runs):
        found, tables = _recipes(runs)
        document |= found
        sections += tables
    elif not any(run.exists for run in runs) and options.get("data") is None:
        Run.open(one if not runs[0].exists else other)  # refuses it by name
    unfinished = [str(run.folder) for run in runs if run.exists and not run.model.is_dir()]
    if unfinished:
        remark = message("cli_diff.unfinished", runs=", ".join(unfinished))
        sections.append(Note(text=remark, kind="caution"))
        document["remarks"] = [remark.spoken(language())]
    elif not options.get("no_scores"):
        found, more = _scores(one, other, options)
        document |= found
        sections += more
    report = Report(title=message("cli_diff.title", one=one, other=other), sections=sections)
    reports.write(report, options.get("html"), None)
    answer(document, lambda screen: reports.show(report, screen))


def _recipes(runs: Sequence[Run]) -> tuple[dict[str, Any], list[Section]]:
    """Which settings differ, and what each run came to."""
    from regard.cli.runs import best, number, summary
    from regard.report.sections import Note, Table, message
    from regard.train.recipe import differences

    changed = {key: [a, b] for key, a, b in differences(runs[0].recipe, runs[1].recipe)}
    reached = [summary(run) for run in runs]
    results = {key: [each[key] for each in reached] for key in ("step", "loss", "best", "hours")}
    names = [str(run.folder) for run in runs]
    rows = [[key, *(number(value) for value in pair)] for key, pair in changed.items()]
    settings: Section = Note(text=message("cli_diff.same"))
    if rows:
        settings = Table(title=message("cli_diff.settings"), columns=["", *names], rows=rows)
    lines = [
        [message(f"cli_diff.reached.{key}"), *(best(value) if key == "best" else number(value) for value in pair)]
        for key, pair in results.items()
    ]
    progress = Table(title=message("cli_diff.progress"), columns=["", *names], rows=lines)
    return {"recipe": changed, "results": results}, [settings, progress]


def _scores(one: str, other: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Section]]:
    """Both models on the same rows: each score with its difference, and one sentence on the primary one."""
    from regard.cli.eval import COLUMNS, learnt, scored, some
    from regard.cli.machine import chosen
    from regard.report.sections import Note, message
    from regard.tasks import compare, page
    from regard.train import assess

    machine = chosen(options.get("device") or "auto", options.get("dtype") or "auto", options.get("threads"))
    subjects = [assess.subject(path, **machine) for path in (one, other)]
    assess.refuse_unlike(subjects)
    held_out, name = assess.held_out(subjects, options.get("data"), {column: options.get(column) for column in COLUMNS})
    rows = some(held_out, options.get("rows"))
    found = compare.compare(scored(subjects[0], rows), scored(subjects[1], rows))
    remarks = [(key, values) for key, values in learnt(subjects, rows)] if options.get("data") else []
    if not assess.same_tokens(subjects[0], subjects[1], rows):
        found = [each for each in found if not assess.per_token(subjects[0].task, each.name)]
        remarks.append(("cli_diff.other_tokens", {}))
    remarks.append(("cli_diff.seeds", {}))
    document: dict[str, Any] = {"data": name, "rows": len(rows), "scores": [each.to_dict() for each in found]}
    sections: list[Section] = []
    if found:
        values = {"one": one, "other": other, "score": page.score_name(found[0].name)}
        verdict = message("cli_diff.verdict", **values, verdict=page.verdict(found[0]))
        document["verdict"] = verdict.spoken(language())
        kind = "note" if not found[0].real else "good" if found[0].gain > 0 else "bad"
        sections = [page.differences(found, one, other), Note(text=verdict, kind=kind)]
    document["remarks"] = [say(key, **values) for key, values in remarks]
    return document, [*sections, *(Note(text=message(key, **values)) for key, values in remarks)]
