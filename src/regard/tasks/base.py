"""What every task shares: the sample, the batch of one flat row, the result of a scoring, and the task itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import ConfigError, RegardError
from regard.tasks.scores import Result

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.tokenizer import Tokenizer
    from regard.layers import Key

Row = Mapping[str, Any]
IGNORED = -100  # a label that carries no loss


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One encoded example, or one chunk of a long document.

    `tokens` (T,) go into the stack that carries the loss; `labels` (T,) stand at the position that predicts them, already
    shifted where the task shifts, IGNORED where nothing is asked. `source` (S,) is what an encoder-decoder reads. `klass` is
    the class of a classification, whose `labels` are all IGNORED. `cut` counts tokens that truncation took away.
    """

    tokens: np.ndarray
    labels: np.ndarray
    source: np.ndarray | None = None
    klass: int | None = None
    cut: int = 0

    @property
    def size(self) -> int:
        """Tokens that this sample adds to a batch."""
        return len(self.tokens) + (0 if self.source is None else len(self.source))

    @property
    def targets(self) -> int:
        """Labels that carry loss."""
        return 1 if self.klass is not None else int((self.labels != IGNORED).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Samples one after another in a single row, without padding.

    `tokens` (1, N) with `lengths` summing to N; `where` (M,) flat positions that carry loss and `labels` (M,) what they
    predict. In a classification `where` is empty and `labels` are the documents' classes. `source` (1, S) and
    `source_lengths` are there for encoder-decoders. `count` is what the summed loss is divided by; `ids` say which examples
    these are, in the caller's numbering.
    """

    tokens: Tensor
    lengths: tuple[int, ...]
    where: Tensor
    labels: Tensor
    source: Tensor | None
    source_lengths: tuple[int, ...]
    count: int
    ids: tuple[int, ...]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            where=self.where.to(device),
            labels=self.labels.to(device),
            source=None if self.source is None else self.source.to(device),
        )

    def document(self) -> Tensor:
        """(M,) which document each loss-carrying position belongs to; for a classification the documents themselves."""
        if len(self.where) == 0:
            return torch.arange(len(self.labels), device=self.labels.device)
        ends = torch.tensor(self.lengths, device=self.where.device).cumsum(0)
        return torch.searchsorted(ends, self.where, right=True)


class Task(Protocol):
    """One task. Everything about an example is a pure function of the row and (seed, epoch, index)."""

    name: str
    columns: tuple[str, ...]
    primary: str
    tokenizer: Tokenizer
    context: int
    labels: tuple[str, ...]

    def samples(self, row: Row, *, index: int = 0, epoch: int = 0, seed: int = 0) -> list[Sample]:
        """The row's samples: none where nothing is left to learn, several where a long document is cut into chunks."""
        ...

    def collate(self, samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        """Samples as one flat batch."""
        ...

    def loss(self, model: nn.Module, batch: Batch, key: Key | None) -> Tensor:
        """The objective summed over `batch.count` targets, a scalar in nats; `key` drives dropout, None = evaluation."""
        ...

    def evaluate(self, model: nn.Module, rows: Sequence[Row], *, progress: Callable[[int], None] | None = None) -> Result:
        """Scores on held-out rows; `progress` is called with the number of rows done since the last call."""
        ...

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """The same scores from methods without a Transformer, weakest first."""
        ...

    def predict(self, bundle: Bundle, texts: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        """One dict per text, of plain values."""
        ...


def collate(samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
    """Samples as one flat row (see `Batch`)."""
    if not samples or len(samples) != len(ids):
        raise ValueError(f"{len(samples)} samples and {len(ids)} ids: a batch needs one id for each, and at least one")
    tokens = np.concatenate([sample.tokens for sample in samples])
    labels = np.concatenate([sample.labels for sample in samples])
    where = np.flatnonzero(labels != IGNORED)
    classes = [sample.klass for sample in samples if sample.klass is not None]
    sources = [sample.source for sample in samples if sample.source is not None]
    if len(classes) not in (0, len(samples)) or len(sources) not in (0, len(samples)):
        raise ValueError("samples of different tasks in one batch")
    targets = np.asarray(classes) if classes else labels[where]
    return Batch(
        tokens=_long(tokens)[None],
        lengths=tuple(len(sample.tokens) for sample in samples),
        where=_long(where),
        labels=_long(targets),
        source=_long(np.concatenate(sources))[None] if sources else None,
        source_lengths=tuple(len(source) for source in sources),
        count=len(targets),
        ids=tuple(int(number) for number in ids),
    )


def groups(samples: Sequence[Sample], tokens: int) -> Iterator[list[int]]:
    """Indices of `samples`, of like length together, in groups of at most `tokens` tokens (at least one sample)."""
    group: list[int] = []
    widest = 0
    for index in sorted(range(len(samples)), key=lambda i: (samples[i].size, i)):
        widest = max(widest, samples[index].size)
        if group and widest * (len(group) + 1) > tokens:
            yield group
            group, widest = [], samples[index].size
        group.append(index)
    if group:
        yield group


def resolve_context(asked: int | None, most: int) -> int:
    """The context of a task: what the recipe asks for, at most what the model takes."""
    if asked is None:
        return most
    if not 0 < asked <= most:
        raise ConfigError("tasks.context", context=asked, most=most)
    return asked


def require(row: Row, *columns: str) -> tuple[str, ...]:
    """The texts of these columns of a row, or an error naming the place."""
    for column in columns:
        if not isinstance(row.get(column), str):
            raise RegardError("tasks.missing_column", column=column, where=row.get("where", "?"))
    return tuple(row[column] for column in columns)


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


def _long(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
