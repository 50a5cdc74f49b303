"""The pieces of a training step, each beside what it replaced: medians of alternating runs in one process.

python bench/pieces.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.layers import Key, Mask, Places
from regard.ops.attention import Visible, fused
from regard.ops.losses import vocabulary_loss
from regard.ops.norms import rms_norm
from regard.train.optimizers import orthogonal


def main() -> None:
    torch.manual_seed(0)
    for title, ways in (norms(), masks(), documents(), losses(), iterations()):
        compare(title, ways)


def compare(title: str, ways: dict[str, Callable[[], object]], rounds: int = 7) -> None:
    """Prints milliseconds of each way, taken in turns, and their ratio to the last, which is ours."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if number:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - began))
    middle = {name: statistics.median(values) for name, values in times.items()}
    ours = list(middle.values())[-1]
    print(f"\n{title}")
    for name, value in middle.items():
        print(f"  {name:44}{value:9.2f} ms{value / ours:8.2f} x")


def norms() -> tuple[str, dict[str, Callable[[], object]]]:
    x, w = torch.randn(4096, 384, requires_grad=True), torch.ones(384, requires_grad=True)
    b, grad = torch.zeros(384, requires_grad=True), torch.randn(4096, 384)
    return "normalise 4096 x 384, forward and backward", {
        "F.layer_norm": lambda: F.layer_norm(x, (384,), w, b).backward(grad),
        "F.rms_norm": lambda: F.rms_norm(x, (384,), w, 1e-6).backward(grad),
        "ops.norms.rms_norm": lambda: rms_norm(x, w, 1e-6).backward(grad),
    }


def masks() -> tuple[str, dict[str, Callable[[], object]]]:
    x = torch.randn(4096, 384)
    return "dropout mask for 4096 x 384", {
        "F.dropout": lambda: F.dropout(x, 0.1),
        "bernoulli_ of a seeded generator": lambda: x.new_empty(x.shape).bernoulli_(0.9, generator=Key(0).generator()),
        "Key.keep": lambda: Key(0).keep(x.shape, 0.1),
    }


def documents() -> tuple[str, dict[str, Callable[[], object]]]:
    """64 documents of 64 tokens: masked in one row, or as a batch."""
    row = [torch.randn(1, 6, 4096, 64, requires_grad=True) for _ in range(3)]
    batch = [torch.randn(64, 6, 64, 64, requires_grad=True) for _ in range(3)]
    places, all_places = Places.count(0, 64), Places.count(0, 4096)
    segments = torch.arange(64).repeat_interleave(64).unsqueeze(0)
    masked, plain = Mask(segments=segments).bind(all_places, all_places), Mask().bind(places, places)
    masked.tensor  # noqa: B018 - built once, before the clock runs

    def attend(tensors: list[Tensor], mask: Visible) -> None:
        q, k, v = tensors
        fused(q, k, v, mask, None, 0.125, None).sum().backward()

    return "attention over 64 documents of 64 tokens", {
        "one row under a block mask": lambda: attend(row, masked),
        "a batch of documents": lambda: attend(batch, plain),
    }


def losses() -> tuple[str, dict[str, Callable[[], object]]]:
    x, w = torch.randn(4096, 384, requires_grad=True), torch.randn(50_304, 384, requires_grad=True)
    targets = torch.randint(50_304, (4096,))
    return "cross-entropy of 4096 rows over 50,304 words", {
        "F.linear, F.cross_entropy": lambda: F.cross_entropy(F.linear(x, w), targets, reduction="sum").backward(),
        "in chunks": lambda: vocabulary_loss(x, w, targets).backward(),
    }


def iterations() -> tuple[str, dict[str, Callable[[], object]]]:
    matrix = torch.randn(384, 1536)
    half = matrix.bfloat16()

    def bfloat() -> Tensor:
        x = half / half.norm()
        for _ in range(5):
            square = x @ x.mT
            x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
        return x

    return "Muon's iteration on 384 x 1536", {"in bfloat16": bfloat, "in float32": lambda: orthogonal(matrix)}


if __name__ == "__main__":
    main()
