"""Asking before anything is downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from regard.cli.command import notes, wants_json
from regard.words import say

if TYPE_CHECKING:
    from rich.status import Status


def reading(model: str) -> Status:
    """A line in a terminal while a model is read, which may take a while."""
    return notes().status(say("cli.reading", model=model))


def ready(model: str, *, yes: bool = False) -> None:
    """See to it that a model with a short name is here: with consent (`yes`, or a person who says so) it is fetched;
    without, loading it will say how to."""
    from regard import named

    if model not in named.NAMES or Path(model).exists() or named.place(model) is not None:
        return
    one = named.NAMES[model]
    asked = {"name": model, "about": one.about, "megabytes": one.megabytes, "licence": one.licence}
    if yes or (sys.stdin.isatty() and not wants_json() and click.confirm(say("cli_chat.fetch", **asked), err=True)):
        notes().print(say("cli_chat.fetching", **asked), style="dim", markup=False)
        named.fetch(model)
