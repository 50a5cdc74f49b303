"""The processes that train one model together: which of them this one is, and what they say to each other.

    with joined() as ranks:                  # ALONE, unless torchrun started this process beside others
        if ranks.any(stop.asked): ...        # the same answer on every rank

Only what is small passes here, over gloo, whatever carries the gradients (train/engine.py). Nothing is pickled. Every
method is a meeting: each rank must call it, in the same order. A rank that dies breaks the connection, so nobody waits
for it: `RankLost` is raised on the others.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from regard.errors import ConfigError, RegardError
from regard.train.recipe import BatchConfig
from regard.train.stop import Interrupted

PATIENCE = timedelta(days=1)  # others wait while the first rank scores; one that died is noticed by its connection


class RankLost(RegardError):
    """Another process of the training has ended."""


@dataclass(frozen=True)
class Ranks:
    """`number` of `count`; `local` is the number among those on this machine. A training by itself is rank 0 of 1."""

    number: int = 0
    count: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes the run's folder and talks to the user."""
        return self.number == 0

    def share(self, parts: int) -> range:
        """Which of the micro-batches of an update are this rank's; one rank after the other has them in order."""
        each = parts // self.count
        return range(self.number * each, (self.number + 1) * each)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on some rank."""
        return self.sum(flag)[0] > 0

    def sum(self, *values: float) -> list[float]:
        """Each value added up over all ranks, in float64: exact for counts."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def told(self, value: float) -> float:
        """The first rank's value."""
        return float(self.handed(np.array([float(value)]))[0])

    def handed(self, array: np.ndarray | None) -> np.ndarray:
        """The first rank's array; what the others bring does not matter."""
        if self.count == 1:
            assert array is not None
            return array
        given = np.ascontiguousarray(array) if self.leads and array is not None else np.zeros(0)
        head = torch.tensor([_KINDS.index(given.dtype.str[1:]), given.ndim, *given.shape, *[0] * 4][:5])
        dist.broadcast(head, 0)
        kind, axes, *shape = head.tolist()
        body = torch.from_numpy(given.copy() if self.leads else np.empty(shape[:axes], dtype=_KINDS[kind]))
        dist.broadcast(body, 0)
        return body.numpy()

    def led(self, do: Callable[[], float]) -> float:
        """What `do` gives on the first rank, which alone does it. Interrupted or failed there, it is so everywhere."""
        if self.count == 1:
            return do()
        outcome, value, raised = _DONE, 0.0, None
        if self.leads:
            try:
                value = do()
            except Interrupted as interrupted:
                outcome, raised = _INTERRUPTED, interrupted
            except Exception as error:
                outcome, raised = _FAILED, error
        outcome, value = self.handed(np.array([outcome, float(value)])).tolist()
        if raised is not None:
            raise raised
        if outcome == _INTERRUPTED:
            raise Interrupted
        if outcome == _FAILED:
            raise RankLost("ranks.lost")
        return value

    def gathered(self, do: Callable[[], bytes]) -> list[bytes]:
        """What `do` gives on each rank, in their order. Failed on one, it has failed on all."""
        if self.count == 1:
            return [do()]
        own, raised = b"", None
        try:
            own = do()
        except Exception as error:
            raised = error
        if self.any(raised is not None):
            raise raised or RankLost("ranks.lost")
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(own)]))
        room = max(int(size) for size in sizes)
        padded = [torch.zeros(room, dtype=torch.uint8) for _ in sizes]
        dist.all_gather(padded, torch.frombuffer(bytearray(own.ljust(room, b"\0")), dtype=torch.uint8))
        return [bytes(each[: int(size)].tolist()) for each, size in zip(padded, sizes, strict=True)]

    def check(self, batch: BatchConfig) -> None:
        """Refuse a batch whose micro-batches these ranks cannot share equally: they would train another way."""
        if batch.accumulate % self.count:
            raise ConfigError("ranks.share", ranks=self.count, parts=batch.accumulate, fits=self.fit(batch).accumulate)

    def fit(self, batch: BatchConfig) -> BatchConfig:
        """The same batch, cut into so many micro-batches that each rank has as many: no fewer than it asks for."""
        return replace(batch, accumulate=-(-batch.accumulate // self.count) * self.count)


ALONE = Ranks()
_KINDS = ("f8", "i8", "u1")
_DONE, _INTERRUPTED, _FAILED = 0.0, 1.0, 2.0


@contextmanager
def joined() -> Iterator[Ranks]:
    """Within, the ranks that torchrun started are connected; ALONE where it started nobody else.

    To be entered before `on_signals`: who waits for others to come, which may be for ever, should die of SIGTERM.
    """
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(name in os.environ for name in names) or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
    try:
        with hearing():
            store, number, count = next(dist.rendezvous("env://", timeout=PATIENCE))  # pyright: ignore
            kinds = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            met = _met(store, number, count)
            dist.init_process_group(kinds, store=met, rank=number, world_size=count, timeout=PATIENCE)
            yield Ranks(number, count, local)
    except BaseException as error:
        if threading.current_thread() is threading.main_thread():
            # It ends by itself; torchrun, which ends all when one is lost, must not do so before it has said why.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _let_go(error)
        raise
    finally:
        gc.collect()  # for the same reason as in `_let_go`
        if dist.is_initialized():
            dist.destroy_process_group()


def _let_go(error: BaseException | None) -> None:
    """Empty the frames that an error came through, so that it no longer holds the training which it ended.

    Else the engine would die after the group, as its last owner, and for ever: DDP's part in C++ then waits for gloo's
    thread while it holds Python's lock, and that thread may want the lock in order to free a tensor.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@contextmanager
def hearing() -> Iterator[None]:
    """Within, what PyTorch says when another rank is gone is RankLost."""
    try:
        yield
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise RankLost("ranks.lost") from error


def _met(store: Any, number: int, count: int) -> Any:
    """The store, under a name that only these very processes know.

    torchrun's store outlives a restart and still holds the addresses of those that died; who read them would call a
    port where nobody is. So the first rank names the round, each of the others answers with a name of its own, and
    goes on only where the first has repeated it.
    """
    own = uuid.uuid4().hex
    if number == 0:
        store.set("regard/round", own)
        names = [store.get(f"regard/{own}/{other}").decode() for other in range(1, count)]
        store.set(f"regard/{own}/all", " ".join(names))
        return dist.PrefixStore(own, store)  # pyright: ignore
    while True:
        current = store.get("regard/round").decode()
        store.set(f"regard/{current}/{number}", own)
        everyone = f"regard/{current}/all"
        if store.check([everyone]) and own in store.get(everyone).decode():
            return dist.PrefixStore(current, store)  # pyright: ignore
        time.sleep(0.02)


def restarted() -> bool:
    """Whether torchrun started these ranks again after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _is_loss(error: RuntimeError) -> bool:
    """gloo has no exception of its own for a peer that is gone, only what it says."""
    words = ("onnection", "gloo", "peer", "Broken pipe")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)
