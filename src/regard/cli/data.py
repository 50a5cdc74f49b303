"""`regard data`: what data holds, what is odd about it, and what a model will be given of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, group, option
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

UNITS = ("line", "paragraph", "file")


@group("data")
def command() -> None:
    """Its texts: words/cli_data.toml."""


@command.verb("check")
@argument("path")
@option("--text")
@option("--label")
@option("--source")
@option("--target")
@option("--unit", type=click.Choice(UNITS))
@option("--held-out")
@option("--tokenizer", type=click.Path(exists=True))
@option("--context", type=click.IntRange(1))
def check(path: str, held_out: str | None, tokenizer: str | None, context: int | None, **reading: Any) -> None:
    from regard.data import sources
    from regard.data.check import check as examine
    from regard.data.summary import summary

    encode = None
    if tokenizer is not None:
        from regard.inputs.tokenizer import Tokenizer

        encode = Tokenizer.load(tokenizer).encode
    rows = sources.open(path, **reading)
    other = None if held_out is None else sources.open(held_out, **reading)
    report = examine(rows, held_out=other, encode=encode, context=context)
    answer(report.plain(), lambda screen: _print(screen, summary(report)))


@command.verb("show")
@argument("recipe")
def show(recipe: str) -> None:
    from regard.train import recipe as recipes
    from regard.train.setup import prepare

    setup = prepare(recipes.load(recipes.find(recipe)))
    feed = setup.feed()
    text = setup.first_batch(feed)
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
