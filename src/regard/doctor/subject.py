"""What is examined: a run, a recipe or a model folder, as its model, its tokenizer, its task and a few short rows."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from regard import bundle, models, tasks
from regard.bundle import Bundle
from regard.errors import RegardError
from regard.inputs.tokenizer import Tokenizer
from regard.tasks import image_classification as pictures
from regard.tasks.base import Batch, Row, Sample, Task, collate
from regard.train import checkpoint, loop, machine, setup
from regard.train import recipe as recipes
from regard.train.recipe import MachineConfig, Recipe
from regard.train.run import Run
from regard.train.setup import Setup
from regard.weights.gguf.container import is_gguf

Kind = Literal["run", "recipe", "model"]

CUTS = (23, 9, 16, 12, 19)  # characters of each text that is read: short, and of different lengths
FEWER, LARGE = 3, 60_000_000  # texts for a model of more parameters than this
LOOKED_AT = 200  # rows of the data, among which the texts are chosen
TOKENIZER_ROWS = 2000  # on which a recipe's tokenizer is trained here
OF_IMAGES, OF_SOUND = "image-classification", "ctc"  # the tasks of ours that read no text
LEAST = 4  # tokens of a document: fewer have no inside

# What a model without data reads.
TEXTS = (
    ("The old bridge was closed for the winter.", "旧桥冬天关闭了。"),
    ("今天天气很好，我们去公园散步。", "The weather is fine, let us walk in the park."),
    ("She opened the letter and smiled.", "她打开信，笑了。"),
    ("床前明月光，疑是地上霜。", "Moonlight before my bed, frost on the ground."),
    ("Please save the file before you go.", "离开前请保存文件。"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """`bundle` is the model with what it is used with, `task` None where it has none of ours.

    `rows` are the short rows that are read, `made_up` where they are not from the data; `lost` says why the data could
    not be read. `run` and `recipe` are there where there are any.
    """

    what: str
    kind: Kind
    bundle: Bundle
    task: Task | None
    rows: tuple[Row, ...]
    made_up: bool
    recipe: Recipe
    run: Run | None = None
    setup: Setup | None = None
    lost: RegardError | None = None

    @property
    def reads_text(self) -> bool:
        """Whether all it reads is text: only then can a document be cut, padded and hidden."""
        return models.reads(self.bundle.family) == ("text",)

    @property
    def model(self) -> Any:
        return self.bundle.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def quoted(self) -> str:
        """WHAT as it is typed in a shell."""
        return shlex.quote(self.what)

    @property
    def again(self) -> str:
        """The command that trains this anew."""
        if self.kind == "model":
            return f"regard train RECIPE --from {self.quoted}"
        recipe = shlex.quote((Path(self.what) / "asked.toml").as_posix()) if self.kind == "run" else self.quoted
        return f"regard train {recipe}"

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """One for each row, as training has it."""
        if self.task is None:
            ids = [self.bundle.tokenizer.encode(row["text"], context=self.bundle.context) for row in self.rows]
            return tuple(Sample(tokens=_array(each), labels=_array(each)) for each in ids)
        return tuple(self.task.samples(row, index=i)[0] for i, row in enumerate(self.rows))

    @cached_property
    def batch(self) -> Batch:
        """All samples in one row, shortest first; `ids` are the numbers of the rows."""
        made = self.task.collate if self.task is not None else collate
        return made(self.samples, range(len(self.samples))).to(self.device)

    @property
    def documents(self) -> list[Tensor]:
        """(T,) tokens of each document, in the batch's order."""
        return list(self.batch.tokens[0].split(self.batch.lengths))

    @property
    def sources(self) -> list[Tensor]:
        """(S,) tokens of each source; empty without an encoder."""
        source = self.batch.source
        return [] if source is None else list(source[0].split(self.batch.source_lengths))

    @cached_property
    def used(self) -> Bundle:
        """The bundle as it is found after saving: what a recipe's tokenizer becomes once it lies on a disk."""
        if self.bundle.folder is not None:
            return self.bundle
        with tempfile.TemporaryDirectory() as folder:
            self.bundle.tokenizer.save(folder)
            return replace(self.bundle, tokenizer=Tokenizer.load(folder))


def find(what: str | os.PathLike[str], device: str = "cpu") -> Subject:
    """A run's folder, a model as ``bundle.load`` takes it, the name of a built-in recipe or a recipe's file. Raises
    RegardError."""
    path = Path(what)
    if Run(path).exists:
        return of_run(Run(path), device)
    if path.is_dir() or is_gguf(path) or (not path.exists() and bundle.is_name(str(what))):
        return of_bundle(bundle.load(path, device), str(what))
    return of_recipe(recipes.load(recipes.find(str(what))), str(what), device)


def of_bundle(found: Bundle, what: str = "model", rows: Sequence[Row] = ()) -> Subject:
    """A model without a run; `rows` that fit its task, or none."""
    reads_text = models.reads(found.family) == ("text",)
    ours = found.task in (tasks.names() if reads_text else (OF_IMAGES, OF_SOUND))
    task = tasks.of(found) if ours else None
    recipe = Recipe(task={"name": found.task}, model={"family": found.family})
    chosen = examples(task, found, rows)
    return _subject(what, "model", found, task, chosen, recipe)


def of_recipe(recipe: Recipe, what: str, device: str = "cpu") -> Subject:
    """What a recipe would begin with. Its tokenizer is trained on no more than TOKENIZER_ROWS rows here."""
    words = replace(recipe.tokenizer, rows=min(recipe.tokenizer.rows, TOKENIZER_ROWS))
    prepared = setup.prepare(_on(replace(recipe, tokenizer=words), device))
    model, _ = prepared.build()
    found = prepared.bundle(model.to(device).eval())
    rows = examples(prepared.task, found, prepared.train)
    return _subject(what, "recipe", found, prepared.task, rows, prepared.recipe, setup=prepared)


def of_run(run: Run, device: str = "cpu") -> Subject:
    """A run as far as it has come: its finished model, else its newest whole checkpoint, else what it begins with."""
    recipe = _on(run.recipe, device)
    prepared, lost = None, None
    try:
        prepared = setup.prepare(recipe, tokenizer=run.tokenizer, with_base=False)
    except RegardError as error:
        if not (run.model / bundle.CONFIG).is_file():
            raise
        lost = error
    if (run.model / bundle.CONFIG).is_file():
        found = bundle.load(run.folder, device)
    else:
        assert prepared is not None
        found = prepared.bundle(_newest(run, prepared).to(device).eval())
    task = prepared.task if prepared else tasks.of(found, recipe.task_settings)
    rows = examples(task, found, prepared.train if prepared else ())
    return _subject(str(run.folder), "run", found, task, rows, recipe, run=run, setup=prepared, lost=lost)


def examples(task: Task | None, found: Bundle, rows: Iterable[Row]) -> tuple[tuple[Row, ...], bool]:
    """Some rows, and whether they are made up: short ones of texts, whole ones of what else is read."""
    return (short if models.reads(found.family) == ("text",) else whole)(task, found, rows)


def short(task: Task | None, found: Bundle, rows: Iterable[Row]) -> tuple[tuple[Row, ...], bool]:
    """Some rows, their texts cut to different lengths, and whether they are made up: where the data give too few."""
    count = FEWER if sum(p.numel() for p in found.model.parameters()) > LARGE else len(CUTS)
    for made_up, some in enumerate((rows, made(found.labels))):
        chosen: list[Row] = []
        for row in islice(some, LOOKED_AT):
            cut = CUTS[len(chosen)]
            fitting = _fitting(task, row, min(cut, max(3, found.context // 2)))
            if fitting is not None and len(chosen) < count:
                chosen.append(fitting)
            if len(chosen) == count:
                return tuple(chosen), bool(made_up)
    return tuple(chosen), True


def whole(task: Task | None, found: Bundle, rows: Iterable[Row]) -> tuple[tuple[Row, ...], bool]:
    """Some rows of images or sounds, as they are; images are drawn where the data give none, sounds are not."""
    chosen = [] if task is None else [row for row in islice(rows, LOOKED_AT) if task.samples(row)][: len(CUTS)]
    if chosen or task is None or task.name != OF_IMAGES:
        return tuple(chosen), not chosen
    drawn = enumerate(pictures.noise(len(CUTS)))
    return tuple({"text": each, "label": found.labels[i % len(found.labels)], "where": "-"} for i, each in drawn), True


def made(labels: Sequence[str]) -> list[Row]:
    """Rows for a model without data, in every column that a task may ask for."""
    rows = [{"text": text, "source": text, "target": other, "where": "-"} for text, other in TEXTS * 3]
    return [{**row, "label": labels[i % len(labels)] if labels else ""} for i, row in enumerate(rows)]


def _fitting(task: Task | None, row: Row, characters: int) -> Row | None:
    """The row with its texts cut; shorter still until it makes one sample; None where nothing is left of it."""
    for length in (characters, characters // 2, characters // 4):
        cut = {k: v[:length].strip() if k in ("text", "source", "target") else v for k, v in row.items()}
        if task is None:
            return cut
        samples = task.samples(cut)
        if len(samples) == 1 and samples[0].cut == 0:
            sample = samples[0]
            return cut if min(len(sample.tokens), _source(sample)) >= LEAST and sample.targets else None
    return None


def _source(sample: Sample) -> int:
    return LEAST if sample.source is None else len(sample.source)


def _subject(
    what: str,
    kind: Kind,
    found: Bundle,
    task: Task | None,
    chosen: tuple[tuple[Row, ...], bool],
    recipe: Recipe,
    **more: Any,
) -> Subject:
    rows, made_up = chosen
    if not rows and models.reads(found.family) == ("text",):
        raise RegardError("doctor.nothing_to_read", what=what)
    return Subject(what=what, kind=kind, bundle=found, task=task, rows=rows, made_up=made_up, recipe=recipe, **more)


def _on(recipe: Recipe, device: str) -> Recipe:
    """The recipe on this machine, whatever it was trained on."""
    settings = replace(machine.resolve(MachineConfig(device=device)), tensorboard=False)
    kept = replace(settings, recompute=recipe.train.machine.recompute)
    return replace(recipe, train=replace(recipe.train, machine=kept))


def _newest(run: Run, prepared: Setup) -> Any:
    model, _ = prepared.build()
    found = checkpoint.newest(run.checkpoints, lambda error: None)
    if found is not None:
        loop.restore(model, found.tensors("model") | found.tensors("average"))
    return model


def _array(ids: Sequence[int]) -> Any:
    import numpy as np

    return np.asarray(ids, dtype=np.int64)


def texts(row: Mapping[str, Any]) -> str:
    """What of a row is given to a model that predicts."""
    return str(row.get("source") or row.get("text"))
