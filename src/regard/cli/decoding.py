"""How a text is decoded, as the command line and the model's files ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from regard.cli.command import notes
from regard.generate.settings import Settings
from regard.words import say

if TYPE_CHECKING:
    from regard.bundle import Bundle

_LONGER = {"repetition": "repetition-penalty"}


def named(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a verb's options that somebody gave."""
    source = click.get_current_context().get_parameter_source
    return {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}


def heard(loaded: Bundle, told: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> Settings:
    """The settings that were told, with what the model's files advise for the rest, which is said."""
    from regard.generate.advised import advised

    found = advised(loaded, told, usual)
    if found.taken:
        spelled = {_LONGER.get(name, name).replace("_", "-"): value for name, value in found.taken.items()}
        options = " ".join(f"--{name} {value}" for name, value in spelled.items())
        notes().print(say("cli.advice.taken", options=options), style="dim", markup=False)
    if found.others:
        names = ", ".join(f"{key}={value}" for key, value in found.others.items())
        notes().print(say("cli.advice.others", names=names), style="dim", markup=False)
    return found.settings
