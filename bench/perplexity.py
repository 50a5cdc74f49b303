"""Perplexity of SmolLM2-135M, out of its GGUF file, beside llama.cpp: the same tokens, the same windows.

    python bench/perplexity.py                   # eight windows of 512 tokens of held-out text
    python bench/perplexity.py --windows 32 --text other.txt

As llama.cpp's own tool does, each window is read by itself, and its second half is scored. The text is presidents'
addresses, which stand in the package for the demo. Where llama.cpp (`pip install llama-cpp-python`) is not there,
transformers' own reading of the same file takes its place, and the output says so. llama.cpp rounds what goes into each
product to eight bits; ours and transformers' do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import lzma
import math
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

WINDOW = 512
CLOSE = 0.005  # of the perplexity


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--text", type=Path, help="other held-out text")
    arguments = parser.parse_args()
    from regard import bundle

    loaded = bundle.load("smollm2")
    assert loaded.folder is not None
    tokens = loaded.tokenizer.encode(_text(arguments.text, arguments.windows), special=False)
    windows = [tokens[first : first + WINDOW] for first in range(0, len(tokens) - WINDOW + 1, WINDOW)]
    windows = windows[: arguments.windows]
    peer = "llama.cpp" if importlib.util.find_spec("llama_cpp") else "transformers"
    found = {
        "regard": perplexity(regard(loaded), windows),
        peer: perplexity(PEERS[peer](loaded.folder), windows),
    }
    ratio = found["regard"] / found[peer]
    scored = len(windows) * (WINDOW - WINDOW // 2)
    print(f"{loaded.folder.name}: {len(windows)} windows of {WINDOW} tokens, {scored} tokens scored")
    for name, value in found.items():
        print(f"{name:14}{value:10.4f}")
    print(f"regard / {peer}: {ratio:.5f} ({'within' if abs(ratio - 1) <= CLOSE else 'NOT within'} {CLOSE:.1%})")
    if peer != "llama.cpp":
        print("llama-cpp-python is not installed: compared with transformers, which reads the same file")
    return 0 if abs(ratio - 1) <= CLOSE else 1


def perplexity(nats: Callable[[Sequence[int]], Sequence[float]], windows: Sequence[Sequence[int]]) -> float:
    """`nats` gives the loss of every token of a window but the first."""
    scored = [loss for window in windows for loss in nats(window)[WINDOW // 2 - 1 :]]
    return math.exp(sum(scored) / len(scored))


def regard(loaded: Any) -> Callable[[Sequence[int]], Sequence[float]]:
    import torch

    def nats(window: Sequence[int]) -> Sequence[float]:
        row = torch.tensor([window])
        with torch.inference_mode():
            return _losses(loaded.model(row)[0, :-1], row[0, 1:])

    return nats


def llama_cpp(path: Path) -> Callable[[Sequence[int]], Sequence[float]]:
    import llama_cpp
    import torch

    model = llama_cpp.Llama(str(path), n_ctx=WINDOW, n_batch=WINDOW, logits_all=True, verbose=False)

    def nats(window: Sequence[int]) -> Sequence[float]:
        model.reset()
        model.eval(list(window))
        return _losses(torch.from_numpy(model.scores[: len(window) - 1]), torch.tensor(window[1:]))

    return nats


def transformers(path: Path) -> Callable[[Sequence[int]], Sequence[float]]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()

    def nats(window: Sequence[int]) -> Sequence[float]:
        row = torch.tensor([window])
        with torch.inference_mode():
            return _losses(model(row).logits[0, :-1], row[0, 1:])

    return nats


PEERS = {"llama.cpp": llama_cpp, "transformers": transformers}


def _losses(logits: Any, targets: Any) -> list[float]:
    import torch

    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none").tolist()


def _text(path: Path | None, windows: int) -> str:
    if path is not None:
        return path.read_text(encoding="utf-8")
    raw = lzma.decompress(files("regard").joinpath("data/builtin/addresses.jsonl.xz").read_bytes())
    rows = [json.loads(line) for line in raw.decode().splitlines()]
    return "\n".join(row["text"] for row in rows)[: 8 * WINDOW * windows]


if __name__ == "__main__":
    sys.exit(main())
