"""`regard`: finds the verb, runs it, and turns whatever goes wrong into one sentence and an exit code.

Exit codes: 0 done; 1 not done (a file, the data, the disk); 2 typed or configured wrongly; 70 our own bug;
130 interrupted; 141 the reader of a pipe went away.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import click

from regard.cli.command import Option, Verbs, answer, wants_json
from regard.cli.help import rows
from regard.cli.mistakes import sentence
from regard.errors import RegardError
from regard.words import LANGUAGES, Language, say, speaking

VERBS = (
    "demo", "new", "data", "tokenizer", "train", "eval", "predict", "generate", "chat", "embed", "transcribe", "speak",
    "explain", "doctor", "bench", "models", "show", "import", "verify", "export", "runs", "diff",
)  # fmt: skip

FAILED, MISUSED, BUG, INTERRUPTED, PIPE_CLOSED = 1, 2, 70, 130, 141


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing is raised."""
    _prepare_streams()
    arguments = list(arguments)
    with speaking(_wanted_language(arguments)):
        try:
            with ROOT.make_context("regard", arguments) as context:
                ROOT.invoke(context)
                sys.stdout.flush()
            return 0
        except click.exceptions.Exit as error:
            return error.exit_code
        except BaseException as error:
            return _failed(error, debug="--debug" in arguments)


class Root(Verbs):
    """The verbs, each read from its file when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in VERBS if importlib.util.find_spec(f"regard.cli.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"regard.cli.{cmd_name}").command

    def help_key(self, name: str) -> str:
        return f"cli_{name}.help"

    def alone(self, ctx: click.Context) -> None:
        """What is here, and the three commands to go on with."""
        verbs = {name: say(self.help_key(name)).split("\n")[0] for name in self.list_commands(ctx)}
        commands = _next_commands()
        if wants_json():
            answer({"version": version(), "verbs": verbs, "next": [line for line, _ in commands]}, lambda screen: None)
            return
        click.echo(say("cli.welcome", version=version()) + "\n")
        click.echo(rows(verbs.items()) + "\n")
        click.echo(say("cli.next") + "\n" + rows(commands))


def version() -> str:
    """The version of the installed package."""
    from importlib.metadata import version as installed

    return installed("regard")


def _show_version(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        click.echo(f"regard {version()}")
        ctx.exit()


ROOT = Root(
    "regard",
    table="cli.root",
    params=[Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_show_version)],
)


def _wanted_language(arguments: Sequence[str]) -> Language | None:
    """The language of --lang, wherever it stands: known before anything is parsed, so that every complaint is in it."""
    for here, after in pairwise([*arguments, ""]):
        if here == "--":
            return None
        value = after if here == "--lang" else here.removeprefix("--lang=")
        for name in LANGUAGES:
            if here.startswith("--lang") and value == name:
                return name
    return None


def _next_commands() -> list[tuple[str, str]]:
    """Three commands that make sense here: with the newest run of this folder if there is one, else to get started."""
    found = sorted(Path("runs").glob("*/recipe.toml"), key=lambda path: path.stat().st_mtime)
    if found:
        run = found[-1].parent.as_posix()
        lines = [(f"regard {name} {run}", say(f"cli.next_with_run.{name}")) for name in ("eval", "explain")]
        return [("regard runs", say("cli.next_with_run.runs")), *lines]
    return [
        ("regard demo --quick", say("cli.next_fresh.demo")),
        ("regard new my-model", say("cli.next_fresh.new")),
        ("regard train --help", say("cli.next_fresh.train")),
    ]


def _failed(error: BaseException, *, debug: bool) -> int:
    """Say what went wrong, on stderr, and return the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if _is_pipe(error):
        # The interpreter flushes stdout once more on its way out and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    text, code = _verdict(error)
    if debug and not isinstance(error, click.ClickException):
        traceback.print_exception(error, file=sys.stderr)
    click.echo(say("cli.error", text=text), err=True)
    return code


def _verdict(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code of a failure."""
    if isinstance(error, RegardError):
        return str(error), error.exit_code
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "regard"
        return f"{sentence(error)} {say('cli.mistake.see_help', command=f'{where} --help')}", MISUSED
    if isinstance(error, KeyboardInterrupt | click.Abort | EOFError):
        return say("cli.interrupted"), INTERRUPTED
    if _is_memory(error):
        return say("cli.memory"), FAILED
    if isinstance(error, OSError) and error.errno is not None:
        return _system(error), FAILED
    return say("cli.bug", kind=type(error).__name__, what=str(error)[:300]), BUG


def _system(error: OSError) -> str:
    path = error.filename or "?"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return say("cli.disk_full", path=path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return say("cli.permission", path=path)
    return say("cli.system", path=path, why=error.strerror or str(error))


def _is_memory(error: BaseException) -> bool:
    # torch reports memory by a RuntimeError of its own: OutOfMemoryError on a GPU, a message of its allocator on a CPU.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "DefaultCPUAllocator: can't allocate" in str(error)


def _is_pipe(error: BaseException) -> bool:
    return isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EPIPE)


def _prepare_streams() -> None:
    """Any character can be written: UTF-8 into files and pipes; a terminal keeps its own and shows ? for the rest."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")
        if encoding != "utf-8" and hasattr(stream, "reconfigure"):
            settings = {"errors": "replace"} if stream.isatty() else {"encoding": "utf-8"}
            cast(Any, stream).reconfigure(**settings)


if __name__ == "__main__":
    main()
