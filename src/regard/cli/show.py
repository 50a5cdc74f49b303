"""`regard show`: a model's architecture, parameters, memory and cache, without its weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, verb
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.models.anatomy import Anatomy, Part


@verb("show")
@argument("model", type=click.Path())
def command(model: str) -> None:
    from regard import bundle
    from regard.models.anatomy import BYTES, examine

    told = bundle.describe(model)
    found = examine(told.config)
    cache = None
    if found.cache is not None:
        sizes = {name: round(found.cache.numbers * BYTES[name]) for name in ("float32", "bfloat16")}
        cache = {**asdict(found.cache), "bytes_per_token": sizes}
    document = {
        "model": model, "family": found.family, "model_type": told.model_type, "task": told.task,
        "sizes": found.sizes, "parameters": found.parameters, "memory": found.memory(), "cache": cache,
        "stored": told.stored, "parts": [_document(part) for part in found.parts],
    }  # fmt: skip
    answer(document, lambda screen: _shown(screen, document, found))


def _document(part: Part) -> dict[str, Any]:
    below = [_document(one) for one in part.parts]
    return {"name": part.name, "kind": part.kind, "parameters": part.parameters, "times": part.times,
            "shape": list(part.shape), "parts": below}  # fmt: skip


def _shown(screen: Console, told: dict[str, Any], found: Anatomy) -> None:
    from rich.table import Table
    from rich.text import Text

    head = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    kind = f"{told['family']} ({told['model_type']})" if told["model_type"] else told["family"]
    lines = [("family", kind), ("task", told["task"]), ("parameters", f"{found.parameters:,}")]
    lines += [("sizes", "  ".join(f"{name} {value:,}" for name, value in found.sizes.items()))]
    lines += [("memory", "  ".join(f"{name} {_size(count)}" for name, count in found.memory().items()))]
    if told["stored"]:
        lines.append(("stored", told["stored"]))
    if found.cache is not None:
        lines.append(("cache", _cached(found, told["cache"]["bytes_per_token"])))
    for name, value in lines:
        head.add_row(Text(say(f"cli_show.{name}"), style="dim"), Text(str(value)))
    screen.print(head)
    screen.print()
    parts = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("part", "parameters", "share"):
        parts.add_column(say(f"cli_show.{column}"), justify="left" if column == "part" else "right")
    for part in found.parts:
        share = part.parameters / max(found.parameters, 1)
        parts.add_row(Text(part.name), f"{part.parameters:,}", f"{share:.1%}")
    screen.print(parts)
    screen.print()
    for number, part in enumerate(found.parts):
        if number:
            width = found.sizes.get("dim")
            screen.print(Text(f"    ↓ {'' if width is None else f'(B, T, {width})'}", style="dim"))
        screen.print(_drawn(part))


def _drawn(part: Part) -> Any:
    """A part as a box: what it holds by name, kind and shape, boxes within it for what repeats."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    boxes: list[Any] = []
    for path, one in _flat(part):
        if one.times > 1 or (one.kind in ("Block", "Parallel") and one.parts):
            boxes.append(_drawn(one))
        else:
            shape = " x ".join(f"{size:,}" for size in one.shape)
            rows.add_row(Text(path), Text(one.kind, style="dim"), Text(shape))
    if not part.parts and part.shape:
        rows.add_row(Text(""), Text(part.kind, style="dim"), Text(" x ".join(f"{size:,}" for size in part.shape)))
    times = f"{part.times} x " if part.times > 1 else ""
    held = [*([rows] if rows.row_count else []), *boxes]
    inside = Group(*held) if held else Text(part.kind, style="dim")
    title = Text(f"{times}{part.kind}  {part.name}")
    return Panel(inside, title=title, title_align="left", expand=False, padding=(0, 1))


def _flat(part: Part, path: str = "") -> list[tuple[str, Part]]:
    """The leaves below a part by their path, and the boxes on the way to them."""
    found: list[tuple[str, Part]] = []
    for one in part.parts:
        name = f"{path}.{one.name}" if path else one.name
        if one.shape or one.times > 1 or one.kind in ("Block", "Parallel"):
            found.append((name, one))
        if not (one.times > 1 or one.kind in ("Block", "Parallel")):
            found += _flat(one, name)
    return found


def _cached(found: Anatomy, sizes: dict[str, int]) -> str:
    cache = found.cache
    assert cache is not None
    told = say("cli_show.per_token", numbers=f"{cache.numbers:,}", layers=cache.layers, float32=_size(sizes["float32"]),
               bfloat16=_size(sizes["bfloat16"]))  # fmt: skip
    window = say("cli_show.windows", local=cache.local, window=cache.window) if cache.local else ""
    return told + window


def _size(count: int) -> str:
    for unit, large in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= large:
            return f"{count / large:,.2f} {unit}"
    return f"{count} B"
