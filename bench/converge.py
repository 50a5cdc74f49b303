"""Time to a given validation loss: regard's recipe beside transformers' Trainer with the best of four learning rates.

    pip install -e ".[bench]" && python bench/converge.py --steps 400

Both read the same poems and addresses through the same tokenizer, at the same number of parameters, in processes of
their own, one after the other. The Trainer runs `--steps` updates at each rate (blocks of 128 tokens, linear schedule
with warm-up, no dropout); the best rate's loss and seconds are the mark. Then regard trains for half of those seconds.
Both are scored by one function: nats per token of held-out documents, each by itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RATES = (5e-4, 1e-3, 2e-3, 4e-3)
CONTEXT, BATCH, VOCAB = 128, 32, 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="updates of each run of the Trainer")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of regard's recipe")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(work(json.loads(arguments.worker))))
        return
    folder = Path(tempfile.mkdtemp(prefix="converge-"))
    run({"what": "data", "folder": str(folder)})
    print(f"{'':34}{'parameters':>12}{'tokens':>12}{'seconds':>9}{'nats/token':>12}")
    best: dict[str, Any] | None = None
    for rate in RATES:
        made = run({"what": "trainer", "folder": str(folder), "rate": rate, "steps": arguments.steps})
        show(f"transformers Trainer, rate {rate:g}", made)
        if best is None or made["loss"] < best["loss"]:
            best = made
    assert best is not None
    changes = dict(one.split("=", 1) for one in arguments.set)
    ours = run({"what": "regard", "folder": str(folder), "seconds": best["seconds"] / 2, "set": changes})
    show("regard, half the seconds", ours)
    verdict = "reached" if ours["loss"] <= best["loss"] else "not reached"
    print(f"the Trainer's best loss in {ours['seconds'] / best['seconds']:.2f} of its time: {verdict}")


def show(name: str, made: dict[str, Any]) -> None:
    sizes = f"{made['parameters']:12,}{made['tokens']:12,}"
    print(f"{name:34}{sizes}{made['seconds']:9.0f}{made['loss']:12.3f}", flush=True)


def run(job: dict[str, Any]) -> Any:
    command = [sys.executable, __file__, "--worker", json.dumps(job)]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout.strip().splitlines()[-1])


def work(job: dict[str, Any]) -> Any:
    return {"data": data, "trainer": trainer, "regard": regard}[job["what"]](job)


def data(job: dict[str, Any]) -> None:
    """Poems and the paragraphs of addresses, every fiftieth held out, and a tokenizer trained on the rest."""
    from regard.data import samples
    from regard.inputs.tokenizer import Tokenizer

    texts = [row["text"] for row in samples.open("tang-poems")]
    for row in samples.open("addresses"):
        texts += [paragraph for paragraph in row["text"].split("\n") if len(paragraph) > 40]
    held_out = [text for number, text in enumerate(texts) if number % 50 == 0][:400]
    train = [text for number, text in enumerate(texts) if number % 50]
    folder = Path(job["folder"])
    for name, part in (("train", train), ("held_out", held_out)):
        lines = (json.dumps({"text": text}, ensure_ascii=False) for text in part)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    Tokenizer.train("bpe", train, VOCAB).save(folder / "tokenizer")


def trainer(job: dict[str, Any]) -> dict[str, Any]:
    import torch
    import transformers

    from regard import models
    from regard.inputs.tokenizer import Tokenizer
    from regard.weights import folder as files
    from regard.weights import table

    folder = Path(job["folder"])
    tokenizer = Tokenizer.load(folder / "tokenizer")
    wanted = job["steps"] * BATCH * CONTEXT
    config = transformers.GPT2Config(
        vocab_size=tokenizer.size, n_embd=256, n_layer=4, n_head=4, n_positions=CONTEXT + 1, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    blocks = _blocks(folder, tokenizer, wanted)
    out = folder / f"trainer-{job['rate']}"
    settings = transformers.TrainingArguments(
        str(out), max_steps=job["steps"], per_device_train_batch_size=BATCH, learning_rate=job["rate"],
        warmup_steps=job["steps"] // 20, weight_decay=0.1, adam_beta2=0.95, logging_strategy="no", save_strategy="no",
        report_to=[], disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    teacher = transformers.Trainer(model=model, args=settings, train_dataset=blocks)
    began = time.perf_counter()
    teacher.train()
    seconds = time.perf_counter() - began
    model.save_pretrained(out)
    family = models.family("gpt2")
    ours = models.empty(family.read(json.loads((out / "config.json").read_text()), str(out)))
    table.read(family.TABLE, files.Folder(out), ours, str(out))
    count = sum(p.numel() for p in model.parameters())
    return {"seconds": seconds, "parameters": count, "tokens": wanted, "loss": _loss(ours.eval(), folder)}


def _blocks(folder: Path, tokenizer: Any, wanted: int) -> Any:
    """Documents end to end, each begun and ended, cut into blocks: what the Trainer's own examples do."""
    texts = [json.loads(line)["text"] for line in (folder / "train.jsonl").open(encoding="utf-8")]
    shuffled = [texts[(number * 7919) % len(texts)] for number in range(len(texts))]
    stream: list[int] = []
    for text in itertools.cycle(shuffled):
        if len(stream) > wanted:
            break
        stream += tokenizer.encode(text)
    cut = range(0, wanted, CONTEXT)
    return [{"input_ids": stream[at : at + CONTEXT], "labels": stream[at : at + CONTEXT]} for at in cut]


def regard(job: dict[str, Any]) -> dict[str, Any]:
    """Two short runs give the pace; the third is fitted to the seconds and scored."""
    from regard import bundle, config
    from regard.train.recipe import Recipe
    from regard.train.start import start

    folder = Path(job["folder"])
    recipe = config.override(config.from_dict(Recipe, _recipe(folder)), job["set"])

    def trained(steps: int, name: str) -> tuple[Any, float]:
        fitted = config.override(recipe, {"train.steps": str(steps), "train.keep.every": str(10 * steps)})
        began = time.perf_counter()
        run, _ = start(fitted, folder / name)
        updates = run.updates()
        return run, sum(line["seconds"] for line in updates) if name == "pace" else time.perf_counter() - began

    _, seconds = trained(12, "pace")
    run, _ = trained(max(20, int(job["seconds"] / (seconds / 12))), "ours")
    model = bundle.load(run.folder).model
    updates = run.updates()
    count = sum(p.numel() for p in model.parameters())
    return {
        "seconds": sum(line["seconds"] for line in updates),
        "parameters": count,
        "tokens": sum(line["tokens"] for line in updates),
        "loss": _loss(model, folder),
    }


def _recipe(folder: Path) -> dict[str, Any]:
    return {
        "task": {"name": "causal-lm", "context": CONTEXT},
        "model": {"family": "qwen3", "dim": 256, "depth": 4, "hidden": 688, "context": CONTEXT,
                  "attention": {"heads": 4, "kv_heads": 4, "head_dim": 64}},
        "data": {"train": str(folder / "train.jsonl"), "share": 0.0},
        "tokenizer": {"load": str(folder / "tokenizer")},
        "train": {"batch": {"tokens": 2048}, "optimizer": {"name": "muon", "rate": 4e-3, "weight_decay": 0.01},
                  "schedule": {"name": "wsd", "warmup": 0.02, "decay": 0.5},
                  "machine": {"tensorboard": False}},
    }  # fmt: skip


def _loss(model: Any, folder: Path) -> float:
    """Mean nats per token of the held-out documents, each begun and ended, none seeing another."""
    import torch

    from regard import tasks
    from regard.inputs.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder / "tokenizer")
    task = tasks.get("causal-lm", {}, tokenizer, context=CONTEXT)
    rows = [json.loads(line) for line in (folder / "held_out.jsonl").open(encoding="utf-8")]
    samples = [sample for row in rows for sample in task.samples(row)]
    nats = tokens = 0
    with torch.no_grad():
        for at in range(0, len(samples), 32):
            batch = task.collate(samples[at : at + 32], range(len(samples[at : at + 32])))
            nats += float(task.loss(model, batch, None))
            tokens += batch.count
    return nats / tokens


if __name__ == "__main__":
    main()
