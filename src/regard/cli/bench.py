"""`regard bench`: things measured side by side on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from regard.cli.command import answer, argument, group, notes, option
from regard.errors import RegardError
from regard.words import language, say

FALLBACK = "sample:addresses"  # long documents in English
LONGEST, FAR = 4096, (16384, 65536)
KINDS = ("exact", "window", "blocks", "lsh", "favor")


@group("bench")
def command() -> None:
    """Its texts: words/cli_bench.toml."""


@command.verb("attention")
@argument("model", type=click.Path())
@option("--method", type=click.Choice(KINDS), multiple=True)
@option("--data")
@option("--text")
@option("--length", type=click.IntRange(2, 1 << 20), multiple=True)
@option("--layer-length", type=click.IntRange(2, 1 << 20), multiple=True)
@option("--beyond-context", is_flag=True)
@option("--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True)
@option("--window", type=click.IntRange(2))
@option("--block", type=click.IntRange(1))
@option("--random", type=click.IntRange(0), default=2, show_default=True)
@option("--cluster", type=click.IntRange(2))
@option("--rounds", type=click.IntRange(1, 64), default=2, show_default=True)
@option("--features", type=click.IntRange(1, 1 << 16), default=256, show_default=True)
@option("--seed", type=int, default=0)
@option("--html", type=click.Path(dir_okay=False))
@option("--png", type=click.Path(dir_okay=False))
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def attention(model: str, data: str | None, text: str | None, html: str | None, png: str | None, **told: Any) -> None:
    """Swap the attention of trained weights, and measure."""
    from regard import bundle
    from regard.cli import reports
    from regard.cli.machine import chosen
    from regard.explain import swap, swap_page
    from regard.report.sections import spoken

    loaded = bundle.load(model, **chosen(told["device"], told["dtype"], told["threads"]))
    lengths = told["length"] or _usual(loaded.context)
    far = told["layer_length"] or sorted({*lengths, *FAR})
    tokens, name = _read(loaded, model, data, text, max(lengths))
    with notes().status("") as status:
        found = swap.compare(
            loaded,
            tokens,
            methods=told["method"] or KINDS,
            settings=_settings(max(lengths), told),
            lengths=lengths,
            layer_lengths=far,
            beyond=told["beyond_context"],
            most=told["seconds"],
            progress=lambda what: status.update(spoken(what, language())),
        )
    machine = _machine(loaded)
    report = swap_page.report(found, _facts(model, name, len(tokens), machine))
    reports.write(report, html, png)
    document = {"model": model, "data": name, "tokens": len(tokens), **machine, **swap_page.document(found)}
    answer(document, lambda screen: reports.show(report, screen))


def _usual(context: int) -> list[int]:
    most = min(context, LONGEST)
    return sorted({max(most // 4, 2), max(most // 2, 2), most})


def _settings(longest: int, told: dict[str, Any]) -> Any:
    """The settings, in proportion to the text where nothing is said."""
    from regard.explain.swap import Settings

    window = told["window"] or min(256, max(16, longest // 8))
    return Settings(
        window=window,
        block=told["block"] or max(window // 4, 1),
        cluster=told["cluster"] or max(window // 2, 2),
        **{name: told[name] for name in ("random", "rounds", "features", "seed")},
    )


def _read(loaded: Any, model: str, data: str | None, text: str | None, most: int) -> tuple[list[int], str]:
    """Texts one after the other as the model's tokens, at most so many; and where they come from."""
    from regard.data import content, sources
    from regard.train import setup
    from regard.train.run import Run

    rows: Any = None
    run = Run(model)
    if data is None and run.exists:
        rows = setup.rows(run.recipe.data)[1]
    if rows is None:
        column: dict[str, Any] = {"text": text} if text else {}
        rows = sources.open(data or FALLBACK, **column)
    tokenizer = loaded.tokenizer
    ends = [one for one in (tokenizer.eos, tokenizer.sep) if one is not None][:1]
    begins = [one for one in (tokenizer.bos, tokenizer.cls) if one is not None][:1]
    tokens: list[int] = list(begins)
    for number in range(len(rows)):
        for part in content.parts(rows[number]):
            tokens += [*tokenizer.encode(part, special=False), *ends]
        if len(tokens) >= most:
            break
    if len(tokens) < 2:
        raise RegardError("swap.no_text")
    return tokens[:most], rows.name


def _machine(loaded: Any) -> dict[str, Any]:
    import torch

    parameter = next(loaded.model.parameters())
    dtype = str(parameter.dtype).removeprefix("torch.")
    return {"device": str(parameter.device), "threads": torch.get_num_threads(), "dtype": dtype}


def _facts(model: str, name: str, tokens: int, machine: dict[str, Any]) -> Sequence[tuple[Any, Any]]:
    from regard.report.sections import message

    return [
        (message("cli_bench.attention.fact_model"), model),
        (message("cli_bench.attention.fact_data"), f"{name} ({tokens:,})"),
        (message("cli_bench.attention.fact_machine"), say("cli_bench.attention.machine", **machine)),
    ]
