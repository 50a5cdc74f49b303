"""What somebody typed wrong, said in our words: click's own exceptions speak English only."""

from __future__ import annotations

import os
from typing import Any

import click

from regard.cli.help import name_of
from regard.words import nearest, say


class Mistake(click.UsageError):
    """A usage error whose sentence stands in the message table."""

    def __init__(self, key: str, ctx: click.Context | None = None, **values: Any) -> None:
        super().__init__(key, ctx)
        self.key = key
        self.values = values


class BadValue(click.BadParameter):
    """A value that the type of an option or argument refused; `why` is what the type said."""

    def __init__(self, ctx: click.Context, param: click.Parameter, value: Any, why: str) -> None:
        super().__init__(why, ctx=ctx, param=param)
        self.value = value


def sentence(error: click.UsageError) -> str:
    """The mistake in the current language: what is wrong and what would be right."""
    if isinstance(error, Mistake):
        return say(error.key, **error.values)
    if isinstance(error, click.NoSuchOption):
        near = error.possibilities[0] if error.possibilities else nearest(error.option_name, _options(error.ctx))
        key = "cli.mistake.no_option_near" if near else "cli.mistake.no_option"
        return say(key, name=error.option_name, near=near)
    if isinstance(error, click.BadOptionUsage):
        option = _find(error.ctx, error.option_name)
        flag = isinstance(option, click.Option) and option.is_flag
        return say("cli.mistake.takes_no_value" if flag else "cli.mistake.needs_value", name=error.option_name)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return say("cli.mistake.missing", name=name_of(error.param))
    if isinstance(error, BadValue) and error.param is not None:
        return _bad_value(error, error.param)
    return error.format_message()


def _bad_value(error: BadValue, param: click.Parameter) -> str:
    kind, value = param.type, error.value
    values: dict[str, Any] = {"name": name_of(param), "value": value}
    if isinstance(kind, click.Choice):
        choices = [str(getattr(choice, "value", choice)) for choice in kind.choices]
        near = nearest(str(value), choices)
        key = "cli.mistake.choice_near" if near else "cli.mistake.choice"
        return say(key, choices=", ".join(choices), near=near, **values)
    if isinstance(kind, click.IntRange | click.FloatRange):
        whole = isinstance(kind, click.IntRange)
        return say("cli.mistake.wants_int" if whole else "cli.mistake.wants_float", range=span(kind), **values)
    if isinstance(kind, type(click.INT)):
        return say("cli.mistake.wants_int", range="", **values)
    if isinstance(kind, type(click.FLOAT)):
        return say("cli.mistake.wants_float", range="", **values)
    if isinstance(kind, click.Path):
        there = isinstance(value, str | os.PathLike) and os.path.exists(value)
        return say("cli.mistake.wrong_path" if there else "cli.mistake.no_path", **values)
    return say("cli.mistake.other", why=error.message, **values)


def span(kind: click.IntRange | click.FloatRange) -> str:
    """The bounds of a number, as ' from 1 to 9'; nothing where there are none."""
    if kind.min is not None and kind.max is not None:
        return say("cli.range.both", least=kind.min, most=kind.max)
    if kind.min is not None:
        return say("cli.range.least_open" if kind.min_open else "cli.range.least", least=kind.min)
    return say("cli.range.most", most=kind.max) if kind.max is not None else ""


def _options(ctx: click.Context | None) -> list[str]:
    params = ctx.command.get_params(ctx) if ctx else []
    return [name for param in params if isinstance(param, click.Option) for name in param.opts if name.startswith("--")]


def _find(ctx: click.Context | None, name: str) -> click.Parameter | None:
    params = ctx.command.get_params(ctx) if ctx else []
    return next((param for param in params if name in param.opts or name in param.secondary_opts), None)
