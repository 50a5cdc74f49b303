"""SmolLM2-135M writing greedily: regard beside transformers, and llama.cpp where it is installed.

    python bench/generate.py                   # three rounds, under five minutes on two idle cores
    python bench/generate.py --rounds 1 --systems regard transformers

All hold the same float32 weights. Each measurement is a process of its own, one at a time, the systems taking turns;
medians over the rounds. Decoding is what N tokens more take than one; prefill is a prompt of 512 tokens and one token.
llama.cpp is asked for one row only.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPT, PREFILL = 24, 512
DECODE = {1: 48, 8: 24, 32: 12}  # rows: tokens written to each
MARKS = {"decode 1": 1.25, "decode 8": 1.1, "decode 32": 1.0, "prefill 512": 1.1}  # x transformers
SYSTEMS = ("regard", "transformers", "llama.cpp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--worker", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(WRITERS[arguments.worker](arguments.model), arguments.worker)))
        return
    systems = [one for one in arguments.systems if one != "llama.cpp" or importlib.util.find_spec("llama_cpp")]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), systems)
        seen: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
        for _ in range(arguments.rounds):
            for system in systems:
                command = [sys.executable, __file__, "--worker", system, "--model", folder]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                seen[system].append(json.loads(out.strip().splitlines()[-1]))
    show(seen)


def prepare(folder: Path, systems: list[str]) -> None:
    """The dequantised weights as each system reads them."""
    from regard import bundle, export

    loaded = bundle.load("smollm2")
    bundle.save(folder / "hf", loaded)
    if "llama.cpp" in systems:
        export.export(loaded, folder / "model.gguf", "gguf", "F32")


def show(seen: dict[str, list[dict[str, float]]]) -> None:
    middle = {s: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for s, runs in seen.items()}
    print(f"SmolLM2-135M, float32, tokens/s (medians of {len(next(iter(seen.values())))})")
    print(f"{'':14}" + "".join(f"{system:>15}" for system in middle) + f"{'x transformers':>16}{'mark':>7}")
    for name, mark in MARKS.items():
        row = [middle[system].get(name) for system in middle]
        cells = "".join(f"{'-' if value is None else format(value, '.1f'):>15}" for value in row)
        ratio = ""
        if "regard" in middle and "transformers" in middle:
            ratio = f"{middle['regard'][name] / middle['transformers'][name]:16.2f}{mark:7.2f}"
        print(f"{name:14}{cells}{ratio}")


Writer = Callable[[list[list[int]], int], Any]  # token rows, and how many tokens to write to each


def measure(write: Writer, system: str) -> dict[str, float]:
    """Tokens a second of each workload."""

    def seconds(rows: int, length: int, count: int) -> float:
        prompts = [[100 + (7 * row + 13 * place) % 9000 for place in range(length)] for row in range(rows)]
        began = time.perf_counter()
        write(prompts, count)
        return time.perf_counter() - began

    seconds(1, PROMPT, 3)  # warms up
    found = {"prefill 512": PREFILL / statistics.median(seconds(1, PREFILL, 1) for _ in range(3))}
    for rows, count in DECODE.items():
        if system != "llama.cpp" or rows == 1:
            tries = [seconds(rows, PROMPT, 1 + count) - seconds(rows, PROMPT, 1) for _ in range(3 if rows == 1 else 1)]
            found[f"decode {rows}"] = rows * count / statistics.median(tries)
    return found


def regard(folder: Path) -> Writer:
    from dataclasses import replace

    from regard import bundle
    from regard.generate import Rules, Settings, generate

    loaded = bundle.load(folder / "hf")
    settings = Settings(temperature=0)

    def write(prompts: list[list[int]], count: int) -> Any:
        return generate(loaded, prompts, replace(settings, max_tokens=count, rules=Rules(min_tokens=count)))

    return write


def transformers(folder: Path) -> Writer:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32).eval()

    def write(prompts: list[list[int]], count: int) -> Any:
        rows = torch.tensor(prompts)
        return model.generate(
            rows, attention_mask=torch.ones_like(rows), do_sample=False, max_new_tokens=count, min_new_tokens=count,
            pad_token_id=0,
        )  # fmt: skip

    return write


def llama_cpp(folder: Path) -> Writer:
    import os

    import llama_cpp as library

    threads = os.cpu_count() or 1
    model = library.Llama(
        str(folder / "model.gguf"), n_ctx=2 * PREFILL, n_batch=PREFILL, n_threads=threads, n_threads_batch=threads,
        verbose=False,
    )  # fmt: skip

    def write(prompts: list[list[int]], count: int) -> Any:
        model.reset()
        model.eval(prompts[0])
        for _ in range(count - 1):
            model.eval([int(model.sample(temp=0.0))])

    return write


WRITERS = {"regard": regard, "transformers": transformers, "llama.cpp": llama_cpp}


if __name__ == "__main__":
    main()
