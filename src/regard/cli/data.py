"""`regard data`: what data holds, what is odd about it, and what a model will be given of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, group, notes, option
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.data.faults import Faults
    from regard.data.rewrite import Rewritten
    from regard.data.sources import Source
    from regard.data.survey import Survey

UNITS = ("line", "paragraph", "file")


@group("data")
def command() -> None:
    """Its texts: words/cli_data.toml."""


def reading(function: Any) -> Any:
    """The options that say how data are read, the same wherever data are read."""
    for settings in (
        option("--unit", type=click.Choice(UNITS)),
        option("--target"),
        option("--source"),
        option("--label"),
        option("--text"),
    ):
        function = settings(function)
    return function


@command.verb("check")
@argument("path")
@reading
@option("--held-out")
@option("--tokenizer", type=click.Path(exists=True))
@option("--context", type=click.IntRange(1))
@option("--likeness", type=click.FloatRange(0.5, 1), default=0.8, show_default=True)
@option("--html", type=click.Path(dir_okay=False))
@option("--clean", type=click.Path(dir_okay=False))
def check(
    path: str,
    held_out: str | None,
    tokenizer: str | None,
    context: int | None,
    likeness: float,
    html: str | None,
    clean: str | None,
    **columns: Any,
) -> None:
    from regard.data.survey import survey

    encode = None
    if tokenizer is not None:
        from regard.inputs.tokenizer import Tokenizer

        encode = Tokenizer.load(tokenizer).encode
    rows, other, passed = _opened(path, held_out, columns)
    with notes().status("") as status:
        settings: dict[str, Any] = {"encode": encode, "context": context, "likeness": likeness, "passed": passed}
        found = survey(rows, held_out=other, **settings, tell=lambda stage: status.update(_stage(stage)))
        cleaned = None if clean is None else _cleaned(rows, clean, held_out=other, passed=passed)
    page = None if html is None else _page(found, html)
    document = {**found.plain(), "html": page, "cleaned": cleaned and cleaned.plain()}
    answer(document, lambda screen: _show(screen, found, page, cleaned))
    if found.unreadable.count:
        click.get_current_context().exit(1)


@command.verb("clean")
@argument("path")
@option("--out", type=click.Path(dir_okay=False), required=True)
@reading
@option("--held-out")
@option("--near", is_flag=True)
@option("--likeness", type=click.FloatRange(0.5, 1), default=0.8, show_default=True)
@option("--mask", is_flag=True)
@option("--removed", type=click.Path(dir_okay=False))
@option("--overwrite", is_flag=True)
def clean(
    path: str,
    out: str,
    held_out: str | None,
    near: bool,
    likeness: float,
    mask: bool,
    removed: str | None,
    overwrite: bool,
    **columns: Any,
) -> None:
    from regard.data.summary import cleaned as summary

    rows, other, passed = _opened(path, held_out, columns)
    settings: dict[str, Any] = {"masked": mask, "removed": removed, "overwrite": overwrite}
    with notes().status(say("cli_data.clean.working")):
        found = _cleaned(rows, out, held_out=other, passed=passed, likeness=likeness if near else None, **settings)
    answer({**found.plain(), "removed": removed}, lambda screen: _print(screen, summary(found, removed)))


def _opened(path: str, held_out: str | None, columns: dict[str, Any]) -> tuple[Source, Source | None, Faults]:
    """(the data, the held-out data, the lines of the first that cannot be read)."""
    from regard.data import sources
    from regard.data.faults import Faults

    passed = Faults()
    rows = sources.open(path, **columns, passed=passed)
    return rows, None if held_out is None else sources.open(held_out, **columns), passed


def _cleaned(rows: Source, out: str, **settings: Any) -> Rewritten:
    from regard.data.rewrite import rewrite

    return rewrite(rows, out, **settings)


def _page(found: Survey, path: str) -> str:
    from regard.data import page
    from regard.report import html

    return str(html.write(page.report(found), path))


def _stage(name: str) -> str:
    return say(f"cli_data.check.stage.{name}")


def _show(screen: Console, found: Survey, page: str | None, cleaned: Rewritten | None) -> None:
    from regard.data import summary

    _print(screen, summary.summary(found))
    if cleaned is not None:
        _print(screen, "\n" + summary.cleaned(cleaned, None))
    if page is not None:
        _print(screen, "\n" + say("cli_data.check.wrote", path=page))


@command.verb("show")
@argument("recipe")
def show(recipe: str) -> None:
    from regard.data.show import text as show_text
    from regard.train import recipe as recipes
    from regard.train.setup import prepare

    setup = prepare(recipes.load(recipes.find(recipe)))
    feed = setup.feed()
    text = show_text(setup.first_batch(feed))
    found = {"rows": len(setup.train), "samples": len(feed.size), "tokens": feed.tokens, "batches": len(feed.plan(0))}
    head = say("cli_data.show.found", **{name: f"{count:,}" for name, count in found.items()})
    answer({**found, "first_batch": text}, lambda screen: _print(screen, f"{head}\n\n{text}"))


@command.verb("samples")
def samples() -> None:
    from regard.data.catalog import PREFIX, SAMPLES

    found = [{**dataclasses.asdict(sample), "name": PREFIX + sample.name} for sample in SAMPLES]

    def table(screen: Console) -> None:
        width = max(len(sample["name"]) for sample in found)
        for sample in found:
            columns = ", ".join(sample["columns"])
            what = say(f"cli_data.samples.about.{sample['name'].removeprefix(PREFIX)}", rows=f"{sample['rows']:,}")
            _print(screen, f"{sample['name']:<{width}}  {what} ({columns}; {sample['licence']})")

    answer({"samples": found}, table)


def _print(screen: Console, text: str) -> None:
    """As it is: brackets in a user's text are no markup, and no line is broken."""
    screen.print(text, markup=False, emoji=False, soft_wrap=True)
