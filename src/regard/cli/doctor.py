"""`regard doctor`: proofs on a user's own run, recipe or model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb
from regard.cli.fetching import ready
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.doctor import Examination

GROUPS = ("tokens", "labels", "masks", "numbers", "updates", "files", "machine")
STYLES = {"green": "green", "amber": "yellow", "red": "bold red", "unasked": "dim"}
MARKS = {"green": "✓", "amber": "!", "red": "✗", "unasked": "–"}


@verb("doctor")
@argument("what")
@option("--all", "everything", is_flag=True)
@option("--yes", is_flag=True)
@option("--device", default="cpu")
@option("--threads", type=click.IntRange(1))
def command(what: str, everything: bool, yes: bool, device: str, threads: int | None) -> None:
    from regard import doctor
    from regard.cli.machine import chosen
    from regard.doctor import subject as subjects

    ready(what, yes=yes)
    device = chosen(device, threads=threads)["device"]
    with notes().status(say("cli_doctor.preparing", what=what)) as status:
        subject = subjects.find(what, device)
        status.update(say("cli_doctor.looking"))
        found = doctor.examine(subject, heard=lambda each: status.update(each.title))
    document = {**found.to_dict(), "made_up": subject.made_up}
    answer(document, lambda screen: show(screen, found, made_up=subject.made_up, everything=everything))
    if found.status == "red":
        raise click.exceptions.Exit(1)


def show(screen: Console, found: Examination, *, made_up: bool, everything: bool) -> None:
    """The findings as a table, then what to do."""
    from rich.table import Table
    from rich.text import Text

    screen.print(Text(say("cli_doctor.heading", what=found.what, task=found.task, family=found.family), style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for group in GROUPS:
        for number, each in enumerate(one for one in found.findings if one.group == group):
            heading = Text(say(f"cli_doctor.group.{group}") if number == 0 else "", style="dim")
            mark = Text(f"{MARKS[each.status]} {say(f'cli_doctor.colour.{each.status}')}", style=STYLES[each.status])
            table.add_row(heading, mark, Text(each.title), Text(each.sentence if everything else "", style="dim"))
    screen.print(table)
    screen.print()
    _remedies(screen, found)
    counts: dict[str, Any] = {name: len(found.of(name)) for name in ("green", "amber", "red", "unasked")}
    summary = say("cli_doctor.summary", **counts)
    if counts["unasked"]:
        summary += say("cli_doctor.unasked", count=counts["unasked"])
    cost = say("cli_doctor.cost", rows=found.rows, tokens=found.tokens, seconds=found.seconds)
    screen.print(Text.assemble((summary, STYLES[found.status]), "  ", (cost, "dim")))
    if made_up:
        key = "cli_doctor.made_up" if found.rows else "cli_doctor.no_examples"
        screen.print(Text(say(key), style="dim"))


def _remedies(screen: Console, found: Examination) -> None:
    """Each sentence that is not green, once, with the command that mends it."""
    from rich.text import Text

    for each in (*found.of("red"), *found.of("amber")):
        screen.print(Text.assemble((f"{MARKS[each.status]} {each.title}  ", STYLES[each.status]), each.sentence))
        screen.print(Text.assemble((f"  {say('cli_doctor.mend')} ", "dim"), each.command), soft_wrap=True)
        screen.print()
