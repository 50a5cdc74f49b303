"""`regard predict`: texts in, a line of JSON out for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, option, verb, wants_json
from regard.cli.decoding import heard
from regard.cli.languages import between, language_options
from regard.cli.mistakes import Mistake
from regard.cli.piped import lines

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.tasks.base import Task

_AT_ONCE = 32  # lines read before the next answers are written
_OF_IMAGES = {"image-classification": "candidates", "object-detection": "least", "segmentation": "out"}
_OF_SOUND = {"sound-classification": "candidates", "sound-tagging": "least"}
_IN_WORDS = {"contrast": {"among"}, "seq2seq": {"question", "max_tokens", "temperature", "beams", "seed"}}
_OF_TEXTS: dict[str, set[str]] = {
    "tagging": set(), "question-answering": {"question"}, "scoring": {"question"}, "choice": {"among"},
}  # fmt: skip
_WRITERS = ("causal-lm", "seq2seq")


@verb("predict")
@argument("model", type=click.Path())
@argument("texts", nargs=-1, metavar="[TEXT]...")
@option("--candidates", type=click.IntRange(1))
@option("--least", type=click.FloatRange(0.0, 1.0))
@option("--out", type=click.Path(file_okay=False))
@option("--among", multiple=True)
@option("--question")
@language_options
@option("--max-tokens", type=int)
@option("--temperature", type=float)
@option("--beams", type=int)
@option("--seed", type=int)
@option("--device", default="auto")
@option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@option("--threads", type=click.IntRange(1))
def command(model: str, texts: tuple[str, ...], device: str, dtype: str, threads: int | None, **wanted: Any) -> None:
    from regard import bundle
    from regard.cli.machine import chosen
    from regard.train.run import Run

    if not texts and sys.stdin.isatty():
        raise Mistake("cli_predict.no_text")
    loaded = bundle.load(model, **chosen(device, dtype, threads))
    chosen_options = {name: value for name, value in wanted.items() if value not in (None, ())}
    if loaded.processor is not None and loaded.processor.reads == "image" and loaded.task in _IN_WORDS:
        _shown(model, loaded.task, _in_words(loaded, texts or tuple(_lines()), chosen_options))
        return
    if loaded.processor is not None and loaded.processor.reads == "image" and loaded.task in _OF_IMAGES:
        _shown(model, loaded.task, _of_images(loaded, texts or _lines(), chosen_options))
        return
    if loaded.task in _OF_SOUND:
        _shown(model, loaded.task, _of_sound(loaded, texts or _lines(), chosen_options))
        return
    if loaded.task in _OF_TEXTS:
        _shown(model, loaded.task, _of_texts(loaded, texts or _lines(), chosen_options))
        return
    loaded = between(loaded, *(chosen_options.pop(name, None) for name in ("source_language", "target_language")))
    task = _task(loaded, Run(model).recipe.task_settings if Run(model).exists else None)
    options = _options(task, loaded, chosen_options)
    _shown(model, task.name, _predictions(task, loaded, texts or _lines(), options))


def _shown(model: str, task: str, predictions: Iterable[dict[str, Any]]) -> None:
    if wants_json():
        answer({"model": model, "task": task, "predictions": list(predictions)}, lambda screen: None)
        return
    for each in predictions:
        click.echo(json.dumps(each, ensure_ascii=False))


def _of_images(loaded: Bundle, paths: Iterable[str], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is said of the images at these paths."""
    from regard.tasks import pictures

    for name in wanted.keys() - {_OF_IMAGES[loaded.task]}:
        raise Mistake("cli_predict.not_here", option=f"--{name.replace('_', '-')}", task=loaded.task)
    if "out" in wanted:
        wanted["out"] = Path(wanted["out"])
    return pictures.predict(loaded, list(paths), **wanted)


def _of_texts(loaded: Bundle, texts: Iterable[str], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a model that only reads says of texts."""
    from regard.tasks import reading

    for name in wanted.keys() - _OF_TEXTS[loaded.task]:
        raise Mistake("cli_predict.not_here", option=f"--{name.replace('_', '-')}", task=loaded.task)
    return reading.predict(loaded, texts, **wanted)


def _of_sound(loaded: Bundle, paths: Iterable[str], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is said of the sounds at these paths."""
    from regard.tasks import sounds

    for name in wanted.keys() - {_OF_SOUND[loaded.task]}:
        raise Mistake("cli_predict.not_here", option=f"--{name.replace('_', '-')}", task=loaded.task)
    return sounds.predict(loaded, paths, **wanted)


def _in_words(loaded: Bundle, paths: tuple[str, ...], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is written of the images at these paths, or which of several texts fits each."""
    from regard.tasks import image_text

    for name in wanted.keys() - _IN_WORDS[loaded.task]:
        raise Mistake("cli_predict.not_here", option=f"--{name.replace('_', '-')}", task=loaded.task)
    if loaded.task == image_text.CONTRAST:
        return image_text.zero_shot(loaded, paths, wanted.get("among", ()))
    question = wanted.pop("question", None)
    usual = {"max_tokens": 64} | ({} if wanted.get("beams", 1) > 1 else {"temperature": 0.0})
    return image_text.captions(loaded, paths, heard(loaded, wanted, usual), question=question)


def _task(loaded: Bundle, settings: Any) -> Task:
    from regard import tasks

    if loaded.task == "embedding":
        raise Mistake("cli_predict.embed")
    return tasks.of(loaded, settings)


def _options(task: Task, loaded: Bundle, wanted: dict[str, Any]) -> dict[str, Any]:
    """What the task's `predict` takes; an option that this task has no use for is a mistake, not ignored."""
    if task.name in _WRITERS:
        fitting = wanted.keys() - {"candidates", "question", "among", "least", "out"}
    else:
        fitting = {"masked-lm": {"candidates"}, "classification": {"question"}}.get(task.name, set())
    for name in wanted.keys() - fitting:
        raise Mistake("cli_predict.not_here", option=f"--{name.replace('_', '-')}", task=task.name)
    if task.name not in _WRITERS:
        return wanted
    # A translation has one best answer; a continuation is drawn.
    usual = {"temperature": 0.0, "max_tokens": task.context} if task.name == "seq2seq" else {}
    if wanted.get("beams", 1) > 1:
        usual.pop("temperature", None)
    if not (wanted or loaded.marks.advice or not usual):
        return {}
    return {"settings": heard(loaded, wanted, usual)}


def _predictions(task: Task, loaded: Bundle, texts: Iterable[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    remaining = iter(texts)
    while some := list(islice(remaining, _AT_ONCE)):
        yield from task.predict(loaded, some, **options)
        sys.stdout.flush()


def _lines() -> Iterator[str]:
    """The lines of stdin, empty ones passed over."""
    return (line for line in lines() if line.strip())
