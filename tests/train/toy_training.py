"""A model and a task so small that every number of a training can be followed, and a whole training takes a second.

python toy_training.py RUN            trains in that folder, or goes on there
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from regard.ops.random import Dropout, Key
from regard.tasks.base import Batch, Sample, collate
from regard.tasks.scores import Result, Score
from regard.train.feed import Feed
from regard.train.loop import Job, fit
from regard.train.progress import Silent
from regard.train.recipe import (
    BatchConfig,
    EvaluateConfig,
    KeepConfig,
    MachineConfig,
    OptimizerConfig,
    Recipe,
    TrainConfig,
)
from regard.train.run import Run
from regard.train.stop import Stop, on_signals

VOCAB, DIM = 13, 7

CONFIG = TrainConfig(
    steps=23,
    seed=5,
    batch=BatchConfig(tokens=41, accumulate=3),
    optimizer=OptimizerConfig(rate=0.03),
    keep=KeepConfig(every=3, newest=2),
    evaluate=EvaluateConfig(every=5),
    machine=MachineConfig(device="cpu", threads=1, tensorboard=False),
)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(DIM, DIM)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x, context):
        return x + self.norm(torch.tanh(self.inner(x)))


class Model(nn.Module):
    """Predicts each token from the one before it, through blocks and dropout."""

    def __init__(self, seed: int = 3):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCAB, DIM)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(DIM, VOCAB, bias=False)
        self.head.weight = self.embedding.weight  # tied
        self.register_buffer("kept", torch.ones(2))

    def forward(self, tokens, key: Key | None):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, None)
        return self.head(x if key is None else Dropout(0.2, key)(x))


class Task:
    """Rows are lists of tokens."""

    name, columns, primary, labels, context = "toy", ("text",), "nats_per_token", (), 99
    tokenizer: Any = None
    poison: int | None = None  # a row whose loss is not a number

    def samples(self, row, *, index=0, epoch=0, seed=0):
        tokens = np.asarray(row["text"])
        return [Sample(tokens=tokens[:-1], labels=tokens[1:])]

    def collate(self, samples, ids):
        return collate(samples, ids)

    def loss(self, model: nn.Module, batch: Batch, key: Key | None):
        logits = model(batch.tokens[0, batch.where], key)
        loss = nn.functional.cross_entropy(logits, batch.labels, reduction="sum")
        return loss * float("nan") if self.poison in batch.ids else loss

    def evaluate(self, model, rows, progress=None):
        with torch.no_grad():
            batch = collate([sample for row in rows for sample in self.samples(row)], range(len(rows)))
            value = self.loss(model, batch, None).item() / batch.count
        if progress:
            progress(len(rows))
        return Result(name="model", scores=(Score(name=self.primary, value=value),), examples=len(rows))


def rows(count: int = 31, seed: int = 1):
    draw = np.random.default_rng(seed)
    found = []
    for index in range(count):
        start, length = draw.integers(VOCAB), draw.integers(3, 12)
        found.append({"text": [(start + 2 * k) % VOCAB for k in range(length)], "where": f"toy:{index + 1}"})
    return found


def job(config: TrainConfig = CONFIG, task: Task | None = None, **changes) -> Job:
    config, task = replace(config, **changes), task or Task()
    feed = Feed(task, rows(), config.batch, seed=config.seed)
    held_out = rows(11, seed=2)
    return Job(config, Model(), task, feed, lambda model, poll: task.evaluate(model, held_out, poll))


def train(folder: Path, config: TrainConfig = CONFIG, stop: Stop | None = None, **changes) -> tuple[Job, Run, str]:
    """Train a fresh model in a folder, from its newest checkpoint if it has one."""
    work = job(config, **changes)
    run = Run(folder)
    if not run.exists:
        run = Run.create(folder, Recipe(task={"name": "causal-lm"}, model={"family": "toy"}, train=work.config))
    with run.locked():
        outcome, _ = fit(work, run, Silent(), stop or Stop())
    return work, run, outcome


def main() -> int:
    with on_signals() as stop:
        print("ready", flush=True)
        _, _, outcome = train(Path(sys.argv[1]), CONFIG, stop, steps=int(sys.argv[2]))
    return 130 if outcome == "stopped" else 0


if __name__ == "__main__":
    sys.exit(main())
