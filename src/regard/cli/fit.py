"""What `regard train --fit`, `--find-batch` and `--find-lr` print: nothing is trained, no run is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.cli.command import answer, notes, wants_json
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.train.estimate import Estimate
    from regard.train.feed import Feed
    from regard.train.recipe import Recipe
    from regard.train.search import BatchFound, RateFound, Tried
    from regard.train.setup import Setup
    from regard.train.stop import Stop

GIB = 1 << 30


def fit(recipe: Recipe, folder: Path, memory: float | None, stop: Stop) -> None:
    """Print what a training would need."""
    from regard.train.estimate import estimate

    setup, feed = _ready(recipe, stop)
    found = estimate(setup, feed, folder, None if memory is None else round(memory * GIB))
    document = {**_plain(found), "fits": found.fits, "saves": found.saves}
    document["memory"]["total"], document["time"]["total"] = found.memory.total, found.time.total
    document["time"]["speed"] = found.time.speed
    answer(document, lambda screen: _show_estimate(screen, found))


def find_batch(recipe: Recipe, memory: float | None, stop: Stop) -> None:
    from regard.train import search

    def tell(tried: Tried) -> None:
        if not wants_json():
            key = "tried" if tried.speed is not None else "tried_not"
            values = {"tokens": tried.tokens, "speed": tried.speed or 0.0, "memory": _size(tried.memory)}
            notes().print(say(f"cli_train.batch.{key}", **values), markup=False)

    setup, feed = _ready(recipe, stop)
    available = None if memory is None else round(memory * GIB)
    found = search.find_batch(setup, feed, available=available, stop=stop, tell=tell)
    changes = {"train.batch.accumulate": str(found.accumulate)}
    largest = {"train.batch.tokens": str(found.largest.tokens), "train.batch.accumulate": "1"}
    document = {**_plain(found), "set": changes, "set_largest": largest}
    answer(document, lambda screen: _show_batch(screen, found, setup, changes, largest))


def find_lr(recipe: Recipe, stop: Stop) -> None:
    from regard.train import search

    setup, feed = _ready(recipe, stop)
    found = search.find_lr(setup, feed, stop=stop)
    changes = {"train.optimizer.rate": f"{found.suggested:g}"}
    answer({**_plain(found), "set": changes}, lambda screen: _show_rate(screen, found, changes))


def _ready(recipe: Recipe, stop: Stop) -> tuple[Setup, Feed]:
    from regard.train.setup import prepare

    if not wants_json():
        notes().print(say("cli_train.preparing"), markup=False)
    setup = prepare(recipe, polled=stop.poll)
    return setup, setup.feed(stop.poll)


def _show_estimate(screen: Console, found: Estimate) -> None:
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_column(style="dim")
    memory, time = found.memory, found.time
    grid.add_row(say("cli_train.needs.parameters"), f"{found.parameters:,}", _frozen(found))
    for name, value in vars(memory).items():
        if value:
            grid.add_row(say(f"cli_train.needs.{name}"), _size(value))
    grid.add_row(say("cli_train.needs.memory"), _size(memory.total), _of(memory.total, found.available), style="bold")
    grid.add_row(say("cli_train.needs.disk"), _size(found.disk), _of(found.disk, found.free))
    speed = say("cli_train.needs.speed", speed=time.speed, tokens=time.tokens)
    grid.add_row(say("cli_train.needs.step"), say("cli_train.needs.seconds", seconds=time.step), speed)
    clocks = {name: _clock(getattr(time, name)) for name in ("steps", "scoring", "saving")}
    parts = say("cli_train.needs.parts", **clocks)
    grid.add_row(say("cli_train.needs.time"), _clock(time.total), parts, style="bold")
    screen.print(grid)
    screen.print(_verdict(found), markup=False, soft_wrap=True)


def _frozen(found: Estimate) -> str:
    if found.trained == found.parameters:
        return ""
    return say("cli_train.needs.trained", trained=found.trained)


def _verdict(found: Estimate) -> str:
    from regard.train.estimate import sets

    lines = []
    if not found.fits and not found.remedies:
        lines.append(say("cli_train.needs.never", have=_size(found.available)))
    elif not found.fits:
        lines.append(say("cli_train.needs.too_much", have=_size(found.available)))
        for remedy in found.remedies:
            values = {"memory": _size(remedy.memory), "cost": f"{remedy.cost - 1:+.0%}"}
            key = "remedy_other" if "train.batch.tokens" in remedy.changes else "remedy"
            lines.append(f"  {sets(remedy.changes)}  " + say(f"cli_train.needs.{key}", **values))
    if not found.saves:
        lines.append(say("cli_train.needs.no_disk", want=_size(found.disk), free=_size(found.free)))
    return "\n".join(lines) or say("cli_train.needs.fits")


def _show_batch(
    screen: Console, found: BatchFound, setup: Setup, changes: dict[str, str], largest: dict[str, str]
) -> None:
    from regard.train.estimate import sets

    values = {"tokens": found.fastest.tokens, "speed": found.fastest.speed or 0.0}
    lines = [say("cli_train.batch.fastest", **values)]
    lines.append(say("cli_train.batch.keeps", tokens=setup.recipe.train.batch.tokens) + f"\n  {sets(changes)}")
    lines.append(say("cli_train.batch.largest", tokens=found.largest.tokens) + f"\n  {sets(largest)}")
    screen.print("\n".join(lines), markup=False, soft_wrap=True)


def _show_rate(screen: Console, found: RateFound, changes: dict[str, str]) -> None:
    from regard.report.terminal import sparkline
    from regard.train.estimate import sets

    width = min(60, len(found.smoothed))
    nearest = min(range(len(found.rates)), key=lambda number: abs(found.rates[number] - found.suggested))
    place = round((width - 1) * nearest / len(found.rates))
    ends = f"{found.rates[0]:.0e}", f"{found.rates[-1]:.0e}"
    lines = [say("cli_train.rate.curve", first=found.smoothed[0], least=min(found.smoothed))]
    lines += [sparkline(found.smoothed, width), " " * place + "▲"]
    lines += [ends[0] + ends[1].rjust(width - len(ends[0]))]
    lines.append(say("cli_train.rate.found", rate=found.suggested, lowest=found.lowest, steepest=found.steepest))
    lines.append(f"  {sets(changes)}")
    screen.print("\n".join(lines), markup=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    """A frozen result as JSON says it."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(each) for name, each in vars(value).items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _size(count: int | None) -> str:
    from regard.train.estimate import size

    return "?" if count is None else size(count)


def _of(count: int, most: int | None) -> str:
    return say("cli_train.needs.of", most=_size(most), share=f"{count / most:.0%}" if most else "?")


def _clock(seconds: float) -> str:
    from regard.train.progress import clock

    return clock(seconds)
