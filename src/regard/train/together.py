"""A training by many processes: starting them on this machine, and what those do that do not lead.

The first rank runs `train.start` as if it were alone; the others `follow` it.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from regard.errors import RegardError
from regard.train.loop import Job, NotFinite, Outcome, fit
from regard.train.progress import Silent
from regard.train.ranks import RankLost, Ranks, hearing
from regard.train.run import Run
from regard.train.setup import prepare
from regard.train.start import keep_data
from regard.train.stop import Interrupted, Stop

GRACE = 600  # seconds that ranks told to stop have for saving
LINGER = 3  # seconds that the others stay after the first rank is gone
STOPPED = 130


def follow(folder: str | os.PathLike[str], stop: Stop, ranks: Ranks) -> Outcome:
    """Train beside the first rank, once it has settled everything that the run's folder holds."""
    with hearing():
        return _follow(Path(folder), stop, ranks)


def launch(arguments: Sequence[str], ranks: int, restarts: int) -> int:
    """Run `regard ARGUMENTS` as so many ranks of this machine under PyTorch's elastic agent; the first's exit code.

    When one is lost, all are started again, at most `restarts` times. A signal is passed on to all.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the ranks speak for themselves
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // ranks, 1)))
    agent = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=restarts,
        shutdown_timeout=GRACE,
    )
    try:
        elastic_launch(agent, sys.executable)("-m", "regard", *arguments)
    except SignalException:
        return STOPPED
    except ChildFailedError as error:
        code = error.failures[min(error.failures)].exitcode
        return code if code > 0 else 1
    return 0


def for_ranks(arguments: Sequence[str], folder: Path | None) -> list[str]:
    """The arguments of each rank, out of those of the command that starts them; `folder` is the run's, if not named."""
    kept, skip = [], False
    for argument in arguments:
        name, sign, _ = argument.partition("=")
        if skip or name in ("--ranks", "--max-restarts"):
            skip = not skip and not sign
        else:
            kept.append(argument)
    return ["train", *kept, *(["--out", str(folder)] if folder else [])]


def _follow(folder: Path, stop: Stop, ranks: Ranks) -> Outcome:
    counts = ranks.handed(None)
    fresh = bool(ranks.told(0.0))
    if not Run(folder).exists:
        raise RegardError("ranks.no_folder", run=folder, rank=ranks.number)
    run = Run.open(folder)
    setup = prepare(run.recipe, tokenizer=run.tokenizer, with_base=fresh)
    keep_data(setup, run, tokens=0, samples=0)  # the same data as the first rank's, or it is refused
    model, _ = setup.build()
    job = Job(setup.recipe.train, model, setup.task, setup.feed(counts=counts), setup.score())
    try:
        return fit(job, run, Silent(), stop, ranks)[0]
    except Interrupted:
        return "stopped"
    except NotFinite as error:  # the first rank tells it
        raise RankLost("ranks.lost") from error
