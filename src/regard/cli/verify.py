"""`regard verify`: a model beside the reference implementation, layer by layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from regard.cli.command import answer, argument, option, verb
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.doctor.beside import Beside


@verb("verify")
@argument("model", type=click.Path())
@option("--tolerance", type=click.FloatRange(0.0), default=1e-4)
@option("--threads", type=click.IntRange(1))
def command(model: str, tolerance: float, threads: int | None) -> None:
    from regard.cli.machine import chosen
    from regard.doctor.beside import compare

    chosen("cpu", "float32", threads)
    found = compare(model, tolerance)
    rows = [{**asdict(row), "relative": row.relative} for row in found.rows]
    document = {
        "model": model, "reference": found.reference, "inputs": found.inputs, "tolerance": tolerance,
        "within": found.within, "worst": found.worst.name, "rows": rows,
    }  # fmt: skip
    answer(document, lambda screen: _shown(screen, found))
    if not found.within:
        raise click.exceptions.Exit(1)


def _shown(screen: Console, found: Beside) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("layer", "away", "largest", "relative"):
        grid.add_column(say(f"cli_verify.{name}"), justify="left" if name == "layer" else "right")
    for row in found.rows:
        good = row.relative <= found.tolerance
        cells = [row.name, f"{row.away:.3g}", f"{row.largest:.4g}", f"{row.relative:.2e}"]
        grid.add_row(*(Text(cell, style="" if good else "bold red") for cell in cells))
    screen.print(grid)
    screen.print()
    if found.silent:
        screen.print(say("cli_verify.silent"), style="dim", markup=False, soft_wrap=True)
    values = {
        "reference": found.reference, "worst": found.worst.name, "relative": f"{found.worst.relative:.2e}",
        "tolerance": f"{found.tolerance:.0e}",
    }  # fmt: skip
    said = say("cli_verify.equal", **values) if found.within else say("cli_verify.other", **values)
    screen.print(said, markup=False, soft_wrap=True, style="" if found.within else "bold red")
