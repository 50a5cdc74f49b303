"""Small trainings of every task, a second each, on sentences of a few words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regard.train import start
from regard.train.recipe import (
    BatchConfig,
    DataConfig,
    KeepConfig,
    MachineConfig,
    Recipe,
    TokenizerConfig,
    TrainConfig,
)

COUNT = 40
MACHINE = ("kernels", "packages", "threads", "room")  # checks that say how the machine is, not how the model is


@dataclass(frozen=True)
class Small:
    task: str
    family: str
    kind: Any = "bpe"
    model: dict[str, Any] = field(default_factory=dict)


_GROUPED = {"attention": {"heads": 4, "kv_heads": 2, "head_dim": 8}}
RUNS = {
    "causal-lm gpt2": Small("causal-lm", "gpt2"),
    "causal-lm qwen3": Small("causal-lm", "qwen3", model=_GROUPED),
    "causal-lm qwen3 windowed": Small(
        "causal-lm", "qwen3", "characters", {"attention": {**_GROUPED["attention"], "window": 5, "local": [0]}}
    ),
    "masked-lm bert": Small("masked-lm", "bert", "wordpiece"),
    "classification bert": Small("classification", "bert", "wordpiece"),
    "classification qwen3": Small("classification", "qwen3", model=_GROUPED),
    "classification t5": Small("classification", "t5", model={"head_dim": 8}),
    "seq2seq vaswani": Small("seq2seq", "vaswani"),
}


def rows(task: str) -> list[dict[str, str]]:
    if task == "seq2seq":
        pairs = [(f"open file number {i} and save it", f"打开第{i}个文件并保存") for i in range(COUNT)]
        return [{"source": source, "target": target} for source, target in pairs]
    if task == "classification":
        kinds = (("a fine film with heart", "good"), ("a dull film without end", "bad"))
        return [{"text": f"{text}, part {i}", "label": label} for i in range(COUNT // 2) for text, label in kinds]
    return [{"text": f"the {i}th sparrow sat on the old bridge and sang of winter"} for i in range(COUNT)]


def recipe(small: Small, data: Path) -> Recipe:
    """On one thread of a CPU; dropout wherever the family has it."""
    heads = {} if "attention" in small.model else {"heads": 4}
    sizes = {"family": small.family, "context": 61, "dim": 32, "depth": 2, "hidden": 37, "dropout": 0.1}
    machine = MachineConfig(device="cpu", threads=1, tensorboard=False)
    return Recipe(
        task={"name": small.task},
        model={**sizes, **heads, **small.model},
        data=DataConfig(train=str(data), share=0.1),
        tokenizer=TokenizerConfig(kind=small.kind, vocab=331),
        train=TrainConfig(steps=4, batch=BatchConfig(tokens=211), machine=machine, keep=KeepConfig(every=2, newest=2)),
    )


def write(small: Small, folder: Path) -> Path:
    """The data of a run as a file."""
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(small.task)), encoding="utf-8")
    return data


def train(small: Small, folder: Path) -> Path:
    start.start(recipe(small, write(small, folder)), folder / "run")
    return folder / "run"
