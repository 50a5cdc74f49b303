"""The help page of a verb, in the language in use, wrapped by the width that characters have on a screen."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterable
from typing import Any

import click

from regard.words import has, say

MARGIN = 2
WIDEST = 100


def help_text(ctx: click.Context, table: str) -> str:
    """Usage, what the verb does, its arguments, its options, its verbs."""
    command = ctx.command
    parts = [usage_line(ctx), _paragraphs(say(f"{table}.help"))]
    params = command.get_params(ctx)
    arguments = [(name_of(one), _about(one, table)) for one in params if isinstance(one, click.Argument)]
    options = [(_spelling(one), _about(one, table)) for one in params if isinstance(one, click.Option)]
    if isinstance(command, click.Group):
        keys = [(name, getattr(command, "help_key")(name)) for name in command.list_commands(ctx)]  # noqa: B009
        verbs = [(name, say(key).split("\n")[0]) for name, key in keys]
        parts.append(_section(say("cli.page.verbs"), verbs))
    if arguments:
        parts.append(_section(say("cli.page.arguments"), arguments))
    parts.append(_section(say("cli.page.options"), options))
    if has(f"{table}.epilog"):
        parts.append(_paragraphs(say(f"{table}.epilog")))
    return "\n\n".join(part for part in parts if part)


def usage_line(ctx: click.Context) -> str:
    """`Usage: regard train [OPTIONS] RECIPE`."""
    pieces = [ctx.command_path, say("cli.page.options_piece")]
    for param in ctx.command.get_params(ctx):
        pieces += param.get_usage_pieces(ctx)
    if isinstance(ctx.command, click.Group):
        pieces.append(say("cli.page.verb_piece"))
    return say("cli.page.usage", line=" ".join(pieces))


def name_of(param: click.Parameter) -> str:
    """What a user calls it: the longest spelling of an option, an argument's name in capitals."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return param.metavar or (param.name or "").upper()


def rows(pairs: Iterable[tuple[str, str]], *, width: int | None = None) -> str:
    """Two columns: names, and what they are, wrapped; a name that is too long has its line to itself."""
    pairs = list(pairs)
    width = width or screen_width()
    column = min(max((cells(name) for name, _ in pairs), default=0), width // 3) + MARGIN * 2
    lines = []
    for name, about in pairs:
        wrapped = wrap(about, width - column)
        head = " " * MARGIN + name
        if cells(head) + MARGIN > column:
            lines.append(head)
        else:
            lines.append(head + " " * (column - cells(head)) + (wrapped.pop(0) if wrapped else ""))
        lines += [" " * column + line for line in wrapped]
    return "\n".join(line.rstrip() for line in lines)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells; Chinese breaks between any two characters, but not before its closing marks."""
    lines, line = [], ""
    for unit in _UNIT.findall(text):
        if cells(line) + cells(unit.rstrip()) > width and line.strip():
            lines.append(line.rstrip())
            line = ""
        line += unit if line else unit.lstrip()
    return [*lines, line.rstrip()] if line.strip() else lines


def cells(text: str) -> int:
    """How many columns of a terminal the text takes: two for a wide character, none for a combining one."""
    return sum(_cell(letter) for letter in text)


def screen_width() -> int:
    return max(min(shutil.get_terminal_size().columns, WIDEST), 40)


_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60“”‘’…—"
_UNIT = re.compile(rf"\s+|[（《「“]*[{_WIDE}][，。；：、！？）》」”…]*|[^\s{_WIDE}]+")


def _cell(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _section(title: str, pairs: list[tuple[str, str]]) -> str:
    return f"{click.style(title, bold=True)}\n{rows(pairs)}"


def _paragraphs(text: str) -> str:
    """Each line of the text wrapped by itself; a line that starts with spaces is an example and stays as it is."""
    lines: list[str] = []
    for line in text.strip("\n").split("\n"):
        lines += [line] if line.startswith(" ") or not line.strip() else wrap(line, screen_width())
    return "\n".join(lines)


def _spelling(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if option.secondary_opts:
        names += " / " + ", ".join(option.secondary_opts)
    return names if option.is_flag or option.count else f"{names} {_metavar(option)}"


def _metavar(option: click.Option) -> str:
    kind = option.type
    if option.metavar:
        return option.metavar
    if isinstance(kind, click.Choice):
        return "[" + "|".join(str(getattr(choice, "value", choice)) for choice in kind.choices) + "]"
    if isinstance(kind, click.IntRange) or kind is click.INT:
        return say("cli.kind.int")
    if isinstance(kind, click.FloatRange) or kind is click.FLOAT:
        return say("cli.kind.float")
    return say("cli.kind.path") if isinstance(kind, click.Path) else say("cli.kind.text")


def _about(param: click.Parameter, table: str) -> str:
    name = "help" if "--help" in param.opts else param.name
    key = f"{table}.{name}"
    text = say(key if has(key) and name != "help" else f"cli.common.{name}")
    default = _default(param)
    return text if default is None else f"{text} {say('cli.page.default', value=default)}"


def _default(param: click.Parameter) -> str | None:
    value: Any = param.default
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value) if plain and value != "" else None
