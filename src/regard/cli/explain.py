"""`regard explain`: one text, one model, and what went on inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb, wants_json
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.explain import Explanation

PAGE = "explain.html"


@verb("explain")
@argument("model", type=click.Path())
@option("--text", required=True)
@option("--target")
@option("--layer", "layer", type=click.IntRange(0), multiple=True)
@option("--head", "head", type=click.IntRange(0), multiple=True)
@option("--out", type=click.Path(dir_okay=False))
@option("--png", type=click.Path(dir_okay=False))
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    model: str,
    text: str,
    target: str | None,
    layer: tuple[int, ...],
    head: tuple[int, ...],
    out: str | None,
    png: str | None,
    **machine: Any,
) -> None:
    from regard import bundle
    from regard.cli.machine import chosen

    loaded = bundle.load(model, **chosen(**machine))
    found = _explained(loaded, text, target, layers=layer or None, heads=head or None)
    written = _written(found, out or (None if wants_json() else PAGE), png)
    answer({**found.document(), "written": written}, lambda screen: _summary(found, screen))
    for path in written:
        notes().print(say("cli_explain.wrote", path=path), markup=False)


def _explained(loaded: Any, text: str, target: str | None, **chosen: Any) -> Explanation:
    from rich.progress import Progress

    from regard.explain import explain

    with Progress(console=notes(), transient=True) as bar:
        task = bar.add_task(say("cli_explain.working"), total=None)
        return explain(
            loaded, text, target, **chosen, progress=lambda done, of: bar.update(task, completed=done, total=of)
        )


def _written(found: Explanation, page: str | None, picture: str | None) -> list[str]:
    from regard.report import html, png

    if page is not None:
        html.write(found.report(), page)
    if picture is not None and (remark := png.write(found.report(), picture)):
        notes().print(remark, markup=False)
    return [Path(path).as_posix() for path in (page, picture) if path is not None]


def _summary(found: Explanation, screen: Console) -> None:
    from regard.report import terminal

    terminal.show(found.summary(), screen)
