"""The batches of a training in an order that is a pure function of the seed, so that a number says where one is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regard.data import order
from regard.data.augment import Augment
from regard.errors import RegardError
from regard.tasks.base import Batch, Row, Sample, Task
from regard.train.recipe import BatchConfig

HELD = 4_000_000  # tokens of long documents that are kept encoded, since their chunks are asked for one at a time


@dataclass(frozen=True)
class Place:
    """How far into the data: `number` batches of `epoch` were used."""

    epoch: int = 0
    number: int = 0


class Feed:
    """Encodes the rows of a source as they are needed, and knows the order in which they are.

    One batch is the data of one update. It does not depend on how many micro-batches it is cut into. `polled` is
    called while the rows are counted.
    """

    def __init__(
        self,
        task: Task,
        rows: Sequence[Row],
        config: BatchConfig,
        *,
        seed: int,
        augment: Augment | None = None,
        polled: Callable[[], None] = lambda: None,
    ):
        self.task, self.rows, self.config, self.seed, self.augment = task, rows, config, seed, augment
        row, chunk, size = [], [], []
        for index in range(len(rows)):
            polled()
            for number, sample in enumerate(task.samples(rows[index], index=index, epoch=0, seed=seed)):
                row.append(index)
                chunk.append(number)
                size.append(sample.size)
        if not row:
            raise RegardError("train.no_samples", rows=len(rows))
        self.row, self.chunk, self.size = (np.array(column, dtype=np.int64) for column in (row, chunk, size))
        self._chunks = np.bincount(self.row, minlength=len(rows))
        self._held: OrderedDict[tuple[int, int], list[Sample]] = OrderedDict()
        self._weight = 0
        self._plan: tuple[int, list[np.ndarray]] | None = None

    @property
    def tokens(self) -> int:
        """Tokens in one epoch."""
        return int(self.size.sum())

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The ids of the samples in each batch of an epoch."""
        if self._plan is None or self._plan[0] != epoch:
            plan = order.plan(
                self.size, seed=self.seed, epoch=epoch, tokens=self.config.tokens, bucket=self.config.bucket
            )
            self._plan = epoch, plan
        return self._plan[1]

    def batches(self, place: Place) -> list[Batch]:
        """The micro-batches of the update at `place`; together they are the batch, in order."""
        ids = self.plan(place.epoch)[place.number]
        samples = [(int(i), self.sample(int(i), place.epoch)) for i in ids]
        present = [(i, sample) for i, sample in samples if sample is not None and sample.targets]
        parts = cut([sample.size for _, sample in present], self.config.accumulate)
        return [self.task.collate([present[k][1] for k in part], [present[k][0] for k in part]) for part in parts]

    def after(self, place: Place) -> Place:
        last = place.number + 1 >= len(self.plan(place.epoch))
        return Place(place.epoch + 1, 0) if last else Place(place.epoch, place.number + 1)

    def sample(self, number: int, epoch: int) -> Sample | None:
        """Sample `number` as it is in `epoch`; None where augmentation left nothing of it."""
        row, chunk = int(self.row[number]), int(self.chunk[number])
        key = (row, epoch)
        chunks = self._held.get(key)
        if chunks is None:
            chunks = self.task.samples(self._row(row, epoch), index=row, epoch=epoch, seed=self.seed)
            if self._chunks[row] > 1:
                self._hold(key, chunks)
        else:
            self._held.move_to_end(key)
        return chunks[chunk] if chunk < len(chunks) else None

    def where(self, ids: Sequence[int]) -> list[str]:
        """Where in the data each of these samples comes from, as file:line."""
        return [str(self.rows[int(self.row[i])].get("where", self.row[i])) for i in ids]

    def _row(self, row: int, epoch: int) -> Any:
        plain = self.rows[row]
        return plain if self.augment is None else self.augment(plain, index=row, epoch=epoch, seed=self.seed)

    def _hold(self, key: tuple[int, int], chunks: list[Sample]) -> None:
        self._held[key] = chunks
        self._weight += sum(sample.size for sample in chunks)
        while len(self._held) > 1 and self._weight > HELD:
            _, dropped = self._held.popitem(last=False)
            self._weight -= sum(sample.size for sample in dropped)


def cut(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Indices of `sizes`, in order, in at most `parts` runs of about the same sum; none is empty."""
    ends = np.cumsum(sizes)
    runs: list[list[int]] = [[] for _ in range(parts)]
    for index, end in enumerate(ends):
        middle = end - sizes[index] / 2
        runs[min(int(middle * parts / ends[-1]), parts - 1)].append(index)
    return [run for run in runs if run]
