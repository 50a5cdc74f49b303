"""`regard demo`: the whole life of a model on built-in data, in ten minutes or in two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regard.cli.command import answer, console, notes, option, verb, wants_json
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

STOPPED = 130


@verb("demo")
@option("--quick", is_flag=True)
@option("--prompt", default="明月")
@option("--out", type=click.Path(), default="demo-run")
@option("--device", default="auto")
@option("--threads", type=click.IntRange(1))
def command(quick: bool, prompt: str, out: str, device: str, threads: int | None) -> None:
    from regard.journey import demo, plan
    from regard.journey.screen import Screen
    from regard.train.progress import clock
    from regard.train.recipe import MachineConfig
    from regard.train.stop import on_signals

    screen = Screen(notes() if wants_json() else console())
    settings = MachineConfig(device=device, threads=threads, tensorboard=False)
    with on_signals() as stop:
        chosen = plan.QUICK if quick else plan.FULL
        found = demo.run(out, chosen, prompt=prompt, screen=screen, stop=stop, settings=settings)
    if found is None:
        line = f"regard demo{' --quick' if quick else ''} --out {out}"
        screen.say("cli_demo.stopped", command=line)
        raise click.exceptions.Exit(STOPPED)
    lines = demo.next_commands(out, found)
    screen.say("cli_demo.finished", time=clock(found["seconds"]), folder=out)
    answer({"folder": out, **found, "next": lines}, lambda human: _show(human, lines))


def _show(human: Console, lines: list[str]) -> None:
    human.print(say("cli_demo.next"))
    for line in lines:
        human.print(f"  {line}", markup=False, soft_wrap=True)
