"""What every task shares: the sample, the batch of one flat row, the result of a scoring, and the task itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
Progress = Callable[[int], None]
IGNORED = -100  # a label that carries no loss


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One encoded example, or one chunk of a long document.

    `tokens` (T,) go into the stack that carries the loss; `labels` (T,) stand at the position that predicts them,
    already shifted where the task shifts, IGNORED where nothing is asked. `source` (S,) is what an encoder-decoder
    reads, `sound` (F, mels) or (samples,) what a model of sound hears, `image` (C, H, W) what
    one of images sees. `klass` is the class of a classification, whose
    `labels` are all IGNORED. `cut` counts tokens that truncation took away.
    """

    tokens: np.ndarray
    labels: np.ndarray
    source: np.ndarray | None = None
    sound: np.ndarray | None = None
    image: np.ndarray | None = None
    klass: int | None = None
    cut: int = 0

    @property
    def size(self) -> int:
        """Tokens that this sample adds to a batch."""
        return len(self.tokens) + sum(len(other) for other in (self.source, self.sound) if other is not None)

    @property
    def targets(self) -> int:
        """Labels that carry loss."""
        return 1 if self.klass is not None else int((self.labels != IGNORED).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Samples one after another in a single row, without padding.

    `tokens` (1, N) with `lengths` summing to N; `where` (M,) flat positions that carry loss and `labels` (M,) what
    they predict. In a classification `where` is empty and `labels` are the documents' classes. `source` (1, S) and
    `source_lengths` are there for encoder-decoders; `sound` (B, F, mels) or (B, samples) is padded to the longest of
    `source_lengths`, `image` is (B, C, H, W). `count` is what the summed loss is divided by; `ids` say which
    examples these are, in the caller's numbering.
    """

    tokens: Tensor
    lengths: tuple[int, ...]
    where: Tensor
    labels: Tensor
    source: Tensor | None
    source_lengths: tuple[int, ...]
    count: int
    ids: tuple[int, ...]
    sound: Tensor | None = None
    image: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            where=self.where.to(device),
            labels=self.labels.to(device),
            source=None if self.source is None else self.source.to(device),
            sound=None if self.sound is None else self.sound.to(device),
            image=None if self.image is None else self.image.to(device),
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
        """The objective summed over `batch.count` targets, in nats; `key` drives dropout, None = evaluation."""
        ...

    def evaluate(self, model: nn.Module, rows: Sequence[Row], *, progress: Progress | None = None) -> Result:
        """Scores on held-out rows; `progress` is called with the number of rows done since the last call."""
        ...

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """The same scores from methods without a Transformer, weakest first."""
        ...

    def predict(self, bundle: Bundle, texts: Sequence[str]) -> list[dict[str, Any]]:
        """One dict per text, of plain values; `bundle` holds the model."""
        ...


def collate(samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
    """Samples as one flat row (see `Batch`), shortest first: attention runs once for neighbours of one length."""
    if not samples or len(samples) != len(ids):
        raise ValueError(f"{len(samples)} samples and {len(ids)} ids: a batch needs one id for each, and at least one")
    order = sorted(range(len(samples)), key=lambda i: (_source_length(samples[i]), len(samples[i].tokens)))
    samples, ids = [samples[i] for i in order], [ids[i] for i in order]
    labels = np.concatenate([sample.labels for sample in samples])
    where = np.flatnonzero(labels != IGNORED)
    classes = [sample.klass for sample in samples if sample.klass is not None]
    sources = [sample.source for sample in samples if sample.source is not None]
    if len(classes) not in (0, len(samples)) or len(sources) not in (0, len(samples)):
        raise ValueError("samples of different tasks in one batch")
    targets = np.asarray(classes) if classes else labels[where]
    return Batch(
        tokens=_long(np.concatenate([sample.tokens for sample in samples]))[None],
        lengths=tuple(len(sample.tokens) for sample in samples),
        where=_long(where),
        labels=_long(targets),
        source=_long(np.concatenate(sources))[None] if sources else None,
        source_lengths=tuple(len(source) for source in sources),
        count=len(targets),
        ids=tuple(int(number) for number in ids),
    )


def held_out_batches(
    task: Task, rows: Sequence[Row], device: torch.device, progress: Progress | None = None
) -> Iterator[tuple[Batch, list[Sample]]]:
    """Batches of held-out rows, encoded as in epoch 0 of seed 0, with their samples; `ids` are row numbers."""
    for start in range(0, len(rows), _WINDOW):
        numbers = range(start, min(start + _WINDOW, len(rows)))
        pairs = [(i, sample) for i in numbers for sample in task.samples(rows[i], index=i)]
        for group in _groups([sample.size for _, sample in pairs]):
            yield (
                task.collate([pairs[k][1] for k in group], [pairs[k][0] for k in group]).to(device),
                [pairs[k][1] for k in group],
            )
        if progress is not None:
            progress(len(numbers))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within, the model drops nothing and no gradient is kept; its mode comes back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def judge(head: nn.Module, rows: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(M,) nats of each label and (M,) the likeliest tokens, from hidden rows (M, D); a few rows' logits at a time."""
    nats, answers = [], []
    for part, wanted in zip(rows.split(_ROWS), labels.split(_ROWS), strict=True):
        logits = head(part).float()
        nats.append(logits.logsumexp(-1) - logits.gather(-1, wanted[:, None])[:, 0])
        answers.append(logits.argmax(-1))
    return torch.cat(nats).double().cpu().numpy(), torch.cat(answers).cpu().numpy()


def probabilities(logits: Tensor) -> Tensor:
    """(..., V) logits as probabilities."""
    logits = logits.double()
    return (logits - logits.logsumexp(-1, keepdim=True)).exp()


def resolve_context(asked: int | None, most: int) -> int:
    """The context of a task: what the recipe asks for, at most what the model takes."""
    if asked is None:
        return most
    if asked > most:
        raise ConfigError("tasks.context", context=asked, most=most)
    return asked


def special(tokenizer: Tokenizer, task: str, *wanted: str) -> int:
    """The first of these special tokens that the tokenizer has, or an error naming them."""
    for name in wanted:
        token = getattr(tokenizer, name)
        if token is not None:
            return token
    raise RegardError("tasks.no_special", task=task, tokens=" / ".join(wanted))


def require(row: Row, column: str) -> str:
    """The text in this column of a row, or an error naming the place."""
    value = row.get(column)
    if not isinstance(value, str):
        raise RegardError("tasks.missing_column", column=column, where=row.get("where", "?"))
    return value


def refuse_long(text: str, tokens: int, context: int) -> None:
    """Raise where a text given for prediction does not fit: cutting it in silence would answer another question."""
    if tokens > context:
        raise RegardError("tasks.too_long", text=text[:40], tokens=tokens, context=context)


def head_of(model: nn.Module) -> Any:
    """The model's head, on which `loss` and the call are found (torch types every attribute as a tensor or module)."""
    return model.head


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


_WINDOW = 1024  # held-out rows encoded at one time
_TOKENS = 4096  # in a batch of held-out rows
_ROWS = 512  # whose logits exist at one time


def _groups(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Indices of `sizes`, of like size together, in groups of at most _TOKENS in all (at least one)."""
    group: list[int] = []
    total = 0
    for index in sorted(range(len(sizes)), key=lambda i: (sizes[i], i)):
        if group and total + sizes[index] > _TOKENS:
            yield group
            group, total = [], 0
        group.append(index)
        total += sizes[index]
    if group:
        yield group


def _source_length(sample: Sample) -> int:
    return 0 if sample.source is None else len(sample.source)


def _long(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
