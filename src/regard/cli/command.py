"""What a verb is written with.

    @verb("train")
    @argument("recipe", type=click.Path())
    @option("--threads", type=click.IntRange(1))
    def command(recipe: str, threads: int | None) -> None:
        run = ...                                     # torch is imported here, inside, never at the top of the file
        answer(run.summary(), lambda screen: screen.print(...))

The file `cli/train.py` must hold the verb as `command`. Its texts stand in `words/cli_train.toml`: `help` (its first
line is the one in the list of verbs) and one sentence for each argument and option by its Python name; a name that the
verb's table lacks is looked up in `cli.common` (device, threads, dtype, seed ...). A verb with verbs of its own:

    @group("data")
    def command() -> None: ...

    @command.verb("check")                            # texts: cli_data.check.help, cli_data.check.path
    @argument("path")
    def check(path: str) -> None: ...

Every verb takes --json, --lang, --debug and --help without saying so.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from regard.cli.help import help_text, usage_line
from regard.cli.mistakes import BadValue, Mistake
from regard.words import LANGUAGES, nearest, set_language

if TYPE_CHECKING:
    from rich.console import Console

Function = Callable[..., Any]


def verb(name: str) -> Callable[[Function], Verb]:
    """Make a function, already decorated with `argument` and `option`, the verb `regard NAME`."""

    def made(function: Function) -> Verb:
        return click.command(name, cls=Verb, table=f"cli_{name}")(function)

    return made


def group(name: str) -> Callable[[Function], Verbs]:
    """Make a function a verb that has verbs of its own; alone it shows its help and does nothing else."""

    def made(function: Function) -> Verbs:
        return click.command(name, cls=Verbs, table=f"cli_{name}")(function)

    return made


def option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """`click.option` whose help stands in the message table."""
    return click.option(*names, cls=Option, **settings)


def argument(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """`click.argument` whose help stands in the message table."""
    return click.argument(*names, cls=Argument, **settings)


def answer(document: Mapping[str, Any], human: Callable[[Console], Any]) -> None:
    """Print a verb's result: under --json the document, one line of JSON on stdout, otherwise what `human` draws."""
    if wants_json():
        click.echo(json.dumps(_jsonable(document), ensure_ascii=False, allow_nan=False))
    else:
        human(console())


def wants_json() -> bool:
    """Whether --json was given: then nothing but JSON may go to stdout."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().meta.get("regard.json"))


def console() -> Console:
    """A rich screen on stdout."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def notes() -> Console:
    """A rich screen on stderr, for progress and remarks: it leaves stdout to the answer."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False)


class _Worded:
    """What Verb and Verbs share: texts from the table, our own help page, and the options that every verb takes."""

    table: str
    params: list[click.Parameter]

    def get_help(self, ctx: click.Context) -> str:
        return help_text(ctx, self.table)

    def get_usage(self, ctx: click.Context) -> str:
        return usage_line(ctx)

    def add_common(self) -> None:
        early: dict[str, Any] = {"expose_value": False, "is_eager": True}
        self.params += [
            Option(["--json"], is_flag=True, callback=_remember_json, **early),
            Option(["--lang"], type=click.Choice(LANGUAGES), callback=_speak, **early),
            Option(["--debug"], is_flag=True, **early),  # read by main, which sees the whole line
        ]


class Verb(_Worded, click.Command):
    """A click command whose texts stand in `table` of the message table."""

    def __init__(self, name: str | None, *, table: str, **settings: Any) -> None:
        super().__init__(name, context_settings={"help_option_names": ["-h", "--help"]}, **settings)
        self.table = table
        self.add_common()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # click would complain of extra arguments in English; so they are let through here and refused in our words.
        ctx.allow_extra_args = True
        ctx.meta["regard.arguments"] = tuple(args)  # for a verb that starts itself again
        with _placed(ctx):
            rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            raise Mistake("cli.mistake.extra", ctx, extra=" ".join(rest))
        return rest


class Verbs(_Worded, click.Group):
    """A click group whose texts, and those of its verbs, stand in `table` of the message table."""

    def __init__(self, name: str | None, *, table: str, **settings: Any) -> None:
        names = {"help_option_names": ["-h", "--help"]}
        settings["callback"] = self.begin
        super().__init__(name, context_settings=names, invoke_without_command=True, **settings)
        self.table = table
        self.add_common()

    def verb(self, name: str) -> Callable[[Function], Verb]:
        """Make a function the verb NAME of this group."""

        def made(function: Function) -> Verb:
            below = click.command(name, cls=Verb, table=f"{self.table}.{name}")(function)
            self.add_command(below)
            return below

        return made

    def help_key(self, name: str) -> str:
        """Where the help of the verb `name` stands."""
        return f"{self.table}.{name}.help"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _placed(ctx):
            return super().parse_args(ctx, args)

    def begin(self) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            self.alone(context)

    def alone(self, ctx: click.Context) -> None:
        """What happens without a verb."""
        click.echo(self.get_help(ctx))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None:
            known = self.list_commands(ctx)
            near = nearest(args[0], known)
            key = "cli.mistake.no_verb_near" if near else "cli.mistake.no_verb"
            raise Mistake(key, ctx, name=args[0], near=near, known=", ".join(known))
        return super().resolve_command(ctx, args)


class Option(click.Option):
    """An option that names its refused values in our words."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().type_cast_value(ctx, value)
        except click.BadParameter as error:
            raise BadValue(ctx, self, value, error.message) from error


class Argument(click.Argument):
    """An argument that names its refused values in our words."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().type_cast_value(ctx, value)
        except click.BadParameter as error:
            raise BadValue(ctx, self, value, error.message) from error


@contextmanager
def _placed(ctx: click.Context) -> Iterator[None]:
    """Tell a usage error which verb it happened in: click's parser does not always."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


def _remember_json(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        ctx.find_root().meta["regard.json"] = True


def _speak(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        set_language(value)


def _jsonable(value: Any) -> Any:
    """JSON has no NaN, infinity, path or array: null, text, lists."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return _jsonable(value.tolist()) if hasattr(value, "tolist") else str(value)
