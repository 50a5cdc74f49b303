"""A process that may run out of memory for another: real steps of growing size, one line of JSON for each.

    python -m regard.train.probe FOLDER BYTES TOKENS TOKENS …

FOLDER holds recipe.toml and tokenizer/; BYTES is the memory that this process may hold, 0 for any.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from regard.tasks.base import Batch
from regard.train import gauge, machine
from regard.train.estimate import heaviest, under
from regard.train.feed import Feed
from regard.train.recipe import load
from regard.train.setup import prepare
from regard.train.trial import Trial, some_of

STEPS = 3  # that are timed


def main(folder: Path, most: int, sizes: list[int]) -> None:
    yield_to_others()
    setup = prepare(load(folder / "recipe.toml"), tokenizer=folder / "tokenizer", with_base=False)
    feed = setup.feed()
    with machine.settled(setup.recipe.train.machine):
        trial = Trial(setup)
        with machine.recomputed(trial.model, trial.config.machine.recompute):
            for size in sizes:
                speed = tried(trial, under(feed, replace(setup.recipe.train.batch, tokens=size, accumulate=1)))
                memory = gauge.most()
                if most and memory and memory > most:
                    return
                print(json.dumps({"tokens": size, "speed": speed, "memory": memory}), flush=True)


def tried(trial: Trial, feed: Feed) -> float:
    """Tokens a second of whole updates; the heaviest are made first, since it must hold these as well."""
    for batches in heaviest(feed):
        trial.learn(batches, 0, 0.0)
    speeds = []
    for step, batch in enumerate(some_of(feed, STEPS)):
        seconds = trial.timed(lambda batch=batch, step=step: trial.learn([batch], step, 0.0))
        speeds.append(tokens(batch) / seconds)
    return statistics.median(speeds)


def tokens(batch: Batch) -> int:
    return sum(batch.lengths) + sum(batch.source_lengths)


def yield_to_others() -> None:
    """Be the one that Linux ends where memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(size) for size in sys.argv[3:]])
