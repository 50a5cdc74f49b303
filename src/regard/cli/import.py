"""`regard import`: a model brought here: by its short name, from a hub, from a folder or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb
from regard.cli.mistakes import Mistake
from regard.words import say

if TYPE_CHECKING:
    from regard.hub import Reference
    from regard.hub.fetching import Progress


@verb("import")
@argument("source", type=click.Path())
@option("--name")
@option("--file")
@option("--mirror", "mirrors", multiple=True)
@option("--allow-pickle-weights", "pickles", is_flag=True)
def command(source: str, name: str | None, file: str | None, mirrors: tuple[str, ...], pickles: bool) -> None:
    from regard import named
    from regard.hub import Request, fetch, reference
    from regard.hub.names import is_name

    options = {"--name": name, "--file": file, "--mirror": mirrors, "--allow-pickle-weights": pickles}
    if source in named.NAMES:
        _heeded(source, options, ())
        _named(source)
    elif is_name(source) and not Path(source).exists():
        _heeded(source, options, ("--file", "--mirror", "--allow-pickle-weights"))
        ref = reference(source)
        request = Request(file=file, pickles=pickles, mirrors=mirrors)
        _said(ref, fetch(ref, request, _progress()))
    else:
        _heeded(source, options, ("--name", "--allow-pickle-weights"))
        _adopted(Path(source), name, pickles)


def _heeded(source: str, options: dict[str, Any], fitting: tuple[str, ...]) -> None:
    """Raise a Mistake for an option that was given and would do nothing with such a source."""
    for given, value in options.items():
        if value and given not in fitting:
            raise Mistake("cli_import.not_here", option=given, source=source)


def _named(name: str) -> None:
    from regard import named

    one = named.NAMES[name]
    path = named.fetch(name)
    document = {"name": name, "about": one.about, "licence": one.licence, "path": str(path)}
    said = say("cli_import.done", name=name, about=one.about, licence=one.licence, path=path)
    answer(document, lambda screen: screen.print(said, markup=False, soft_wrap=True))


def _adopted(path: Path, name: str | None, pickles: bool) -> None:
    """A folder or a GGUF file under a name of its own; it must be a model that is read here."""
    from regard import named
    from regard.errors import ConfigError
    from regard.hub import adopt
    from regard.hub.names import local
    from regard.words import nearest

    if not path.exists():
        near = nearest(str(path), named.NAMES)
        key = "cli_import.unknown_near" if near else "cli_import.unknown"
        raise ConfigError(key, name=path, known=", ".join(named.NAMES), near=near)
    ref = local(name or path.resolve().name.removesuffix(".gguf"))
    _said(ref, adopt(path, ref, pickles=pickles))


def _said(ref: Reference, path: Path) -> None:
    import json

    from regard.hub.names import ORIGIN

    home = path if path.is_dir() else path.parent
    told = json.loads((home / ORIGIN).read_text(encoding="utf-8"))
    size = sum(one.stat().st_size for one in home.rglob("*") if one.is_file())
    document: dict[str, Any] = {**told, "name": str(ref), "path": str(path), "bytes": size}
    said = say("cli_import.here", name=ref, size=f"{size / 1e6:,.1f} MB", path=path, source=told["source"])
    answer(document, lambda screen: screen.print(said, markup=False, soft_wrap=True))


def _progress() -> Progress:
    """A line on stderr for each tenth of a large file."""
    shown: dict[str, int] = {}

    def progress(file: str, there: int, size: int) -> None:
        tenth = there * 10 // max(size, 1)
        if size > 10_000_000 and tenth > shown.get(file, -1):
            shown[file] = tenth
            told = say("cli_import.progress", file=file, there=f"{there / 1e6:,.0f}", size=f"{size / 1e6:,.0f}")
            notes().print(told, style="dim", markup=False)

    return progress
