"""`regard runs`: the runs of a folder, one of them in full, what sets two apart, and the disk they take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import Verbs, answer, argument, notes, option, wants_json
from regard.cli.mistakes import Mistake
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.report.sections import Report, Section
    from regard.train.run import Run


class Runs(Verbs):
    """Alone it lists the runs of the folder that they are in by default."""

    def alone(self, ctx: click.Context) -> None:
        show_all("runs")


command = Runs("runs", table="cli_runs")


@command.verb("list")
@argument("folder", type=click.Path(), default="runs")
def list_(folder: str) -> None:
    show_all(folder)


@command.verb("show")
@argument("run", type=click.Path())
@option("--html", type=click.Path(dir_okay=False))
def show(run: str, html: str | None) -> None:
    from regard.cli import reports
    from regard.train.run import Run

    found = Run.open(run)
    updates, scores, history = found.updates(), found.scores(), found.history()
    document = {**summary(found), "history": history, "updates": updates, "scores": scores}
    report = in_full(found, updates, scores, history)
    reports.write(report, html, None)
    answer(document, lambda screen: reports.show(report, screen))


@command.verb("diff")
@argument("one", type=click.Path())
@argument("other", type=click.Path())
@option("--no-scores", is_flag=True)
def diff(one: str, other: str, no_scores: bool) -> None:
    from regard.cli.diff import compare

    compare(one, other, {"no_scores": no_scores})


@command.verb("rm")
@argument("runs", type=click.Path(), nargs=-1, required=True, metavar="RUN...")
@option("--checkpoints", is_flag=True)
@option("--yes", is_flag=True)
def rm(runs: tuple[str, ...], checkpoints: bool, yes: bool) -> None:
    from regard.train import remove
    from regard.train.run import Run

    found = [Run(path) for path in dict.fromkeys(runs)]
    for run in found:  # all of them, before anything is asked or deleted
        remove.refuse(run)
    parts = {run: remove.spare(run) if checkpoints else [run.folder] for run in found}
    taken = {run: sum(map(remove.size, paths)) for run, paths in parts.items()}
    if not yes and any(parts.values()):
        ask({str(run.folder): taken[run] for run in found}, checkpoints)
    freed = {}
    for run in found:
        freed[str(run.folder)] = remove.thin(run, warn) if checkpoints else remove.remove(run)
    swept = sum(sweep(folder) for folder in dict.fromkeys(run.folder.resolve().parent for run in found))
    key = "cli_runs.thinned" if checkpoints else "cli_runs.removed"
    lines = [say(key, run=run, size=megabytes(count)) for run, count in freed.items()]
    lines += [say("cli_runs.swept", size=megabytes(swept))] if swept else []
    document = {"checkpoints": checkpoints, "freed": freed, "left_over": swept}
    answer(document, lambda screen: screen.print("\n".join(lines), markup=False, soft_wrap=True))


def ask(taken: dict[str, int], checkpoints: bool) -> None:
    """Leave unless somebody says yes."""
    if wants_json() or not sys.stdin.isatty():
        raise Mistake("cli_runs.needs_yes")
    for run, count in taken.items():
        notes().print(f"  {run}  {megabytes(count)}", markup=False, soft_wrap=True)
    key = "cli_runs.ask_checkpoints" if checkpoints else "cli_runs.ask"
    if not click.confirm(say(key, size=megabytes(sum(taken.values()))), err=True):
        raise click.exceptions.Exit(1)


def sweep(folder: Path) -> int:
    """Delete what interrupted deletions left; the bytes that it took."""
    import shutil

    from regard.train import remove

    total = 0
    for left in remove.left_over(folder):
        total += remove.size(left)
        shutil.rmtree(left)
    return total


def warn(error: Exception) -> None:
    notes().print(str(error), markup=False, soft_wrap=True)


def show_all(folder: str) -> None:
    """Every run of a folder, a line each; one that cannot be read says why in its line."""
    from regard.errors import RegardError
    from regard.train import remove
    from regard.train.run import runs

    found: list[dict[str, Any]] = []
    for run in runs(folder):
        try:
            found.append({**summary(run), "spare": sum(map(remove.size, remove.spare(run)))})
        except RegardError as error:
            found.append({"run": str(run.folder), "status": "unreadable", "why": str(error), "bytes": run.size})
    left = sum(map(remove.size, remove.left_over(Path(folder))))
    disk = {"bytes": sum(line["bytes"] for line in found) + left, "left_over": left}
    disk["spare"] = sum(line.get("spare", 0) for line in found) + left
    answer({"folder": folder, "runs": found, **disk}, lambda screen: table(screen, folder, found, disk))


def summary(run: Run) -> dict[str, Any]:
    updates, best = run.updates(), run.best()
    return {
        "run": str(run.folder),
        "status": run.status,
        "task": run.recipe.task_name,
        "family": run.recipe.model.get("family"),
        "step": len(updates),
        "steps": run.recipe.train.steps,
        "loss": updates[-1]["loss"] if updates else None,
        "best": None if best is None else {"name": best[0], "value": best[1], "step": best[2]},
        "hours": sum(line["seconds"] for line in updates) / 3600,
        "bytes": run.size,
    }


def table(screen: Console, folder: str, found: list[dict[str, Any]], disk: dict[str, int]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not found:
        screen.print(say("cli_runs.none", folder=folder), markup=False)
    else:
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("run", "task", "steps", "loss", "best", "size", "spare", "status"):
            side = "right" if name in ("steps", "loss", "size", "spare") else "left"
            grid.add_column(say(f"cli_runs.column.{name}"), justify=side)
        for line in found:
            name = Text(Path(line["run"]).name)
            if "why" in line:
                grid.add_row(name, Text(line["why"]))
                continue
            steps = f"{line['step']:,}/{line['steps']:,}"
            status = say(f"cli_runs.status.{line['status']}")
            sizes = [megabytes(line[key]) if line[key] else "-" for key in ("bytes", "spare")]
            grid.add_row(name, line["task"], steps, number(line["loss"]), best(line["best"]), *sizes, status)
        screen.print(grid)
        screen.print()
        screen.print(say("cli_runs.disk", size=megabytes(disk["bytes"])), markup=False, soft_wrap=True)
    if disk["spare"]:
        said = say("cli_runs.could_free", size=megabytes(disk["spare"]), folder=folder)
        screen.print(said, markup=False, soft_wrap=True)


def in_full(run: Run, updates: list[dict[str, Any]], scores: list[dict[str, Any]], history: list[Any]) -> Report:
    """A run in full: what it is, its curves, what happened to it, what it takes on the disk."""
    from regard.report.sections import Report, message

    line = summary(run)
    status = message(f"cli_runs.status.{line['status']}")
    hours = f"{line['hours']:.2f}"
    progress = message("cli_runs.progress", step=line["step"], steps=line["steps"], status=status, hours=hours)
    recipe = run.recipe
    facts = [(message("cli_runs.column.task"), f"{line['task']}, {line['family']}")]
    facts += [(message("cli_runs.data"), recipe.data.train), (message("cli_runs.column.status"), progress)]
    facts += [(message("cli_runs.column.best"), best(line["best"]))] if scores else []
    title = f"{run.folder}  {recipe.about.title}".strip()
    sections = [*curves(updates, scores), happened(history), *disk(run)]
    return Report(title=title, facts=facts, sections=sections)


def curves(updates: list[dict[str, Any]], scores: list[dict[str, Any]]) -> list[Section]:
    """The loss of every update, and the primary score of every scoring with its interval."""
    from regard.report.sections import Curve, Curves, message

    found: list[Section] = []
    step = message("cli_runs.column.steps")
    if updates:
        loss = message("cli_runs.column.loss")
        curve = Curve(name=loss, x=[line["step"] for line in updates], y=[line["loss"] for line in updates])
        ends = {"first": f"{updates[0]['loss']:.4g}", "last": f"{updates[-1]['loss']:.4g}"}
        title = message("cli_runs.curve", name=loss, **ends)
        found.append(Curves(title=title, curves=[curve], x=step))
    if scores:
        name = next(iter(scores[0]["held_out"]))
        lines = [entry["held_out"][name] for entry in scores]
        parts = {
            key: [float("nan") if one[key] is None else one[key] for one in lines] for key in ("value", "low", "high")
        }
        label = message(f"tasks.score.{name}")
        curve = Curve(
            name=label, x=[entry["step"] for entry in scores], y=parts["value"], low=parts["low"], high=parts["high"]
        )
        ends = {"first": f"{parts['value'][0]:.4g}", "last": f"{parts['value'][-1]:.4g}"}
        title = message("cli_runs.curve", name=label, **ends)
        found.append(Curves(title=title, curves=[curve], x=step, note=message("cli_runs.band")))
    return found


def happened(history: list[dict[str, Any]]) -> Section:
    """When it was started, stopped, resumed, finished."""
    from regard.report.sections import Table, message

    rows = []
    for line in history:
        versions = line.get("versions", {})
        what = {key: versions[key] for key in ("regard", "torch") if key in versions}
        what |= {key: line[key] for key in ("step", "best_step", "run") if line.get(key) is not None}
        told = ", ".join(f"{key} {value}" for key, value in what.items())
        rows.append((line["time"][:19].replace("T", " "), message(f"cli_runs.event.{line['event']}"), told))
    columns = [message(f"cli_runs.history.{name}") for name in ("time", "event", "what")]
    return Table(title=message("cli_runs.history.title"), columns=columns, rows=rows)


def disk(run: Run) -> list[Section]:
    """What it takes, part by part, and what could be freed."""
    from regard.report.sections import Note, Table, message
    from regard.train import remove

    parts = {path.name: remove.size(path) for path in sorted(run.folder.iterdir())}
    rows = [(name, megabytes(count)) for name, count in sorted(parts.items(), key=lambda one: -one[1])[:5]]
    columns = ["", message("cli_runs.column.size")]
    found: list[Section] = [
        Table(title=message("cli_runs.on_disk", size=megabytes(run.size)), columns=columns, rows=rows)
    ]
    spare = remove.spare(run)
    if spare:
        free = megabytes(sum(map(remove.size, spare)))
        found.append(Note(text=message("cli_runs.spare", count=len(spare), size=free, run=run.folder.as_posix())))
    return found


def best(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{found['name']} {found['value']:.4g} ({found['step']:,})"


def number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def megabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
