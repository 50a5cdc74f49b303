"""`regard models`: the families that are known, and the models that are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, verb
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console


@verb("models")
@argument("folder", type=click.Path(), default="runs")
def command(folder: str) -> None:
    from regard import models, named
    from regard.hub import shelf

    families = [_family(name) for name in models.families()]
    names = [
        {"name": name, "about": one.about, "megabytes": one.megabytes, "licence": one.licence,
         "here": named.place(name) is not None}
        for name, one in named.NAMES.items()
    ]  # fmt: skip
    here = [
        {"origin": one.origin, "name": one.name, "path": str(one.path), "model_type": one.model_type,
         "bytes": one.bytes,
         "known": one.model_type in (shelf.GGUF, shelf.CT2) or models.of_type(one.model_type) is not None}
        for one in shelf.found(Path(folder))
    ]  # fmt: skip
    document = {"families": families, "named": names, "here": here}
    answer(document, lambda screen: _shown(screen, families, names, here))


def _family(name: str) -> dict[str, Any]:
    from regard import models

    types = [one for one in models.model_types() if models.of_type(one) == name]
    told = getattr(models.family(name), "HEADS", {})
    tables = told.values() if told and all(isinstance(one, dict) for one in told.values()) else [told]
    heads = dict.fromkeys(
        str(head[-1] if isinstance(head, tuple) else head) for table in tables for head in dict(table).values()
    )
    return {"family": name, "model_types": types, "heads": list(heads), "reads": list(models.reads(name))}


def _shown(
    screen: Console, families: list[dict[str, Any]], names: list[dict[str, Any]], here: list[dict[str, Any]]
) -> None:
    screen.print(say("cli_models.families", count=len(families)), style="bold", markup=False)
    columns = [say(f"cli_models.column.{one}") for one in ("family", "model_types", "reads", "heads")]
    rows = [[one["family"], *(", ".join(one[key]) for key in ("model_types", "reads", "heads"))] for one in families]
    screen.print(_grid(columns, rows))
    screen.print("\n" + say("cli_models.named"), style="bold", markup=False)
    columns = [say(f"cli_models.column.{one}") for one in ("name", "about", "licence", "size", "where")]
    short = [
        [one["name"], one["about"], one["licence"], f"{one['megabytes']} MB",
         say("cli_models.is_here" if one["here"] else "cli_models.to_fetch", name=one["name"])]
        for one in names
    ]  # fmt: skip
    screen.print(_grid(columns, short))
    screen.print("\n" + say("cli_models.here", count=len(here)), style="bold", markup=False)
    columns = [say(f"cli_models.column.{one}") for one in ("name", "model_type", "size", "origin")]
    found = [
        [one["name"], one["model_type"] if one["known"] else say("cli_models.not_read", name=one["model_type"] or "?"),
         f"{one['bytes'] / 1e6:,.1f} MB", say(f"cli_models.origin.{one['origin']}")]
        for one in here
    ]  # fmt: skip
    screen.print(_grid(columns, found))


def _grid(columns: list[str], rows: list[list[str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid
