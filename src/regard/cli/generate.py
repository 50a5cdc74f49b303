"""`regard generate`: prompts in, texts out."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb, wants_json
from regard.cli.mistakes import Mistake
from regard.config import to_dict
from regard.errors import BadFileError
from regard.generate.settings import Settings
from regard.words import say

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.generate.text import Generated


@verb("generate")
@argument("model", type=click.Path(exists=True))
@option("--prompt", "prompts", multiple=True)
@option("--max-tokens", type=int, default=Settings.max_tokens)
@option("--greedy", is_flag=True)
@option("--temperature", type=float)
@option("--top-k", type=int)
@option("--top-p", type=float)
@option("--min-p", type=float)
@option("--repetition-penalty", type=float, default=Settings.repetition_penalty)
@option("--beams", type=int, default=Settings.beams)
@option("--length-penalty", type=float, default=Settings.length_penalty)
@option("--samples", type=int, default=Settings.samples)
@option("--seed", type=int, default=Settings.seed)
@option("--stop", multiple=True)
@option("--no-cache", is_flag=True)
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    model: str, prompts: tuple[str, ...], device: str, dtype: str, threads: int | None, **decoding: Any
) -> None:
    settings = _settings(**decoding)
    prompts = prompts or _lines()
    from regard import bundle
    from regard.cli.machine import chosen

    loaded = bundle.load(model, **chosen(device, dtype, threads))
    drawing = any(decoding[name] is not None for name in ("temperature", "top_k", "top_p", "min_p"))
    if loaded.task == "seq2seq" and not drawing and settings.beams == settings.samples == 1:
        settings = replace(settings, temperature=0.0)  # an answer is looked for, not made up
    texts = _write(loaded, prompts, settings)
    document = {"model": model, "settings": to_dict(settings), "texts": [_plain(each, prompts) for each in texts]}
    answer(document, lambda screen: None)
    full = sum(each.reason == "context" for each in texts)
    if full:
        context = loaded.model.config.context
        notes().print(say("cli_generate.reached_context", count=full, all=len(texts), context=context), markup=False)


def _settings(greedy: bool, temperature: float | None, no_cache: bool, **others: Any) -> Settings:
    if greedy and temperature is not None:
        raise Mistake("cli_generate.greedy_and_temperature", temperature=temperature)
    if greedy:
        others["temperature"] = 0.0
    elif temperature is not None:
        others["temperature"] = temperature
    return Settings(cache="none" if no_cache else Settings.cache, **others)


def _lines() -> tuple[str, ...]:
    """The prompts on stdin; empty lines are none."""
    if sys.stdin.isatty():
        raise Mistake("cli_generate.no_prompt")
    # Whatever the terminal's encoding: what comes through a pipe is UTF-8.
    text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
    try:
        lines = tuple(line.rstrip("\n") for line in text if line.strip())
    except UnicodeDecodeError as error:
        raise BadFileError("cli_generate.not_utf8", why=error.reason) from error
    finally:
        text.detach()
    if not lines:
        raise Mistake("cli_generate.no_prompt")
    return lines


def _write(loaded: Bundle, prompts: Sequence[str], settings: Settings) -> list[Generated]:
    """Generate and, unless JSON is wanted, print: a single text while it is written, several when all are there."""
    from regard.generate import generate

    if wants_json():
        return generate(loaded, prompts, settings)
    continues = loaded.task == "causal-lm"
    if len(prompts) == settings.samples == 1:
        ahead = [prompts[0]] if continues else []  # shown with the first piece: a prompt that is refused is not shown

        def show(prompt: int, sample: int, piece: str) -> None:
            click.echo("".join(ahead) + piece, nl=False)
            ahead.clear()

        texts = generate(loaded, prompts, settings, show)
        click.echo("".join(ahead))
        return texts
    texts = generate(loaded, prompts, settings)
    for each in texts:
        # A translation is a line for a line; a continuation may have lines of its own and is set apart by an empty one.
        click.echo(prompts[each.prompt] + each.text + "\n" if continues else each.text)
    return texts


def _plain(each: Generated, prompts: Sequence[str]) -> dict[str, Any]:
    return {
        "prompt": prompts[each.prompt],
        "sample": each.sample,
        "text": each.text,
        "tokens": each.tokens,
        "reason": each.reason,
        "logprob": each.logprob,
    }
