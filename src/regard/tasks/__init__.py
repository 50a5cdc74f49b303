"""What a model is trained to do: one file per task, from a row of data to its score.

    task = tasks.get("causal-lm", {}, tokenizer, context=256)
    task.samples(row, index=7, epoch=0, seed=1)     # a row as token arrays with their labels
    task.collate(samples, ids)                      # several of them in one flat row, no padding
    task.loss(model, batch, key)                    # sum over the batch's targets, in nats
    task.evaluate(model, rows)                      # the one scoring path: training, `regard eval`, the demo
    task.baselines(train, held_out)                 # the same figures without a Transformer
    task.predict(bundle, texts)                     # text in, dicts out

Names and settings are known without torch; `get` imports the one file it needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from regard.errors import ConfigError
from regard.tasks.config import CTC, CausalLM, Classification, Config, ImageClassification, MaskedLM, Seq2Seq

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.marks import Marks
    from regard.inputs.processors import Processor
    from regard.inputs.tokenizer import Tokenizer
    from regard.tasks.base import Task

__all__ = [
    "CTC", "CausalLM", "Classification", "Config", "ImageClassification", "MaskedLM", "Seq2Seq", "config", "get",
    "names", "of",
]  # fmt: skip

_TASKS: dict[str, tuple[str, type[Any]]] = {
    "causal-lm": ("causal_lm", CausalLM),
    "masked-lm": ("masked_lm", MaskedLM),
    "seq2seq": ("seq2seq", Seq2Seq),
    "classification": ("classification", Classification),
    "ctc": ("ctc", CTC),
    "image-classification": ("image_classification", ImageClassification),
}


def names() -> tuple[str, ...]:
    """The tasks there are."""
    return tuple(_TASKS)


def config(name: str, values: Mapping[str, Any], where: str = "task") -> Config:
    """The settings of the task `name` out of a table, checked; refuses unknown names, keys and values."""
    from regard.config import from_dict

    return from_dict(_entry(name)[1], dict(values), where=where)


def get(
    name: str,
    settings: Config | Mapping[str, Any],
    tokenizer: Tokenizer,
    *,
    context: int,
    labels: Sequence[str] = (),
    processor: Processor | None = None,
    marks: Marks | None = None,
) -> Task:
    """The task `name` for a tokenizer and a model of `context` tokens; `labels` are a classification's classes,
    `processor` is what makes of sound or images what the model is given, `marks` says what begins
    and ends its targets."""
    module, kind = _entry(name)
    if isinstance(settings, Mapping):
        settings = config(name, settings)
    if not isinstance(settings, kind):
        raise TypeError(f"{name} takes {kind.__name__}, not {type(settings).__name__}")
    build = importlib.import_module(f"regard.tasks.{module}").build
    more: dict[str, Any] = {"processor": processor} if name in ("ctc", "image-classification") else {}
    if name == "seq2seq":
        more["marks"] = marks
    return build(settings, tokenizer, context=context, labels=tuple(labels), **more)


def of(bundle: Bundle, settings: Config | None = None) -> Task:
    """The task that a bundle's model was made for; `settings` None = the usual ones."""
    more: dict[str, Any] = {"labels": bundle.labels, "processor": bundle.processor}
    more["marks"] = bundle.marks.settled(bundle.model.config)
    not_of_text = bundle.task in ("ctc", "image-classification")
    context = bundle.model.config.context if not_of_text else bundle.context
    return get(bundle.task, settings or {}, bundle.tokenizer, context=context, **more)


def _entry(name: str) -> tuple[str, type[Any]]:
    if name not in _TASKS:
        raise ConfigError("tasks.unknown_task", name=name, names=", ".join(_TASKS))
    return _TASKS[name]
