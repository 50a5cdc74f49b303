"""The decode loop: take the most probable token, or draw one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.generate import warp
from regard.generate.rows import Rows
from regard.generate.settings import Settings
from regard.generate.text import Text


def write(rows: Rows, texts: Sequence[Text], parents: Sequence[int], settings: Settings) -> None:
    """Write every text to its end; text i continues row `parents[i]`. A text that has ended leaves the batch."""
    live = list(texts)
    logits = rows.start()
    if list(parents) != list(range(len(logits))):
        logits = logits[list(parents)]
        rows.select(parents)
    while True:
        tokens, logprobs = _choose(logits, rows, live, settings)
        for text, token, logprob in zip(live, tokens, logprobs, strict=True):
            text.add(token, logprob)
        keep = [i for i, text in enumerate(live) if text.reason is None]
        if not keep:
            return
        if len(keep) < len(live):
            live = [live[i] for i in keep]
            rows.select(keep)
        logits = rows.step([tokens[i] for i in keep])


def _choose(logits: Tensor, rows: Rows, live: Sequence[Text], settings: Settings) -> tuple[list[int], list[float]]:
    """The next token of each row and its log-probability under the model itself."""
    ranked = logits
    if settings.repetition_penalty != 1:
        ranked = warp.repetition(logits, rows.seen, settings.repetition_penalty)
    if settings.greedy:
        tokens = ranked.argmax(-1)
    else:
        uniform = torch.tensor([text.uniform() for text in live], dtype=torch.float64)
        tokens = warp.draw(_warped(ranked, settings), uniform)
    logprobs = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    return tokens.tolist(), logprobs.tolist()


def _warped(logits: Tensor, settings: Settings) -> Tensor:
    if settings.temperature != 1:
        logits = warp.temperature(logits, settings.temperature)
    if settings.top_k is not None:
        logits = warp.top_k(logits, settings.top_k)
    if settings.top_p is not None and settings.top_p < 1:
        logits = warp.top_p(logits, settings.top_p)
    if settings.min_p is not None:
        logits = warp.min_p(logits, settings.min_p)
    return logits
