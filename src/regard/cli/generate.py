"""`regard generate`: prompts in, texts out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard import limits
from regard.cli.command import answer, argument, notes, option, verb, wants_json
from regard.cli.decoding import heard, named
from regard.cli.fetching import reading, ready
from regard.cli.languages import between, language_options
from regard.cli.mistakes import Mistake
from regard.cli.piped import lines
from regard.config import to_dict
from regard.generate.advised import DRAWN, settings
from regard.generate.settings import Rules, Search, Settings
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.bundle import Bundle
    from regard.generate.text import Generated


GUESSES = 5  # tokens guessed ahead where a source of guesses is given and their number is not


@verb("generate")
@argument("model", type=click.Path())
@option("--prompt", "prompts", multiple=True)
@language_options
@option("--max-tokens", type=int, default=Settings.max_tokens)
@option("--min-tokens", type=int, default=Rules.min_tokens)
@option("--greedy", is_flag=True)
@option("--temperature", type=float)
@option("--top-k", type=int)
@option("--top-p", type=float)
@option("--min-p", type=float)
@option("--typical-p", type=float)
@option("--repetition-penalty", "repetition", type=float, default=Rules.repetition)
@option("--frequency-penalty", "frequency", type=float, default=Rules.frequency)
@option("--presence-penalty", "presence", type=float, default=Rules.presence)
@option("--no-repeat", type=int)
@option("--bias", multiple=True)
@option("--bad", multiple=True)
@option("--schema")
@option("--regex")
@option("--beams", type=int, default=Settings.beams)
@option("--length-penalty", type=float, default=Search.length_penalty)
@option("--early-stopping", type=click.Choice(["estimate", "never", "full"]), default=Search.early_stopping)
@option("--groups", type=int, default=Search.groups)
@option("--diversity", type=float, default=Search.diversity)
@option("--force", "forced", multiple=True)
@option("--contrast", type=float)
@option("--draft", type=click.Path())
@option("--lookup", type=int)
@option("--guesses", type=int)
@option("--samples", type=int, default=Settings.samples)
@option("--best-of", type=int)
@option("--logprobs", type=click.IntRange(0), default=0)
@option("--seed", type=int, default=Settings.seed)
@option("--stop", multiple=True)
@option("--no-cache", is_flag=True)
@option("--out", type=click.Path(dir_okay=False))
@option("--guidance", type=float)
@option("--yes", is_flag=True)
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    model: str, prompts: tuple[str, ...], draft: str | None, logprobs: int, yes: bool, device: str, dtype: str,
    threads: int | None, out: str | None, guidance: float | None, source_language: str | None,
    target_language: str | None, **decoding: Any,
) -> None:  # fmt: skip
    told = _named(draft, **decoding)
    plain = settings(told)  # what is wrong is said before a model is loaded
    for name in (model, *([draft] if draft else [])):
        ready(name, yes=yes)
    with reading(model):
        from regard import bundle
        from regard.cli.machine import chosen

        where = chosen(device, dtype, threads)
        loaded, guessing = bundle.load(model, **where), bundle.load(draft, **where) if draft else None
    if _paints(loaded, out, guidance):
        _paint(loaded, model, prompts, plain, out, guidance)
        return
    prompts = prompts or _lines()
    loaded = between(loaded, source_language, target_language)
    how = heard(loaded, told, _usual(loaded, told))
    texts = _write(loaded, prompts, how, told=logprobs, draft=guessing)
    document = {"model": model, "settings": to_dict(how), "texts": [_plain(each, prompts) for each in texts]}
    answer(document, lambda screen: _tell(screen, loaded, texts) if logprobs else None)
    formed = how.rules.schema is not None or how.rules.regex is not None
    cut = sum(each.reason in ("length", "context") for each in texts) if formed else 0
    if cut:
        notes().print(say("cli_generate.form_cut", count=cut, all=len(texts)), markup=False)
    full = sum(each.reason == "context" for each in texts)
    if full:
        context = loaded.context
        notes().print(say("cli_generate.reached_context", count=full, all=len(texts), context=context), markup=False)


def _paints(loaded: Bundle, out: str | None, guidance: float | None) -> bool:
    """Whether the model makes images; one that does not has no use for what they need."""
    from regard.tasks.image_text import draws

    if loaded.task == "text-to-image" or (draws(loaded) and guidance is None):
        return True
    for name, value in (("--out", out), ("--guidance", guidance)):
        if value is not None:
            raise Mistake("cli_generate.no_image", option=name, task=loaded.task)
    return False


def _paint(
    loaded: Bundle, model: str, prompts: Sequence[str], settings: Settings, out: str | None, guidance: float | None
) -> None:
    """A PNG of ``settings.samples`` images for each prompt, a row each; in the place of one of them alone, all. Of a
    model that knows colours alone a prompt is an image, whose upper half is kept; it also draws without one."""
    from regard.generate.pictures import Paint
    from regard.tasks.image_text import draw, draws, paint, sheet

    if out is None:
        raise Mistake("cli_generate.image_where")
    colours = draws(loaded)
    given = prompts or ((None,) if colours else tuple(_lines()))
    texts: list[Any] = [prompt for prompt in given for _ in range(settings.samples)]
    strength = 1.0 if guidance is None else guidance
    _heeded(settings)
    how = Paint(temperature=settings.temperature, top_k=settings.top_k, guidance=strength, seed=settings.seed)
    made = (draw if colours else paint)(loaded, texts, how)
    sheet(made, Path(out), most=settings.samples if settings.samples > 1 else 8)
    document = {"model": model, "settings": to_dict(how), "texts": list(prompts), "out": out}
    answer(document, lambda screen: screen.print(say("cli_generate.painted", count=len(texts), out=out), markup=False))


def _heeded(settings: Settings) -> None:
    """Raise a Mistake for what an image would be drawn without: most ways to decode are for texts."""
    kept = {name: getattr(settings, name) for name in ("temperature", "top_k", "samples", "seed", "max_tokens")}
    usual = Settings(**kept)
    parts = [(settings, usual), (settings.rules, usual.rules), (settings.search, usual.search)]
    nested = ("rules", "search")
    given = [
        field.name
        for mine, theirs in parts
        for field in fields(mine)
        if field.name not in nested and getattr(mine, field.name) != getattr(theirs, field.name)
    ]
    if given:
        raise Mistake("cli_generate.of_texts", names=", ".join(given))


def _named(
    draft: str | None, *, greedy: bool, temperature: float | None, no_cache: bool, bias: tuple[str, ...],
    schema: str | None, guesses: int | None, **others: Any,
) -> dict[str, Any]:  # fmt: skip
    """What was asked for, by the names that settings have."""
    if greedy and temperature is not None:
        raise Mistake("cli_generate.greedy_and_temperature", temperature=temperature)
    told = named(others)
    if greedy or temperature is not None:
        told["temperature"] = 0.0 if greedy else temperature
    if bias:
        told["bias"] = tuple(_biased(each) for each in bias)
    if schema is not None:
        told["schema"] = limits.read_text(schema[1:]) if schema.startswith("@") else schema
    if draft or others["lookup"] or guesses is not None:
        told["guesses"] = GUESSES if guesses is None else guesses
    return told | ({"cache": "none"} if no_cache else {})


def _usual(loaded: Bundle, told: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder-decoder's one answer is looked for, not made up."""
    drawing = told.keys() & {*DRAWN.values(), "contrast"}
    several = max(told.get("beams", 1), told.get("best_of", 0), told.get("samples", 1)) > 1
    return {"temperature": 0.0} if loaded.task == "seq2seq" and not drawing and not several else {}


def _biased(said: str) -> tuple[str, float]:
    """ "word=2.5" as a pair."""
    word, _, value = said.rpartition("=")
    try:
        return word, float(value)
    except ValueError as error:
        raise Mistake("cli_generate.bias_form", said=said) from error


def _lines() -> tuple[str, ...]:
    """The prompts on stdin; empty lines are none."""
    if sys.stdin.isatty():
        raise Mistake("cli_generate.no_prompt")
    found = tuple(line for line in lines() if line.strip())
    if not found:
        raise Mistake("cli_generate.no_prompt")
    return found


def _write(loaded: Bundle, prompts: Sequence[str], settings: Settings, **asked: Any) -> list[Generated]:
    """Generate and, unless JSON is wanted, print: a single text while it is written, several when all are there."""
    from regard.generate import generate

    if wants_json():
        return generate(loaded, prompts, settings, **asked)
    continues = loaded.task == "causal-lm"
    if len(prompts) == settings.samples == 1:
        ahead = [prompts[0]] if continues else []  # shown with the first piece: a prompt that is refused is not shown

        def show(prompt: int, sample: int, piece: str) -> None:
            click.echo("".join(ahead) + piece, nl=False)
            ahead.clear()

        texts = generate(loaded, prompts, settings, show, **asked)
        click.echo("".join(ahead))
        return texts
    texts = generate(loaded, prompts, settings, **asked)
    for each in texts:
        # A translation is a line for a line; a continuation may have lines of its own and is set apart by an empty one.
        click.echo(prompts[each.prompt] + each.text + "\n" if continues else each.text)
    return texts


def _tell(screen: Console, loaded: Bundle, texts: Sequence[Generated]) -> None:
    """A line for each token: what it is, its log-probability, and the most probable ones at its place."""
    for each in texts:
        for step in each.steps:
            tokens = [(step.token, step.logprob), *step.best]
            names = loaded.tokenizer.pieces([token for token, _ in tokens])
            told = [f"{name!r} {logprob:.3f}" for name, (_, logprob) in zip(names, tokens, strict=True)]
            screen.print(f"{told[0]:24} | {'  '.join(told[1:])}", markup=False)


def _plain(each: Generated, prompts: Sequence[str]) -> dict[str, Any]:
    return {
        "prompt": prompts[each.prompt],
        "sample": each.sample,
        "text": each.text,
        "tokens": each.tokens,
        "reason": each.reason,
        "logprob": each.logprob,
        "logprobs": [step.logprob for step in each.steps],
        "best": [[list(pair) for pair in step.best] for step in each.steps if step.best],
    }
