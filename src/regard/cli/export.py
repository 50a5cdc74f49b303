"""`regard export`: a model in another program's format, read again and compared before it is called done."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, option, verb
from regard.words import say

if TYPE_CHECKING:
    from regard.export import Format


@verb("export")
@argument("model", type=click.Path())
@option("--to", type=click.Choice(["hf", "gguf", "ct2"]), required=True)
@option("--out", type=click.Path(), required=True)
@option("--type", "type_", type=click.Choice(["F32", "F16", "BF16", "Q8_0"]))
def command(model: str, to: Format, out: str, type_: str | None) -> None:
    from regard import bundle
    from regard.errors import ConfigError
    from regard.export import export

    if to == "hf" and type_ is not None:
        raise ConfigError("cli_export.type_of_gguf")
    written = export(bundle.load(model, dtype=None), Path(out), to, type_)
    document: dict[str, Any] = {"model": model, **asdict(written), "path": str(written.path)}
    answer(document, lambda screen: screen.print(_said(document), markup=False, soft_wrap=True))


def _said(written: dict[str, Any]) -> str:
    size = f"{written['bytes'] / 1e6:,.1f} MB"
    return say("cli_export.done", path=written["path"], size=size, tensors=written["tensors"],
               type=written["type"], largest=f"{written['largest']:.2g}")  # fmt: skip
