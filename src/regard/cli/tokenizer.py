"""`regard tokenizer`: train one on a text of yours, or look at what one makes of a text."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, group, option
from regard.errors import BadFileError
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.inputs.tokenizer import Tokenizer

SAMPLE = 1000  # texts that a new tokenizer is measured on
COLOURS = ("on blue", "on magenta", "on dark_green", "on dark_orange3", "on cyan", "on red")


@group("tokenizer")
def command() -> None:
    """Its texts: words/cli_tokenizer.toml."""


@command.verb("train")
@argument("source")
@option("--kind", type=click.Choice(["bpe", "wordpiece", "unigram", "characters", "bytes"]), default="bpe")
@option("--vocab", type=click.IntRange(1), default=8000)
@option("--text")
@option("--rows", type=click.IntRange(1), default=200_000)
@option("--out", type=click.Path(path_type=Path), default="tokenizer")
def train(source: str, kind: Any, vocab: int, text: str | None, rows: int, out: Path) -> None:
    """Train on the texts of a source and save into a folder that holds none yet."""
    from regard.data import sources
    from regard.inputs.tokenizer import Tokenizer

    if (out / "tokenizer.json").exists():
        raise BadFileError("cli_tokenizer.exists", folder=str(out))
    opened = sources.open(source, text=text)
    count = min(rows, len(opened))
    tokenizer = Tokenizer.train(kind, _Texts(opened, count), vocab)
    tokenizer.save(out)
    found = measure(tokenizer, _Texts(opened, min(count, SAMPLE)))
    document = {"folder": str(out), "kind": kind, "size": tokenizer.size, "rows": count, **found}
    answer(document, lambda screen: _report(screen, tokenizer, document))


@command.verb("show")
@argument("path", type=click.Path(path_type=Path))
@argument("words", nargs=-1)
def show(path: Path, words: Sequence[str]) -> None:
    """What a tokenizer makes of a text, given as an argument or on stdin."""
    from regard.inputs.tokenizer import Tokenizer

    text = " ".join(words) if words else sys.stdin.read()
    tokenizer = Tokenizer.load(path / "tokenizer" if (path / "tokenizer").is_dir() else path)
    ids = tokenizer.encode(text)
    rows = [
        {"id": number, "piece": piece, "special": number in tokenizer.specials}
        for number, piece in zip(ids, tokenizer.pieces(ids), strict=True)
    ]
    document = {"kind": tokenizer.kind, "size": tokenizer.size, "tokens": rows, **measure(tokenizer, [text])}
    answer(document, lambda screen: _picture(screen, tokenizer, document))


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, Any]:
    """How well texts are stored: characters per token, unknown tokens, and how many texts come back unchanged."""
    characters = tokens = unknown = whole = count = 0
    for text in texts:
        ids = tokenizer.encode(text, special=False)
        characters, tokens, count = characters + len(text), tokens + len(ids), count + 1
        unknown += 0 if tokenizer.unk is None else ids.count(tokenizer.unk)
        whole += tokenizer.decode(ids) == text
    ratio = characters / tokens if tokens else None
    return {"texts": count, "characters_per_token": ratio, "unknown": unknown, "unchanged": whole}


class _Texts:
    """The texts of the first rows of a source, which can be gone through again."""

    def __init__(self, source: Any, count: int) -> None:
        self._source, self._count = source, count

    def __iter__(self) -> Any:
        return (self._source[index]["text"] for index in range(self._count))


def _report(screen: Console, tokenizer: Tokenizer, found: dict[str, Any]) -> None:
    screen.print(say("cli_tokenizer.saved", folder=found["folder"], size=found["size"], rows=found["rows"]))
    _measures(screen, tokenizer, found)


def _picture(screen: Console, tokenizer: Tokenizer, found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    line = Text()
    table = Table(say("cli_tokenizer.id"), say("cli_tokenizer.piece"), box=None)
    colours = itertools.cycle(COLOURS)
    for row in found["tokens"]:
        style = "dim" if row["special"] else next(colours)
        shown = _visible(row["piece"])
        line.append(shown, style=style)
        table.add_row(str(row["id"]), Text(shown or say("cli_tokenizer.inside"), style=style if shown else "dim"))
    screen.print(line, soft_wrap=True)
    screen.print(table)
    _measures(screen, tokenizer, found)


def _measures(screen: Console, tokenizer: Tokenizer, found: dict[str, Any]) -> None:
    if found["characters_per_token"] is not None:
        screen.print(say("cli_tokenizer.ratio", ratio=f"{found['characters_per_token']:.2f}"))
    screen.print(say("cli_tokenizer.unchanged", whole=found["unchanged"], texts=found["texts"]))
    if found["unknown"]:
        screen.print(say("cli_tokenizer.unknown", count=found["unknown"]))
    if not tokenizer.lossless:
        screen.print(say("cli_tokenizer.lossy"))


def _visible(piece: str) -> str:
    """Spaces and line ends as marks, and nothing that a terminal would obey."""
    marks = {" ": "·", "\n": "⏎", "\t": "⇥"}
    return "".join(marks.get(letter, letter if letter.isprintable() else f"\\u{ord(letter):04x}") for letter in piece)
