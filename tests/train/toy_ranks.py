"""Ranks of a toy training as processes that have everything imported, so that starting some costs little."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from toy_training import Task, job

from regard.errors import RegardError
from regard.train import checkpoint
from regard.train.loop import Training, fit
from regard.train.progress import Silent
from regard.train.ranks import Ranks, joined
from regard.train.recipe import Recipe, TrainConfig
from regard.train.run import Run
from regard.train.stop import Stop, on_signals

PATIENCE = 120  # seconds until a test gives up on its processes; slow machines are slow
MODULES = ["toy_ranks", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor"]


def processes() -> Any:
    """A context whose processes have torch imported where the system can do that."""
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    if kind == "forkserver":
        context.set_forkserver_preload(MODULES)
    here = str(Path(__file__).parent)
    if here not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return context


def begin(count: int, do: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Processes in which `do(ranks, *arguments)` runs on each of `count` ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = processes()
    started = [context.Process(target=_rank, args=(n, count, port, do, arguments)) for n in range(count)]
    for process in started:
        process.start()
    return started


def end(started: list[Any], patience: float = PATIENCE) -> list[int | None]:
    """Their exit codes; what is still there after `patience` is killed and counts as None."""
    until = time.monotonic() + patience
    for process in started:
        process.join(max(until - time.monotonic(), 0.01))
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
        process.join()
    return codes


def run_on(count: int, do: Callable[..., Any], *arguments: Any) -> None:
    """`do` on so many ranks, each of which must come to its end."""
    assert end(begin(count, do, *arguments)) == [0] * count


def _rank(number: int, count: int, port: int, do: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    names = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"})
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    torch.set_num_threads(1)
    try:
        with joined() as ranks:
            code = do(ranks, *arguments)
    except RegardError as error:
        print(f"rank {number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    sys.exit(code or 0)


def train_on(ranks: Ranks, folder: Path, config: TrainConfig, task: Task | None = None) -> int:
    """Train in a folder or go on there, as `train.start` and `train.together` do."""
    work, run = job(config, task), Run(folder)
    with on_signals() as stop:
        if not ranks.leads:
            ranks.told(0)
            outcome, _ = fit(work, run, Silent(), stop, ranks)
            return 130 if outcome == "stopped" else 0
        if not run.exists:
            run = Run.create(folder, Recipe(task={"name": "causal-lm"}, model={"family": "toy"}, train=work.config))
        with run.locked():
            ranks.told(0)
            outcome, _ = fit(work, run, Told(folder), stop, ranks)
        return 130 if outcome == "stopped" else 0


class Told(Silent):
    """Keeps what it is told of damage."""

    def __init__(self, folder: Path):
        self.folder = folder

    def damaged(self, error: RegardError) -> None:
        with open(self.folder / "damaged.txt", "a", encoding="utf-8") as file:
            file.write(f"{error}\n")


def save_again(ranks: Ranks, folder: Path, config: TrainConfig, to: Path) -> None:
    """Take up the newest checkpoint of a run and write what these ranks then hold as one of another folder."""
    with on_signals() as stop:
        training = Training(job(config), Run(folder), Silent(), stop, ranks)
        training.run, training.saved = Run(to), -1
        training.save()


def say_things(ranks: Ranks, folder: Path) -> None:
    """What each method gives on this rank, into a file."""
    import numpy as np

    said = {
        "told": ranks.told(ranks.number + 7),
        "sum": ranks.sum(ranks.number, 2.5),
        "any": [ranks.any(False), ranks.any(ranks.number == 1), ranks.any(True)],
        "handed": ranks.handed(np.arange(6).reshape(2, 3) if ranks.leads else None).tolist(),
        "gathered": [part.decode() for part in ranks.gathered(lambda: b"x" * ranks.number)],
        "led": ranks.led(lambda: 3.0),
    }
    (folder / f"{ranks.number}.json").write_text(json.dumps(said))


def fail_somewhere(ranks: Ranks, folder: Path, where: int) -> int:
    """One rank fails in what all do; all must hear of it, and can go on speaking."""

    def do() -> bytes:
        if ranks.number == where:
            raise OSError("no")
        return b""

    try:
        ranks.gathered(do)
    except (OSError, RegardError) as error:
        told = ranks.told(5)
        (folder / f"{ranks.number}.txt").write_text(f"{type(error).__name__} {told}")
        return 0
    return 1


def write_where_one_cannot(ranks: Ranks, folder: Path, where: int) -> int:
    """A checkpoint of which one rank cannot write its part."""
    import resource

    tensors = {"model": {"w": torch.zeros(3000)}}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if ranks.number == where:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        checkpoint.write(folder, 3, tensors, {}, ranks)
    except RegardError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        (folder.parent / f"{ranks.number}.txt").write_text(str(error))
        return 0
    return 1


def go_apart(ranks: Ranks, folder: Path) -> int:
    """The weights of one rank are changed behind everybody's back; the next save must not happen."""
    run = Run(folder)
    with on_signals() as stop:
        from toy_training import CONFIG, replace

        training = Training(job(replace(CONFIG, batch=replace(CONFIG.batch, accumulate=2))), run, Silent(), stop, ranks)
        if ranks.number == 1:
            with torch.no_grad():
                next(training.model.parameters())[0] += 1e-6
        try:
            training.save()
        except RegardError as error:
            (folder / f"{ranks.number}.txt").write_text(error.key)
            return 0
    return 1


def leave(ranks: Ranks, folder: Path, how: str) -> None:
    """Leave a training in the middle, and note whether its engine is still there when the group is taken down."""
    try:
        _left(ranks, folder, how)
    except RegardError as error:
        if how == "caused":  # the frame that holds the training is in the cause's traceback alone
            raise RegardError("ranks.lost") from error
        raise


def _left(ranks: Ranks, folder: Path, how: str) -> None:
    import gc
    import weakref

    import torch.distributed as dist
    from toy_training import CONFIG, replace

    config = replace(CONFIG, batch=replace(CONFIG.batch, accumulate=2))
    training = Training(job(config), Run(folder), Silent(), Stop(), ranks)
    engine, destroy = weakref.ref(training.engine.engine), dist.destroy_process_group

    def noted() -> None:
        (folder / f"{ranks.number}.txt").write_text(f"engine gone: {engine() is None}")
        destroy()

    dist.destroy_process_group = noted
    if how != "ended":
        raise RegardError("ranks.apart")
    training.itself = training  # only the collector frees it
    gc.disable()


def parts_of(ranks: Ranks, folder: Path, config: TrainConfig) -> None:
    """This rank's rows of every parameter, under full sharding, as a file."""
    with on_signals() as stop:
        training = Training(job(config), Run(folder), Silent(), stop, ranks)
        from regard.train.pieces import mine

        held = {name: mine(p.detach()).contiguous() for name, p in training.model.named_parameters()}
        save_file(held, folder / f"held-{ranks.number}.safetensors")
