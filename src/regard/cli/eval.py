"""`regard eval`: a model's scores on held-out data, beside what the same data give without a Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb
from regard.cli.mistakes import Mistake
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.data.sources import Source
    from regard.tasks.base import Task
    from regard.tasks.scores import Result
    from regard.train.run import Run


@verb("eval")
@argument("model", type=click.Path())
@option("--data")
@option("--train")
@option("--text")
@option("--label")
@option("--source")
@option("--target")
@option("--rows", type=click.IntRange(1))
@option("--no-baselines", is_flag=True)
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    model: str,
    data: str | None,
    train: str | None,
    rows: int | None,
    no_baselines: bool,
    device: str,
    dtype: str,
    threads: int | None,
    **columns: Any,
) -> None:
    from regard import bundle, tasks
    from regard.cli.machine import chosen
    from regard.train.run import Run

    run = Run(model) if Run(model).exists else None
    if run is None and data is None:
        raise Mistake("cli_eval.no_data")
    loaded = bundle.load(model, **chosen(device, dtype, threads))
    task = tasks.of(loaded, run.recipe.task_settings if run else None)
    known, held_out = _sources(run, data, train, columns, alone=no_baselines)
    asked = _some(held_out, rows)
    results = [_scored(task, loaded.model, asked)]
    if known is not None and not no_baselines:
        with notes().status(say("cli_eval.baselines")):
            results = [*task.baselines(known, asked), *results]
    remarks = _remarks(results[-1], baselines=known is not None or no_baselines)
    document = {"model": model, "task": task.name, "data": held_out.name, "rows": len(asked)}
    answer(
        {**document, "primary": task.primary, "results": [each.to_dict() for each in results], "remarks": remarks},
        lambda screen: _show(screen, results, held_out.name, remarks),
    )


def _sources(
    run: Run | None, data: str | None, train: str | None, columns: dict[str, Any], *, alone: bool
) -> tuple[Source | None, Source]:
    """(what the baselines learn from, what is scored): those of the run, or those that were named."""
    from regard.data import sources
    from regard.train import setup

    known, held_out = None, None
    if run is not None:
        columns = {**run.recipe.data.reading, **{name: value for name, value in columns.items() if value is not None}}
        if data is None or (train is None and not alone):
            known, held_out = setup.rows(run.recipe.data)
    if train is not None:
        known = sources.open(train, **columns)
    if data is not None:
        held_out = sources.open(data, **columns)
    if held_out is None:
        raise Mistake("cli_eval.nothing_held_out")
    return known, held_out


def _some(source: Source, most: int | None) -> Sequence[Any]:
    from regard.train import setup

    chosen = setup.some(source, most, 0)
    return [chosen[number] for number in range(len(chosen))]


def _scored(task: Task, model: Any, rows: Sequence[Any]) -> Result:
    from rich.progress import Progress

    with Progress(console=notes(), transient=True) as bar:
        line = bar.add_task(say("cli_eval.scoring"), total=len(rows))
        return task.evaluate(model, rows, progress=lambda done: bar.update(line, advance=done))


def _remarks(scored: Result, *, baselines: bool) -> list[str]:
    """What a reader of the figures must know."""
    remarks = [say("cli_eval.interval")]
    if scored.cut:
        remarks.append(say("cli_eval.cut", tokens=scored.cut))
    if scored.details.get("unknown_characters"):
        remarks.append(say("cli_eval.unknown", count=scored.details["unknown_characters"]))
    if not scored.details.get("lossless", True):
        remarks.append(say("cli_eval.not_lossless"))
    if not baselines:
        remarks.append(say("cli_eval.no_training_data"))
    return remarks


def _show(screen: Console, results: Sequence[Result], data: str, remarks: Sequence[str]) -> None:
    from rich.table import Table

    names = list(results[-1].values)
    best = min(results, key=lambda each: sum(other.better_than(each) for other in results))
    table = Table(title=say("cli_eval.title", data=data, examples=results[-1].examples), title_justify="left")
    headings = [say(f"cli_eval.score.{name}") for name in names]
    for heading in (say("cli_eval.method"), headings[0], say("cli_eval.range"), *headings[1:]):
        table.add_column(heading, justify="right" if table.columns else "left")
    for each in results:
        primary, values = each.primary, each.values
        ends = [_digits(primary.name, end) for end in (primary.low, primary.high) if end is not None]
        others = [_digits(name, values[name]) if name in values else "" for name in names[1:]]
        method = say(f"cli_eval.names.{each.name}")
        table.add_row(
            method,
            _digits(primary.name, primary.value),
            " – ".join(ends),
            *others,
            style="bold" if each is best else "",
        )
    screen.print(table)
    for remark in remarks:
        screen.print(remark, markup=False, soft_wrap=True)


def _digits(name: str, value: float) -> str:
    return f"{value:.1f}" if name in ("chrf", "bleu", "perplexity") else f"{value:.3f}"
