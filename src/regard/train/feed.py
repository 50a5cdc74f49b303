"""The batches of a training in an order that is a pure function of the seed, so that a number says where one is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
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

    One batch is the data of one update. It does not depend on how many micro-batches it is cut into, nor on who
    computes them. `polled` is called while the rows are counted; who has the `counts` of a like feed need not count.
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
        counts: np.ndarray | None = None,
    ):
        self.task, self.rows, self.config, self.seed, self.augment = task, rows, config, seed, augment
        self.counts = self._count(polled) if counts is None else counts
        self.row, self.chunk, self.size = self.counts
        self._chunks = np.bincount(self.row, minlength=len(rows))
        self._held: OrderedDict[tuple[int, int], list[Sample]] = OrderedDict()
        self._weight = 0
        self._plans: dict[int, list[np.ndarray]] = {}  # of the epoch, and of the next when it is near
        self._lock = Lock()  # encoding goes on outside it, see `ahead`

    @property
    def tokens(self) -> int:
        """Tokens in one epoch."""
        return int(self.size.sum())

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The ids of the samples in each batch of an epoch."""
        plan = self._plans.get(epoch)
        if plan is None:
            plan = order.plan(
                self.size, seed=self.seed, epoch=epoch, tokens=self.config.tokens, bucket=self.config.bucket
            )
            self._plans = {**dict(list(self._plans.items())[-1:]), epoch: plan}
        return plan

    def batches(self, place: Place) -> list[Batch]:
        """The micro-batches of the update at `place`; together they are the batch, in order."""
        return [batch for _, batch in self.parts(place, range(self.config.accumulate)) if batch is not None]

    def parts(self, place: Place, numbers: Sequence[int]) -> list[tuple[int, Batch | None]]:
        """The micro-batches of these numbers; None where nothing in one carries loss. The others are not encoded."""
        ids = self.plan(place.epoch)[place.number]
        runs = cut(self.size[ids].tolist(), self.config.accumulate)
        return [(number, self._collated(ids[runs[number]].tolist(), place.epoch)) for number in numbers]

    def some(self, place: Place) -> Batch:
        """A micro-batch of the update at `place` in which something carries loss, for who must run one."""
        numbers = range(self.config.accumulate)
        return next(batch for number in numbers for _, batch in self.parts(place, [number]) if batch is not None)

    def after(self, place: Place) -> Place:
        last = place.number + 1 >= len(self.plan(place.epoch))
        return Place(place.epoch + 1, 0) if last else Place(place.epoch, place.number + 1)

    def sample(self, number: int, epoch: int) -> Sample | None:
        """Sample `number` as it is in `epoch`; None where augmentation left nothing of it."""
        row, chunk = int(self.row[number]), int(self.chunk[number])
        key = (row, epoch)
        with self._lock:
            chunks = self._held.get(key)
            if chunks is not None:
                self._held.move_to_end(key)
                return chunks[chunk] if chunk < len(chunks) else None
            read = self._row(row, epoch)
        chunks = self.task.samples(read, index=row, epoch=epoch, seed=self.seed)
        if self._chunks[row] > 1:
            with self._lock:
                self._hold(key, chunks)
        return chunks[chunk] if chunk < len(chunks) else None

    def where(self, ids: Sequence[int]) -> list[str]:
        """Where in the data each of these samples comes from, as file:line."""
        return [str(self.rows[int(self.row[i])].get("where", self.row[i])) for i in ids]

    def _count(self, polled: Callable[[], None]) -> np.ndarray:
        """(3, samples): the row of each sample, its number among the samples of that row, its size."""
        found = []
        for index in range(len(self.rows)):
            polled()
            for number, sample in enumerate(self.task.samples(self.rows[index], index=index, epoch=0, seed=self.seed)):
                found.append((index, number, sample.size))
        if not found:
            raise RegardError("train.no_samples", rows=len(self.rows))
        return np.ascontiguousarray(np.array(found, dtype=np.int64).T)

    def _collated(self, ids: Sequence[int], epoch: int) -> Batch | None:
        samples = [(i, self.sample(i, epoch)) for i in ids]
        present = [(i, sample) for i, sample in samples if sample is not None and sample.targets]
        return self.task.collate([sample for _, sample in present], [i for i, _ in present]) if present else None

    def _row(self, row: int, epoch: int) -> Any:
        plain = self.rows[row]
        return plain if self.augment is None else self.augment(plain, index=row, epoch=epoch, seed=self.seed)

    def _hold(self, key: tuple[int, int], chunks: list[Sample]) -> None:
        if key in self._held:  # another worker was faster
            return
        self._held[key] = chunks
        self._weight += sum(sample.size for sample in chunks)
        while len(self._held) > 1 and self._weight > HELD:
            _, dropped = self._held.popitem(last=False)
            self._weight -= sum(sample.size for sample in dropped)


Parts = Sequence[tuple[int, Batch | None]]


@contextmanager
def ahead(feed: Feed, numbers: Sequence[int], workers: int) -> Iterator[Callable[[Place], Parts]]:
    """`feed.parts(place, numbers)` as a function of the place; `workers` threads encode the places that come next.

    What it gives does not depend on them. Tokenizers let other threads run, so the batch is there when it is wanted.
    """
    if workers == 0:
        yield lambda place: feed.parts(place, numbers)
        return
    made: dict[Place, Future[Parts]] = {}

    def parts(place: Place) -> Parts:
        wanted = [place]
        while len(wanted) <= workers:
            wanted.append(feed.after(wanted[-1]))
        for each in wanted:
            if each not in made:
                made[each] = pool.submit(feed.parts, each, numbers)
        return made.pop(place).result()

    with ThreadPoolExecutor(workers, thread_name_prefix="regard-feed") as pool:
        try:
            yield parts
        finally:
            pool.shutdown(cancel_futures=True)


def cut(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Indices of `sizes`, in order, in `parts` runs of about the same sum, of which some may be empty."""
    ends = np.cumsum(sizes)
    runs: list[list[int]] = [[] for _ in range(parts)]
    for index, end in enumerate(ends):
        middle = end - sizes[index] / 2
        runs[min(int(middle * parts / ends[-1]), parts - 1)].append(index)
    return runs
