"""A recipe: everything that decides what a training does, as one value read from a TOML file, without torch.

    recipe = recipe.load("recipe.toml")
    recipe = config.override(recipe, {"train.steps": "200", "model.dim": "64"})

`task` and `model` are tables whose keys belong to the task and the family that they name; the owners check them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from regard import config, tasks
from regard.config import MOST_SEED, Problem, at_least, between, verify
from regard.data.augment import Augment
from regard.errors import ConfigError

BUILT_IN = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True, kw_only=True)
class AboutConfig:
    """What a reader wants to know before starting."""

    title: str = ""
    cost: str = ""  # time and memory, and on what machine
    reaches: str = ""  # the score it came to there


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """`train` and `held_out` are whatever `data.sources.open` opens: a file, a folder, `sample:tang-poems`.

    With no `held_out`, `share` of the training data is kept back (0: none is); rows with the same value in the column
    `by` stay together on one side. `rows` of what is left are trained on, None = all. `seed` decides which rows these
    are, so that trainings of different seeds are scored on the same ones. The columns need naming where they have not
    their usual names; `unit` is what one text of a text file is.
    """

    train: str = ""
    held_out: str | None = None
    share: float = 0.05
    by: str | None = None
    rows: int | None = None
    seed: int = 0
    text: str | None = None
    label: str | None = None
    source: str | None = None
    target: str | None = None
    unit: Literal["line", "paragraph", "file"] | None = None
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0.0, 0.9, "share")
        yield from at_least(self, 1, "rows")
        yield from between(self, 0, MOST_SEED, "seed")

    @property
    def reading(self) -> dict[str, Any]:
        """How its sources are opened."""
        return {name: getattr(self, name) for name in ("text", "label", "source", "target", "unit")}


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """`load` a tokenizer from a folder or file, or else train one of this kind and size on the training data."""

    load: str | None = None
    kind: Literal["bpe", "wordpiece", "unigram", "characters", "bytes"] = "bpe"
    vocab: int = 8000
    rows: int = 200_000  # it is trained on no more than this many

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "vocab", "rows")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """`tokens` in the batch of one update, cut into `accumulate` micro-batches to save memory; that changes nothing."""

    tokens: int = 4096
    accumulate: int = 1
    bucket: bool = True  # examples of like length together

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "tokens", "accumulate")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """`rate` is the peak learning rate. "muon" is Muon on the matrices of the blocks and AdamW on all else."""

    name: Literal["adamw", "muon"] = "adamw"
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-8
    momentum: float = 0.95  # Muon's
    weight_decay: float = 0.1
    decay_also: tuple[str, ...] = ()  # name patterns of norms, biases or embeddings that are to decay too
    clip: float | None = 1.0  # largest norm of the whole gradient

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 0.0, "rate", "weight_decay", "clip")
        yield from between(self, 0.0, 1.0, "momentum")
        if not all(0 <= beta < 1 for beta in self.betas):
            yield "betas", "train.betas", {}
        if self.epsilon <= 0:
            yield "epsilon", "train.positive", {}


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """`warmup` and `decay` are shares of the training, `floor` of the peak rate; see train/schedules.py."""

    name: Literal["constant", "linear", "cosine", "wsd", "inverse_sqrt"] = "cosine"
    warmup: float = 0.05
    decay: float = 0.2  # wsd's
    floor: float = 0.0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0.0, 1.0, "warmup", "decay", "floor")


@dataclass(frozen=True, kw_only=True)
class KeepConfig:
    """A checkpoint `every` so many updates; the newest `newest` stay, and the best where the data are scored."""

    every: int = 200
    newest: int = 2

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "every", "newest")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Score `rows` of the held-out data `every` so many updates (0 = only at the end).

    With `best`, the finished model is the one that scored best, not the last; with `patience`, training ends after
    so many scorings in a row without a better one.
    """

    every: int = 0
    rows: int = 500
    best: bool = True
    patience: int | None = None

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "every")
        yield from at_least(self, 1, "rows", "patience")


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """`device` "auto" is the best there is, `threads` None as many as there are cores; a run keeps what they came to,
    since resuming it to the bit needs the same.

    Of many processes ("ranks", see docs/cluster.md) each has a `shard` of the work: "replicate" shares out the batch
    and every rank holds the model (DDP), "full" divides weights, gradients and optimiser among them too (FSDP2).
    `workers` threads encode the batches to come.
    """

    device: str = "auto"
    threads: int | None = None
    shard: Literal["replicate", "full"] = "replicate"
    workers: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"  # of the products; weights are float32 always
    recompute: bool = False  # activation checkpointing: blocks run twice, memory falls
    tensorboard: bool = True

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "threads")
        yield from at_least(self, 0, "workers")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """`seed` decides the weights at the start, the order of the data, masking, augmentation and dropout."""

    steps: int = 1000
    seed: int = 0
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    keep: KeepConfig = KeepConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    machine: MachineConfig = MachineConfig()
    average: float | None = None  # decay of the running average of the weights, which is then scored and kept
    freeze: tuple[str, ...] = ()  # name patterns of the parameters that stay as they are

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "steps")
        yield from between(self, 0, MOST_SEED, "seed")
        yield from between(self, 0.0, 1.0, "average")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`base` is a model or run to start from: its weights, its tokenizer and, with no `model`, its architecture."""

    about: AboutConfig = AboutConfig()
    base: str | None = None
    task: dict[str, object]  # name and the task's own settings
    model: dict[str, object] = field(default_factory=dict)  # family and the family's own settings
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        if not isinstance(self.task.get("name"), str):
            yield "task", "train.no_task", {"names": ", ".join(tasks.names())}
        if self.base is None and not isinstance(self.model.get("family"), str):
            yield "model", "train.no_family", {}

    @property
    def task_name(self) -> str:
        return str(self.task["name"])

    @property
    def task_settings(self) -> tasks.Config:
        """The task's own settings, checked by the task."""
        return tasks.config(self.task_name, {k: v for k, v in self.task.items() if k != "name"}, where="recipe: task")


def load(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a TOML file, its task's settings checked too."""
    recipe = config.load(Recipe, path)
    try:
        _ = recipe.task_settings
    except ConfigError as error:  # the task does not know in which file its settings stand
        raise ConfigError("config.in_file", where=str(path), why=str(error)) from error
    return recipe


def find(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with the package."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    known = {file.stem: file for file in sorted(BUILT_IN.glob("*.toml"))}
    if name not in known:
        raise ConfigError("train.no_recipe", name=name, known=", ".join(known) or "-")
    return known[name]


def differences(one: Recipe, other: Recipe) -> Iterator[tuple[str, Any, Any]]:
    """(key, value in one, value in other) for every setting in which two recipes differ."""
    left, right = dict(_leaves(config.to_dict(one), "")), dict(_leaves(config.to_dict(other), ""))
    for key in {**left, **right}:
        if left.get(key) != right.get(key):
            yield key, left.get(key), right.get(key)


def located(recipe: Recipe) -> Recipe:
    """The same with paths that hold from any folder."""
    data = replace(recipe.data, train=absolute(recipe.data.train) or "", held_out=absolute(recipe.data.held_out))
    words = replace(recipe.tokenizer, load=absolute(recipe.tokenizer.load))
    return replace(recipe, base=absolute(recipe.base), data=data, tokenizer=words)


def absolute(spec: str | None) -> str | None:
    """A source that is a path, so that it is found from any folder; any other as it is."""
    return str(Path(spec).resolve()) if spec and Path(spec).exists() else spec


def _leaves(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _leaves(value, here)
        else:
            yield here, value
