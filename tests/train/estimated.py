"""Ten trainings of unlike families, tasks, sizes, vocabularies and settings, estimated and then made.

    python estimated.py NAME        estimates, trains, estimates again; one line of JSON

A process for each: what one has held at most cannot be told of two.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from regard import config
from regard.train import gauge
from regard.train.estimate import estimate
from regard.train.recipe import Recipe
from regard.train.setup import prepare
from regard.train.start import start

POEMS = {"train": "sample:tang-poems", "rows": 1200}, {"kind": "characters"}
FILMS = {"train": "sample:film-reviews", "rows": 1200}, {"kind": "bpe"}
HELP = {"train": "sample:office-help", "rows": 1200}, {"kind": "bpe"}


def qwen(dim: int, depth: int, heads: int, kv_heads: int, hidden: int) -> dict[str, Any]:
    attention = {"heads": heads, "kv_heads": kv_heads, "head_dim": dim // heads}
    return {"family": "qwen3", "dim": dim, "depth": depth, "hidden": hidden, "context": 128, "attention": attention}


def plain(family: str, dim: int, depth: int, heads: int, context: int = 128) -> dict[str, Any]:
    return {"family": family, "dim": dim, "depth": depth, "heads": heads, "hidden": 4 * dim, "context": context}


# name: task, model, data, vocabulary, tokens, accumulate, what else
CASES: dict[str, tuple[str, dict[str, Any], Any, int, int, int, dict[str, Any]]] = {
    "qwen3": ("causal-lm", qwen(192, 3, 6, 6, 512), POEMS, 4000, 2048, 1, {}),
    "qwen3 muon, accumulated": ("causal-lm", qwen(192, 3, 6, 2, 512), POEMS, 3000, 4096, 4, {"optimizer.name": "muon"}),
    "qwen3 recomputed": ("causal-lm", qwen(192, 4, 4, 4, 512), POEMS, 2000, 2048, 1, {"machine.recompute": True}),
    "gpt2": ("causal-lm", plain("gpt2", 192, 3, 4), POEMS, 4000, 2048, 1, {}),
    "gpt2 large vocabulary": ("causal-lm", plain("gpt2", 128, 2, 2), FILMS, 8000, 2048, 2, {}),
    "bert masked": ("masked-lm", plain("bert", 192, 3, 6), FILMS, 4000, 2048, 1, {}),
    "bert masked, muon": ("masked-lm", plain("bert", 192, 3, 4, 256), POEMS, 3000, 2048, 1, {"optimizer.name": "muon"}),
    "bert classes": ("classification", plain("bert", 128, 4, 4), FILMS, 4000, 2048, 1, {"average": 0.99}),
    "vaswani": ("seq2seq", plain("vaswani", 192, 2, 6), HELP, 2000, 2048, 1, {}),
    "vaswani recomputed, accumulated": (
        *("seq2seq", plain("vaswani", 192, 3, 4), HELP, 4000, 4096, 2),
        {"machine.recompute": True},
    ),
}


def recipe(name: str, steps: int) -> Recipe:
    task, model, (rows, words), vocab, tokens, accumulate, more = CASES[name]
    values = {
        "task": {"name": task},
        "model": model,
        "data": rows,
        "tokenizer": {**words, "vocab": vocab, "rows": 1200},
        "train": {
            "steps": steps,
            "batch": {"tokens": tokens, "accumulate": accumulate},
            "keep": {"every": 100},
            "evaluate": {"rows": 4},
            "machine": {"device": "cpu", "threads": 1, "tensorboard": False},
        },
    }
    return config.override(config.from_dict(Recipe, values), {f"train.{k}": str(v) for k, v in more.items()})


def main() -> None:
    torch.set_num_threads(1)
    asked = recipe(sys.argv[1], 8)
    with tempfile.TemporaryDirectory() as folder:
        setup = prepare(asked)
        before = estimate(setup, setup.feed(), Path(folder))
        gauge.forget()
        run, _ = start(asked, Path(folder) / "run")
        memory = gauge.most()
        after = estimate(setup, setup.feed(), Path(folder))
        seconds = [line["seconds"] for line in run.updates()[1:]]
        tokens = [line["tokens"] for line in run.updates()[1:]]
    found = {
        "memory": [before.memory.total, memory],
        # What another program takes of the machine, it takes of the estimates before and after as well.
        "time": [
            statistics.mean(each.time.step / each.time.tokens for each in (before, after)),
            sum(seconds) / sum(tokens),
        ],
        "parts": vars(before.memory),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
