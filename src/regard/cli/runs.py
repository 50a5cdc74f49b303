"""`regard runs`: the runs of a folder, one of them in full, or what sets two apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import Verbs, answer, argument
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

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
def show(run: str) -> None:
    from regard.train.run import Run

    found = Run.open(run)
    updates, scores = found.updates(), found.scores()
    document = {**summary(found), "history": found.history(), "updates": updates, "scores": scores}
    answer(document, lambda screen: draw(screen, found, updates, scores))


@command.verb("diff")
@argument("one", type=click.Path())
@argument("other", type=click.Path())
def diff(one: str, other: str) -> None:
    from regard.train.recipe import differences
    from regard.train.run import Run

    left, right = Run.open(one), Run.open(other)
    changed = {key: [a, b] for key, a, b in differences(left.recipe, right.recipe)}
    reached = [summary(left), summary(right)]
    results = {key: [reached[0][key], reached[1][key]] for key in ("step", "loss", "best", "hours")}
    answer(
        {"runs": [one, other], "recipe": changed, "results": results},
        lambda screen: compare(screen, [one, other], {**changed, **results}),
    )


def show_all(folder: str) -> None:
    """Every run of a folder, a line each; one that cannot be read says why in its line."""
    from regard.errors import RegardError
    from regard.train.run import runs

    found: list[dict[str, Any]] = []
    for run in runs(folder):
        try:
            found.append(summary(run))
        except RegardError as error:
            found.append({"run": str(run.folder), "status": "unreadable", "why": str(error)})
    answer({"folder": folder, "runs": found}, lambda screen: table(screen, folder, found))


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


def table(screen: Console, folder: str, found: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not found:
        screen.print(say("cli_runs.none", folder=folder), markup=False)
        return
    grid = Table(box=None, pad_edge=False)
    for name in ("run", "task", "steps", "loss", "best", "size", "status"):
        side = "right" if name in ("steps", "loss", "size") else "left"
        grid.add_column(say(f"cli_runs.column.{name}"), justify=side)
    for line in found:
        name = Text(Path(line["run"]).name)
        if "why" in line:
            grid.add_row(name, Text(line["why"]))
            continue
        steps = f"{line['step']:,}/{line['steps']:,}"
        size = f"{line['bytes'] / 1e6:,.1f} MB"
        status = say(f"cli_runs.status.{line['status']}")
        grid.add_row(name, line["task"], steps, number(line["loss"]), score(line["best"]), size, status)
    screen.print(grid)


def draw(screen: Console, run: Run, updates: list[dict[str, Any]], scores: list[dict[str, Any]]) -> None:
    """A run in full: what it is, and its curves."""
    from regard.report.terminal import sparkline

    line = summary(run)
    said = {"status": say(f"cli_runs.status.{line['status']}"), "hours": f"{line['hours']:.2f}"}
    lines = [f"{run.folder}  {run.recipe.about.title}", f"{line['task']}, {line['family']}, {run.recipe.data.train}"]
    lines.append(say("cli_runs.progress", step=line["step"], steps=line["steps"], **said))
    if updates:
        losses = [update["loss"] for update in updates]
        lines += ["", say("cli_runs.curve", name="loss", first=losses[0], last=losses[-1]), sparkline(losses)]
    if scores:
        name = next(iter(scores[0]["held_out"]))
        values = [math.nan if (value := entry["held_out"][name]["value"]) is None else value for entry in scores]
        lines += ["", say("cli_runs.curve", name=name, first=values[0], last=values[-1]), sparkline(values)]
        lines.append(say("cli_runs.best", score=score(line["best"])))
    screen.print("\n".join(lines), markup=False, soft_wrap=True)


def compare(screen: Console, names: list[str], rows: dict[str, list[Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    grid = Table("", *(escape(name) for name in names), box=None, pad_edge=False)
    for key, pair in rows.items():
        shown = [score(value) if key == "best" else number(value) for value in pair]
        grid.add_row(key, *(Text(value) for value in shown))
    screen.print(grid)


def score(best: dict[str, Any] | None) -> str:
    return "-" if best is None else f"{best['name']} {best['value']:.4g} ({best['step']:,})"


def number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
