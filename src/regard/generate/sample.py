"""The decode loop: take the most probable token, or draw one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regard.generate.choose import Chooser
from regard.generate.rows import Rows
from regard.generate.text import Step, Text
from regard.generate.warp import log_probabilities


def write(rows: Rows, texts: Sequence[Text], parents: Sequence[int], chooser: Chooser, told: int) -> None:
    """Write every text to its end; text i continues row `parents[i]`. A text that has ended leaves the batch. `told`:
    of how many of the most probable tokens each step tells the log-probability."""
    live = list(texts)
    logits = rows.start()
    if list(parents) != list(range(len(logits))):
        logits = logits[list(parents)]
        rows.select(parents)
    while True:
        uniforms = None if chooser.settings.greedy else [text.uniform() for text in live]
        tokens = chooser.choose(logits, rows.histories, uniforms)
        for text, step in zip(live, steps(logits, tokens, told), strict=True):
            text.add(step)
        keep = [i for i, text in enumerate(live) if text.reason is None]
        if not keep:
            return
        if len(keep) < len(live):
            live = [live[i] for i in keep]
            rows.select(keep)
        logits = rows.step([tokens[i] for i in keep])


def steps(logits: Tensor, tokens: Sequence[int], told: int) -> list[Step]:
    """What is told of the next token of each row: by the model's own logits (B, V), before any rule."""
    if not told:
        chosen = logits[range(len(tokens)), tokens] - logits.logsumexp(-1)
        return [Step(token, logprob) for token, logprob in zip(tokens, chosen.tolist(), strict=True)]
    logprobs = log_probabilities(logits)
    best = logprobs.topk(min(told, logits.shape[-1]))
    tops = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    chosen = logprobs[range(len(tokens)), tokens].tolist()
    return [
        Step(token, logprob, tuple(zip(*top, strict=True)))
        for token, logprob, top in zip(tokens, chosen, tops, strict=True)
    ]
