"""One training step (forward, backward, AdamW) of regard beside transformers and a plain torch.nn stack.

    python bench/train.py                      # all workloads in float32, five rounds
    python bench/train.py gpt-50k --rounds 3

Each measurement is a process of its own, one at a time, the systems taking turns; medians over the rounds. Tokens are
real tokens: padding counts for nothing. The share of the matrix-product peak is measured in the same process.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SYSTEMS = ("regard", "transformers", "torch.nn")


@dataclass(frozen=True)
class Workload:
    vocab: int
    causal: bool
    lengths: tuple[int, ...]  # tokens of each text in the batch
    dropout: float = 0.0
    bfloat16: bool = False  # the products of all three systems, by autocast
    depth: int = 6
    dim: int = 384
    heads: int = 6

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def products(self) -> float:
        """Floating-point operations in the matrix products of one step without padding: forward, and twice backward."""
        blocks = self.depth * 12 * self.dim**2 * self.tokens
        scores = self.depth * 2 * self.dim * sum(n * n for n in self.lengths) / (2 if self.causal else 1)
        rows = self.tokens if self.causal else self.masked
        return 3 * 2 * (blocks + scores + rows * self.dim * self.vocab)

    @property
    def masked(self) -> int:
        return sum(max(1, round(0.15 * n)) for n in self.lengths)


MIXED = tuple(8 + (i * 37) % 121 for i in range(64))  # 8..128, evenly spread
WORKLOADS = {
    "gpt-8k": Workload(8_000, True, (256,) * 16),
    "gpt-50k": Workload(50_304, True, (256,) * 16),
    "gpt-8k-dropout": Workload(8_000, True, (256,) * 16, dropout=0.1),
    "bert-mixed": Workload(30_522, False, MIXED),
    # Only for processors with instructions for it; others take many times as long.
    "gpt-8k-bfloat16": Workload(8_000, True, (256,) * 16, bfloat16=True),
    "gpt-50k-bfloat16": Workload(50_304, True, (256,) * 16, bfloat16=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], help="which to run; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps timed in each process")
    parser.add_argument("--worker", choices=SYSTEMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker, WORKLOADS[arguments.workloads[0]], arguments.steps)))
        return
    for name in arguments.workloads or [name for name, workload in WORKLOADS.items() if not workload.bfloat16]:
        compare(name, arguments.rounds, arguments.steps)


def compare(name: str, rounds: int, steps: int) -> None:
    """Prints one workload's table."""
    seen: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    for _ in range(rounds):
        for system in SYSTEMS:
            command = [sys.executable, __file__, name, "--worker", system, "--steps", str(steps)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seen[system].append(json.loads(out.strip().splitlines()[-1]))
    middle = {s: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for s, runs in seen.items()}
    best = min((s for s in SYSTEMS if s != "regard"), key=lambda s: middle[s]["seconds"])
    workload = WORKLOADS[name]
    print(f"\n{name}: {workload.tokens} tokens, vocabulary {workload.vocab}, dropout {workload.dropout}")
    print(f"{'':14}{'s/step':>9}{'tokens/s':>10}{'GEMM peak':>11}{'peak MB':>9}{'ratio':>8}{'memory':>8}")
    for system in SYSTEMS:
        row, reference = middle[system], middle["regard"]
        print(
            f"{system:14}{row['seconds']:9.2f}{workload.tokens / row['seconds']:10.0f}{row['share']:11.2f}"
            f"{row['megabytes']:9.0f}{row['seconds'] / reference['seconds']:8.2f}"
            f"{row['megabytes'] / reference['megabytes']:8.2f}"
        )
    speed = middle[best]["seconds"] / middle["regard"]["seconds"]
    memory = middle["regard"]["megabytes"] / middle[best]["megabytes"]
    print(f"regard is {speed:.2f} x the faster peer ({best}) in {memory:.2f} x its peak memory")


def measure(system: str, workload: Workload, steps: int) -> dict[str, float]:
    """Seconds a step, share of the matrix-product peak, and peak memory of this process."""
    import torch

    torch.manual_seed(0)
    bare = {"regard": regard_step, "transformers": transformers_step, "torch.nn": plain_step}[system](workload)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=workload.bfloat16):
            bare()

    step()
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
    seconds = statistics.median(times)
    return {"seconds": seconds, "share": workload.products / seconds / peak(workload.bfloat16), "megabytes": memory}


def peak(bfloat16: bool) -> float:
    """Operations a second of a large product in the precision of the workload, the best of several."""
    import torch

    dtype = torch.bfloat16 if bfloat16 else torch.float32
    a, b = torch.randn(4096, 1536, dtype=dtype), torch.randn(1536, 1536, dtype=dtype)
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        best = max(best, 2 * a.shape[0] * a.shape[1] * b.shape[1] / (time.perf_counter() - began))
    return best


def regard_step(workload: Workload) -> Callable[[], None]:
    import torch

    from regard import models
    from regard.layers import Context, Key
    from regard.train.optimizers import build
    from regard.train.recipe import OptimizerConfig

    sizes = {"vocab": workload.vocab, "dim": workload.dim, "depth": workload.depth, "heads": workload.heads}
    sizes |= {"hidden": 4 * workload.dim, "context": 256, "dropout": workload.dropout}
    model: Any = models.build(models.config("gpt2" if workload.causal else "bert", sizes), Key(0)).train()
    optimizer = build(model, OptimizerConfig())
    tokens = torch.randint(5, workload.vocab, (1, workload.tokens))
    if workload.causal:
        starts = torch.tensor(workload.lengths).cumsum(0) - 1
        where = torch.ones(workload.tokens, dtype=torch.bool)
        where[starts] = False
        where = where.nonzero()[:, 0]
        targets = tokens[0, where + 1]
    else:
        where = torch.randperm(workload.tokens)[: workload.masked].sort().values
        targets = tokens[0, where]
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        context = Context.packed(sorted(workload.lengths), key=Key(0).at(number))
        rows = model.hidden(tokens, context)[0, where]
        (model.head.loss(rows, targets) / len(targets)).backward()
        optimizer.step(1.0)
        optimizer.zero()

    return step


def transformers_step(workload: Workload) -> Callable[[], None]:
    import torch
    import transformers

    rate = workload.dropout
    if workload.causal:
        config = transformers.GPT2Config(
            vocab_size=workload.vocab, n_embd=workload.dim, n_layer=workload.depth, n_head=workload.heads,
            n_positions=256, resid_pdrop=rate, embd_pdrop=rate, attn_pdrop=rate,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.BertConfig(
            vocab_size=workload.vocab, hidden_size=workload.dim, num_hidden_layers=workload.depth,
            num_attention_heads=workload.heads, intermediate_size=4 * workload.dim, max_position_embeddings=256,
            hidden_dropout_prob=rate, attention_probs_dropout_prob=rate,
        )  # fmt: skip
        model = transformers.BertForMaskedLM(config)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens, labels, visible = padded(workload)

    def step() -> None:
        model(input_ids=tokens, attention_mask=visible, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def plain_step(workload: Workload) -> Callable[[], None]:
    """nn.TransformerEncoder with embeddings around it, as a tutorial would write it."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    layer = nn.TransformerEncoderLayer(
        workload.dim, workload.heads, 4 * workload.dim, workload.dropout, "gelu", batch_first=True,
        norm_first=workload.causal,
    )  # fmt: skip
    stack = nn.TransformerEncoder(layer, workload.depth, nn.LayerNorm(workload.dim), enable_nested_tensor=False)
    embed, places = nn.Embedding(workload.vocab, workload.dim), nn.Embedding(256, workload.dim)
    parts = nn.ModuleList([stack, embed, places]).train()
    optimizer = torch.optim.AdamW(parts.parameters(), lr=1e-3, fused=True)
    tokens, labels, visible = padded(workload)
    causal = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1]) if workload.causal else None
    padding = None if workload.causal else visible == 0

    def step() -> None:
        x = embed(tokens) + places(torch.arange(tokens.shape[1]))
        hidden = stack(x, mask=causal, is_causal=workload.causal, src_key_padding_mask=padding)
        logits = F.linear(hidden, embed.weight)
        if workload.causal:
            logits, wanted = logits[:, :-1], labels[:, 1:]
        else:
            wanted = labels
        F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100).backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def padded(workload: Workload):
    """The batch as the peers take it: (B, longest), labels -100 where nothing is asked, 1 where there is a token."""
    import torch

    longest = max(workload.lengths)
    tokens = torch.randint(5, workload.vocab, (len(workload.lengths), longest))
    visible = (torch.arange(longest) < torch.tensor(workload.lengths).unsqueeze(1)).long()
    labels = torch.where(visible == 1, tokens, -100)
    if not workload.causal:
        chosen = torch.rand(tokens.shape).masked_fill(visible == 0, -1.0)
        labels = torch.where(chosen >= chosen.flatten().kthvalue(chosen.numel() - workload.masked).values, labels, -100)
    return tokens, labels, visible


if __name__ == "__main__":
    main()
