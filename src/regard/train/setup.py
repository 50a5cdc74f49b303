"""From a recipe to what is trained: data, tokenizer, model and task, each decided once and written into the recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Thread
from typing import Any, cast

import numpy as np
import torch

from regard import bundle, config, models, tasks
from regard.bundle import Bundle
from regard.data import order, show, sources
from regard.data.show import Document
from regard.data.sources import Source, Subset
from regard.data.split import split
from regard.errors import ConfigError, RegardError
from regard.inputs import languages, letters, marks
from regard.inputs.absent import NoTokenizer
from regard.inputs.images import Images, Settings
from regard.inputs.marks import Marks
from regard.inputs.tokenizer import Tokenizer
from regard.ops.random import Key
from regard.tasks.base import Task
from regard.tasks.scores import Result
from regard.train import machine
from regard.train.feed import Feed, Place
from regard.train.loop import weights
from regard.train.recipe import DataConfig, Recipe
from regard.words import nearest


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything but the weights. `recipe` has every setting that had to be found out; `base` is loaded."""

    recipe: Recipe
    train: Source
    held_out: Source | None
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    model: Any  # the family's Config
    task: Task
    base: Bundle | None
    marks: Marks

    @property
    def family(self) -> str:
        return models.name_of(self.model)

    def feed(self, polled: Callable[[], None] = lambda: None, counts: np.ndarray | None = None) -> Feed:
        settings = self.recipe.train
        changes = self.recipe.data.augment
        augment = changes if changes.drop or changes.swap or changes.mask else None
        known: dict[str, Any] = {"seed": settings.seed, "augment": augment, "polled": polled, "counts": counts}
        return Feed(self.task, self.train, settings.batch, **known)

    def score(self) -> Callable[[Any, Callable[[int], None]], Result] | None:
        """Scores a model on the rows that the recipe's `evaluate` asks for; None where nothing is held out."""
        if self.held_out is None:
            return None
        chosen = some(self.held_out, self.recipe.train.evaluate.rows, self.recipe.data.seed)
        rows = [chosen[number] for number in range(len(chosen))]
        return lambda model, poll: self.task.evaluate(model, rows, progress=poll)

    def build(self) -> tuple[Any, tuple[str, ...]]:
        """The model at the start, and the names of its parameters that `base` did not have and that are random."""
        model = models.build(self.model, Key(self.recipe.train.seed).at(-1))
        return model, inherit(model, weights(self.base.model)) if self.base else ()

    def bundle(self, model: Any) -> Bundle:
        known = {"processor": getattr(self.task, "processor", None), "marks": self.marks}
        return Bundle(model, self.tokenizer, self.family, self.recipe.task_name, self.labels, **known)

    def first_batch(self, feed: Feed) -> list[Document]:
        """What the model sees first, decoded."""
        ids = feed.plan(0)[0]
        lost = {int(i): sample.cut for i in ids if (sample := feed.sample(int(i), 0)) is not None}
        found = []
        for batch in feed.batches(Place()):
            where = feed.where(batch.ids)
            words = self.tokenizer if batch.image is None else _Squares()
            found += show.documents(batch, words, where=where, cut=lost, classes=self.labels)
        return found


def prepare(
    recipe: Recipe,
    *,
    tokenizer: Path | None = None,
    with_base: bool = True,
    polled: Callable[[], None] = lambda: None,
) -> Setup:
    """`tokenizer` is the folder of one that is settled already; without `with_base` the weights of `base` are left.
    `polled` is called while a tokenizer is trained.
    """
    base = bundle.load(recipe.base) if recipe.base and with_base else None
    if base is None:  # a wrong setting is told before the data are read
        models.config(str(recipe.model["family"]), sizes(recipe), where="recipe: model")
    train, held_out = rows(recipe.data)
    labels = classes(recipe, train)
    words = find_tokenizer(recipe, train, tokenizer, base, polled)
    model = model_config(recipe, words, labels, base)
    known = {"labels": labels, "processor": base.processor if base else _processor(recipe, model)}
    words, known["marks"] = _marked(recipe, words, model, tokenizer, base)
    task = tasks.get(recipe.task_name, recipe.task_settings, words, context=model.context, **known)
    resolved = replace(
        recipe,
        model={"family": models.name_of(model), **config.to_dict(model)},
        train=replace(recipe.train, machine=machine.resolve(recipe.train.machine)),
    )
    return Setup(resolved, train, held_out, words, labels, model, task, base, known["marks"])


def rows(data: DataConfig) -> tuple[Source, Source | None]:
    """(what is trained on, what is held out); the one place where a run's rows are divided."""
    if not data.train:
        raise ConfigError("train.no_data")
    train = sources.open(data.train, **data.reading)
    held_out: Source | None = None
    if data.held_out is not None:
        held_out = sources.open(data.held_out, **data.reading)
    elif data.share:
        train, held_out = split(train, data.share, data.seed, data.by)
    return some(train, data.rows, data.seed), held_out


def some(source: Source, most: int | None, seed: int) -> Source:
    """At most `most` of the rows, drawn by the seed, in their own order."""
    if most is None or len(source) <= most:
        return source
    return Subset(source, np.sort(order.permutation(seed, 0, len(source))[:most]))


def classes(recipe: Recipe, train: Source) -> tuple[str, ...]:
    """The classes of a classification: as the recipe lists them, else those of the training data, numbers by value."""
    settings = recipe.task_settings
    if not isinstance(settings, tasks.Classification | tasks.ImageClassification):
        return ()
    if settings.labels:
        return settings.labels
    if "label" not in train[0]:
        raise RegardError("train.no_label", path=train.name, columns=", ".join(train.columns))
    found = {train[number]["label"] for number in range(len(train))}
    numbers = all(label.removeprefix("-").isdecimal() for label in found)
    return tuple(sorted(found, key=(lambda label: (int(label), label)) if numbers else None))


def find_tokenizer(
    recipe: Recipe, train: Source, folder: Path | None, base: Bundle | None, polled: Callable[[], None] = lambda: None
) -> Tokenizer:
    """The run's own if it has one, else the base's, else one that is loaded or trained as the recipe says."""
    wants = recipe.tokenizer
    if isinstance(recipe.task_settings, tasks.ImageClassification):
        return cast(Tokenizer, NoTokenizer(base.family if base else str(recipe.model.get("family"))))
    if folder is not None and folder.is_dir():
        return Tokenizer.load(folder)
    if base is not None and not isinstance(base.tokenizer, NoTokenizer):
        return base.tokenizer
    if wants.load is not None:
        return Tokenizer.load(wants.load)
    if isinstance(recipe.task_settings, tasks.CTC):
        return Tokenizer(*letters.learnt(row["target"] for row in train if "target" in row))
    texts = sources.texts(some(train, wants.rows, recipe.data.seed))
    return _watched(lambda: Tokenizer.train(wants.kind, texts, wants.vocab), polled)


def _marked(
    recipe: Recipe, tokenizer: Tokenizer, model: Any, folder: Path | None, base: Bundle | None
) -> tuple[Tokenizer, Marks]:
    """The tokenizer, and what begins and ends the model's texts: as the run has it, or the base, in the languages that
    the recipe asks for."""
    found = base.marks if base is not None else Marks()
    if folder is not None and folder.is_dir():
        found = marks.read(folder, {}, getattr(model, "vocab", 1), getattr(model, "start", None))
    settings = recipe.task_settings
    if not isinstance(settings, tasks.Seq2Seq):
        return tokenizer, found
    return languages.between(tokenizer, found.settled(model), settings.source_language, settings.target_language)


def _watched(work: Callable[[], Tokenizer], polled: Callable[[], None]) -> Tokenizer:
    """The result of `work`, which hears no signal while it is at it; it is left where it is if `polled` raises."""
    found: list[Tokenizer] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again by who waits
            failed.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)
        polled()
    if failed:
        raise failed[0]
    return found[0]


def model_config(recipe: Recipe, tokenizer: Tokenizer, labels: tuple[str, ...], base: Bundle | None) -> Any:
    """The family's Config: the base's, changed as the recipe says, with vocabulary, head and classes as needed."""
    values = sizes(recipe)
    if base is not None:
        family = base.family
        if recipe.model.get("family", family) != family:
            raise ConfigError("train.other_family", base=recipe.base, family=family, asked=recipe.model["family"])
        values = merged(config.to_dict(base.model.config), values)
    else:
        family = str(recipe.model["family"])
    known = {field.name for field in fields(models.family(family).Config)}
    if isinstance(recipe.task_settings, tasks.ImageClassification):
        if models.reads(family) != ("image",) or "head" not in known:
            raise ConfigError("train.no_head", family=family, task=recipe.task_name)
        return models.config(family, values | {"head": "classify", "labels": labels}, where="recipe: model")
    found = {"vocab": values.get("vocab", tokenizer.size), "labels": labels}
    found |= {"head": "classify" if labels else "language", "pad": tokenizer.pad}
    if isinstance(recipe.task_settings, tasks.CTC):
        found |= {"head": "ctc", "blank": tokenizer.pad}
        found |= {} if base else {"mels": values.get("mels", recipe.task_settings.mels)}
    if "start" not in values:  # one that was trained before begins as it has learnt to
        found |= {"start": tokenizer.pad if tokenizer.bos is None else tokenizer.bos}
    if labels and ("head" not in known or "image" in models.reads(family)):
        raise ConfigError("train.no_head", family=family, task=recipe.task_name)
    values |= {key: value for key, value in found.items() if key in known}
    if values["vocab"] < tokenizer.size:
        raise ConfigError("train.vocab", vocab=values["vocab"], size=tokenizer.size)
    return models.config(family, values, where="recipe: model")


def _processor(recipe: Recipe, model: Any) -> Images | None:
    """What makes of an image what a model of images, trained from nothing, sees: its size, and numbers from -1 to 1."""
    if not isinstance(recipe.task_settings, tasks.ImageClassification) or not hasattr(model, "image"):
        return None
    return Images(Settings(resize=model.image, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


class _Squares:
    """Stands for each patch of an image where a batch is shown as text."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return ["▪"] * len(ids)


def sizes(recipe: Recipe) -> dict[str, Any]:
    """The [model] table without the family's name."""
    return {key: value for key, value in recipe.model.items() if key != "family"}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, section by section."""
    both = dict(below)
    for key, value in above.items():
        inner = both.get(key)
        both[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


@torch.no_grad()
def inherit(model: torch.nn.Module, theirs: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Copy from `theirs` what both have. Only a head may be new: its parameters are returned by name."""
    new = []
    for name, parameter in weights(model).items():
        if name in theirs and theirs[name].shape == parameter.shape:
            parameter.copy_(theirs[name])
        elif name.startswith("head."):
            new.append(name)
        else:
            near = nearest(name, theirs) or "-"
            raise ConfigError("train.other_shape", name=name, shape=list(parameter.shape), near=near)
    return tuple(new)
