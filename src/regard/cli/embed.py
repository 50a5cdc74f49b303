"""`regard embed`: texts in, vectors out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from regard.cli.command import answer, argument, option, verb, wants_json
from regard.cli.fetching import ready
from regard.cli.mistakes import Mistake
from regard.cli.piped import lines
from regard.errors import RegardError
from regard.words import say

if TYPE_CHECKING:
    from torch import Tensor

    from regard.inputs.sentences import How


@verb("embed")
@argument("model", type=click.Path())
@argument("texts", nargs=-1, metavar="[TEXT]...")
@option("--pool", type=click.Choice(["mean", "first", "last"]))
@option("--prompt", metavar="NAME")
@option("--plain", is_flag=True)
@option("--context", type=click.IntRange(1))
@option("--out", type=click.Path(dir_okay=False))
@option("--yes", is_flag=True)
@option("--device", default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    model: str, texts: tuple[str, ...], pool: How | None, prompt: str | None, plain: bool, context: int | None,
    out: str | None, yes: bool, device: str, threads: int | None,
) -> None:  # fmt: skip
    if not texts and sys.stdin.isatty():
        raise Mistake("cli_embed.no_text")
    texts = texts or tuple(lines())  # empty ones too: line n is vector n
    ready(model, yes=yes)
    from regard import bundle
    from regard.cli.machine import chosen
    from regard.tasks import image_text, pictures, sounds
    from regard.tasks.vectors import vectors

    loaded = bundle.load(model, **chosen(device, "float32", threads))
    if (loaded.processor is not None and loaded.task.startswith("image-")) or loaded.task == image_text.CONTRAST:
        if not pool is prompt is context is None:
            raise Mistake("cli_embed.of_images")
        of = image_text if loaded.task == image_text.CONTRAST else pictures
        found = of.vectors(loaded, texts, normalised=not plain)
    elif loaded.task == "sound-embedding":
        if not pool is prompt is context is None:
            raise Mistake("cli_embed.of_images")
        found = sounds.vectors(loaded, texts, normalised=not plain)
    else:
        found = vectors(loaded, texts, how=pool, prompt=prompt, normalised=not plain, context=context)
    if out is not None:
        _write(Path(out), found)
        size = {"texts": len(texts), "dim": found.shape[1], "out": out}
        answer(size, lambda screen: screen.print(say("cli_embed.done", **size), markup=False))
    elif wants_json():
        answer({"model": model, "texts": list(texts), "vectors": found.tolist()}, lambda screen: None)
    elif sys.stdout.isatty():
        click.echo(_table(texts, found))
    else:
        for text, vector in zip(texts, found.tolist(), strict=True):
            click.echo(json.dumps({"text": text, "vector": vector}, ensure_ascii=False))


def _write(path: Path, found: Tensor) -> None:
    """A .npy of float32, (texts, dim); or a table of numbers, a line for each text."""
    import numpy as np

    from regard import limits

    try:
        with limits.replacing(path) as file:
            if path.suffix == ".npy":
                np.save(file, found.numpy(), allow_pickle=False)
            else:
                np.savetxt(file, found.numpy(), fmt="%.9g", delimiter="\t")
    except OSError as error:
        raise RegardError("weights.not_written", path=path, why=error.strerror or error) from error


def _table(texts: tuple[str, ...], found: Tensor) -> str:
    """For people: how like each other the texts are."""
    unit = found / found.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    cosine = unit @ unit.T
    lines = [say("cli_embed.likeness", dim=found.shape[1])]
    for number, text in enumerate(texts):
        likes = "  ".join(f"{float(value):6.3f}" for value in cosine[number])
        lines.append(f"{number + 1:>3}  {likes}   {text[:60]}")
    return "\n".join(lines)
