"""`regard chat`: talk with a model, in a terminal or through a pipe."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb, wants_json
from regard.cli.decoding import heard, named
from regard.cli.fetching import reading, ready
from regard.cli.mistakes import Mistake
from regard.cli.piped import lines
from regard.errors import RegardError
from regard.generate.advised import DRAWN, settings
from regard.generate.settings import Rules
from regard.words import say

if TYPE_CHECKING:
    from regard.generate.conversation import Conversation

USUAL = {"temperature": 0.7, "top_p": 0.9, "repetition": 1.1}  # of a model whose files advise nothing
COMMANDS = ("/help", "/reset", "/undo", "/retry", "/system", "/save", "/quit")


@verb("chat")
@argument("model", type=click.Path())
@option("--system")
@option("--prompt", "prompts", multiple=True)
@option("--max-tokens", type=int, default=512)
@option("--temperature", type=float)
@option("--top-k", type=int)
@option("--top-p", type=float)
@option("--min-p", type=float)
@option("--typical-p", type=float)
@option("--repetition-penalty", "repetition", type=float)
@option("--frequency-penalty", "frequency", type=float, default=Rules.frequency)
@option("--presence-penalty", "presence", type=float, default=Rules.presence)
@option("--no-repeat", type=int)
@option("--greedy", is_flag=True)
@option("--stop", multiple=True)
@option("--seed", type=int, default=0)
@option("--yes", is_flag=True)
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    model: str, system: str | None, prompts: tuple[str, ...], greedy: bool, yes: bool, device: str, dtype: str,
    threads: int | None, **decoding: Any,
) -> None:  # fmt: skip
    told = named(decoding)
    if greedy:
        told = _likeliest(told)
    settings(told)  # what is wrong is said before a model is loaded
    ready(model, yes=yes)
    with reading(model):
        from regard import bundle
        from regard.cli.machine import chosen
        from regard.generate.conversation import Conversation

        loaded = bundle.load(model, **chosen(device, dtype, threads))
    usual = {"max_tokens": decoding["max_tokens"]} | ({} if greedy else USUAL)
    with Conversation(loaded, system, heard(loaded, told, usual)) as talk:
        if prompts or not sys.stdin.isatty():
            _asked(talk, prompts or (line.strip() for line in lines() if line.strip()))
        else:
            _talk(talk, model)
        if wants_json():
            answer({"model": model, "messages": talk.messages}, lambda screen: None)


def _likeliest(told: dict[str, Any]) -> dict[str, Any]:
    """What --greedy means here: no draw, and no penalty but one that was asked for, whatever the model's files advise.
    Raises a Mistake for an option that only a draw would heed."""
    for name in DRAWN:
        if name in told:
            raise Mistake("cli_chat.greedy_and", name=f"--{name.replace('_', '-')}")
    return {"temperature": 0.0, "repetition": 1.0, "no_repeat": None} | told


def _asked(talk: Conversation, questions: Iterable[str]) -> None:
    """Questions one after the other, each with those before it."""
    for question in questions:
        with _remarked(talk):
            talk.ask(question, (lambda piece: None) if wants_json() else _show)
            if not wants_json():
                click.echo()


@contextmanager
def _remarked(talk: Conversation) -> Iterator[None]:
    """Says after an answer what cannot be seen of it: that it was cut, that the model no longer reads all."""
    forgotten = talk.forgotten
    yield
    if talk.cut:
        notes().print(say("cli_chat.cut", most=talk.settings.max_tokens), style="dim", markup=False)
    if talk.forgotten > forgotten:
        notes().print(say("cli_chat.forgotten", count=talk.forgotten), style="dim", markup=False)


def _talk(talk: Conversation, model: str) -> None:
    """A conversation in a terminal; Ctrl-C ends an answer, Ctrl-D or /quit the conversation, and nothing else does."""
    with suppress(ImportError):  # not on Windows, whose terminal does the same
        importlib.import_module("readline")  # lines can be edited, and had again with the arrow keys
    notes().print(say("cli_chat.welcome", model=model, commands=" ".join(COMMANDS)), style="dim", markup=False)
    while True:
        try:
            line = input("\n» ").strip()
        except KeyboardInterrupt:
            notes().print(say("cli_chat.how_to_end"), style="dim", markup=False)
            continue
        except EOFError:
            click.echo()
            return
        if line == "/retry":
            line = talk.again() or line
        if line.startswith("/"):
            if not _commanded(talk, line):
                return
        elif line:
            _answered(talk, line)


def _answered(talk: Conversation, line: str) -> None:
    """One question in a terminal. What goes wrong with it is said, and the conversation is still there."""
    try:
        with _remarked(talk), _stoppable() as show:
            talk.ask(line, show)
            click.echo()
    except RegardError as error:
        click.echo(say("cli.error", text=error), err=True)
    except KeyboardInterrupt:
        notes().print(say("cli_chat.given_up"), style="dim", markup=False)


def _commanded(talk: Conversation, line: str) -> bool:
    """Do what a line with a slash says; False ends the conversation."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/quit":
        return False
    said = say("cli_chat.commands")
    if name == "/reset":
        talk.messages.clear()
        said = say("cli_chat.empty")
    elif name == "/undo":
        said = say("cli_chat.undone" if talk.undo() else "cli_chat.nothing_to_undo")
    elif name == "/retry":
        said = say("cli_chat.nothing_to_undo")
    elif name == "/system":
        talk.system = rest or None
        said = say("cli_chat.system_set" if rest else "cli_chat.system_none")
    elif name == "/save":
        said = _saved(talk, rest)
    elif name != "/help":
        said = say("cli_chat.unknown", name=name, commands=" ".join(COMMANDS))
    notes().print(said, style="dim", markup=False)
    return True


def _saved(talk: Conversation, name: str) -> str:
    if not name:
        return say("cli_chat.save_where")
    path = Path(name)
    system = [{"role": "system", "content": talk.system}] if talk.system else []
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump([*system, *talk.messages], file, ensure_ascii=False, indent=1)
    except FileExistsError:
        return say("cli_chat.save_elsewhere", path=path)
    except OSError as error:
        return say("cli_chat.not_saved", path=path, why=error.strerror or error)
    return say("cli_chat.saved", path=path, count=len(talk.messages))


def _show(piece: str) -> None:
    click.echo(piece, nl=False)


@contextmanager
def _stoppable() -> Iterator[Any]:
    """Shows an answer while it is written; Ctrl-C ends it at the next piece, with what was said."""
    from regard.generate.conversation import Interrupted

    asked = False

    def stop(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def show(piece: str) -> None:
        _show(piece)
        sys.stdout.flush()
        if asked:
            raise Interrupted

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield show
    finally:
        signal.signal(signal.SIGINT, before)
