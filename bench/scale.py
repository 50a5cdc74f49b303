"""What a training costs as data, context, depth and ranks grow, and how much of it is lost to communication.

    python bench/scale.py                      # all four tables, some minutes
    python bench/scale.py ranks --ranks 1,2,4 --updates 20

Everything is a run of regard on the built-in poems, at sizes of a laptop, one thread a process. The share lost to
communication is 1 - (time of an update's own passes, all ranks at once, nobody talking) / (time of the update).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = {"dim": 96, "depth": 2, "hidden": 256, "heads": 4, "context": 128}
BATCH = 2048
DATA, CONTEXTS, DEPTHS = (500, 2000, 8000), (64, 128, 256, 512), (1, 2, 4, 8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=[], help="data, context, depth, ranks; by default all")
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(json.loads(options.worker))), flush=True)
        return 0
    tables = {"data": data, "context": context, "depth": depth, "ranks": ranks}
    for name in options.tables or tables:
        tables[name](options)
    return 0


# -------------------------------------------------------------------------------------------------------------- tables


def data(options: argparse.Namespace) -> None:
    table("rows", "tokens", "seconds to count", "rows/s", "s/update")
    for rows in DATA:
        found = ask({"rows": rows, "updates": options.updates})[0]
        row(rows, found["tokens"], found["counting"], rows / found["counting"], found["update"])


def context(options: argparse.Namespace) -> None:
    table("context", "s/update", "tokens/s")
    with tempfile.TemporaryDirectory() as folder:
        texts = long_texts(Path(folder))
        for length in CONTEXTS:
            found = ask({"context": length, "updates": options.updates, "data": texts})[0]
            row(length, found["update"], found["pace"])


def depth(options: argparse.Namespace) -> None:
    table("depth", "parameters", "s/update", "tokens/s")
    for layers in DEPTHS:
        found = ask({"depth": layers, "updates": options.updates})[0]
        row(layers, found["parameters"], found["update"], found["pace"])


def ranks(options: argparse.Namespace) -> None:
    table("ranks", "shard", "s/update", "tokens/s", "lost to talk", f"({os.cpu_count()} cores)")
    counts = [int(word) for word in options.ranks.split(",")]
    for shard in ("replicate", "full"):
        for count in counts:
            if count == 1 and shard == "full":
                continue
            found = ask({"updates": options.updates, "shard": shard, "accumulate": max(counts)}, count)
            slowest = max(found, key=lambda one: one["update"])
            lost = max(0.0, 1 - slowest["quiet"] / slowest["update"])
            row(count, shard, slowest["update"], slowest["pace"], f"{lost:.0%}", "")


def table(*names: str) -> None:
    print("\n" + "".join(f"{name:>18}" for name in names))


def row(*values: Any) -> None:
    shown = (f"{value:,.3g}" if isinstance(value, float) and value < 100 else value for value in values)
    print("".join(f"{f'{v:,.0f}' if isinstance(v, int | float) else v:>18}" for v in shown), flush=True)


def ask(changes: dict[str, Any], count: int = 1) -> list[dict[str, float]]:
    """What `measure` gives on each of so many ranks, every one a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = []
    for number in range(count):
        names = {**os.environ, **common, "RANK": str(number), "LOCAL_RANK": str(number), "TORCH_CPP_LOG_LEVEL": "ERROR"}
        command = [sys.executable, __file__, "--worker", json.dumps(changes)]
        started.append(subprocess.Popen(command, env=names, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"a worker failed on {changes}")
    return [json.loads(line) for line in said]


# -------------------------------------------------------------------------------------------------------------- worker


def measure(changes: dict[str, Any]) -> dict[str, float]:
    """Seconds of an update of this rank, with the others and for itself; and what was trained."""
    import torch

    from regard.train.loop import Training
    from regard.train.progress import Silent
    from regard.train.ranks import joined
    from regard.train.run import Run
    from regard.train.stop import Stop

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, joined() as ranks:
        began = time.perf_counter()
        job = made(changes)
        counting = time.perf_counter() - began
        run = Run.create(Path(folder) / "run", recipe(changes))
        together = Training(job, run, Silent(), Stop(), ranks)
        found = {"counting": counting, "tokens": job.feed.tokens}
        found |= {"parameters": sum(p.numel() for p in together.model.parameters())}
        found |= timed(together, changes["updates"])
        if ranks.count > 1:
            alone = Training(made(changes), Run.create(Path(folder) / "quiet", recipe(changes)), Silent(), Stop())
            alone.parts = ranks.share(job.config.batch.accumulate)
            ranks.any(False)  # all begin at once
            found["quiet"] = timed(alone, changes["updates"])["update"]
        else:
            found["quiet"] = found["update"]
        return found


def timed(training: Any, updates: int) -> dict[str, float]:
    """The median second of an update and tokens a second of the whole batch, the first two left out."""
    seconds = []
    for _ in range(updates + 2):
        began = time.perf_counter()
        training.update()
        seconds.append(time.perf_counter() - began)
    tokens = [line["tokens"] for line in training.run.updates()] or [0]
    training.metrics.close()
    update = statistics.median(seconds[2:])
    return {"update": update, "pace": statistics.mean(tokens) / update}


def made(changes: dict[str, Any]) -> Any:
    from regard.train.loop import Job
    from regard.train.setup import prepare

    setup = prepare(recipe(changes))
    model, _ = setup.build()
    return Job(setup.recipe.train, model, setup.task, setup.feed())


def recipe(changes: dict[str, Any]) -> Any:
    from regard.train.recipe import BatchConfig, DataConfig, MachineConfig, Recipe, TokenizerConfig, TrainConfig

    sizes = {**SIZES, **{name: value for name, value in changes.items() if name in SIZES}}
    heads = sizes.pop("heads")
    attention = {"heads": heads, "kv_heads": heads, "head_dim": sizes["dim"] // heads}
    machine = MachineConfig(device="cpu", threads=1, tensorboard=False, shard=changes.get("shard", "replicate"))
    return Recipe(
        task={"name": "causal-lm"},
        model={"family": "qwen3", "attention": attention, **sizes},
        data=DataConfig(train=changes.get("data", "sample:tang-poems"), share=0.0, rows=changes.get("rows", 2000)),
        tokenizer=TokenizerConfig(kind="characters", vocab=2000),
        train=TrainConfig(batch=BatchConfig(tokens=BATCH, accumulate=changes.get("accumulate", 1)), machine=machine),
    )


def long_texts(folder: Path) -> str:
    """A file in which a hundred poems are one text, so that any context is filled."""
    from regard.data import samples

    poems = samples.open("tang-poems")
    texts = ["".join(poems[n]["text"] for n in range(start, start + 100)) for start in range(0, 10_000, 100)]
    path = folder / "long.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
