"""Contrastive search (Su et al. 2022): a token that is probable, and unlike what stands there already."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.generate.choose import Chooser
from regard.generate.rows import Rows
from regard.generate.sample import steps
from regard.generate.text import Text
from regard.generate.warp import log_probabilities


def write(rows: Rows, texts: Sequence[Text], chooser: Chooser, told: int) -> None:
    """Write every text to its end. Each step reads the ``top_k`` most probable tokens of every row and keeps the one
    with the largest ``(1 - contrast) * probability - contrast * likeness``, its likeness being the largest cosine
    between what the stack makes of it and of any token before it (equation 5 of the paper)."""
    weight, width = chooser.settings.search.contrast, chooser.settings.top_k
    assert weight is not None and width is not None
    live = list(texts)
    logits = rows.start()
    told_of = Before(rows.hidden, [len(history.prompt) for history in rows.histories])
    while True:
        probabilities = log_probabilities(chooser.ruled(logits, rows.histories)).exp()
        best = probabilities.topk(min(width, probabilities.shape[-1]))  # (B, k)
        count = best.indices.shape[-1]
        rows.select([row for row in range(len(live)) for _ in range(count)])
        following = rows.step(best.indices.flatten().tolist())
        vectors = F.normalize(rows.hidden[:, -1], dim=-1).unflatten(0, (len(live), count))
        scores = (1 - weight) * best.values - weight * told_of.likeness(vectors)
        scores = scores.masked_fill(best.values == 0, -torch.inf)
        chosen = scores.argmax(-1)
        tokens = best.indices.gather(-1, chosen[:, None])[:, 0].tolist()
        for text, step in zip(live, steps(logits, tokens, told), strict=True):
            text.add(step)
        keep = [row for row, text in enumerate(live) if text.reason is None]
        if not keep:
            return
        told_of = told_of.then(vectors[range(len(live)), chosen], keep)
        live = [live[row] for row in keep]
        kept = [row * count + int(chosen[row]) for row in keep]
        rows.select(kept)
        logits = following[kept]


class Before:
    """Unit vectors (B, S, D) of what stands in each row; only the first `lengths` of the prompts' are tokens."""

    def __init__(self, hidden: Tensor, lengths: Sequence[int]) -> None:
        self.vectors = F.normalize(hidden, dim=-1)
        ends = torch.tensor(lengths, device=hidden.device)
        self.tokens = torch.arange(hidden.shape[1], device=hidden.device) < ends[:, None]

    def likeness(self, vectors: Tensor) -> Tensor:
        """The largest cosine of each of (B, k, D) with a token of its row, (B, k)."""
        cosines = vectors @ self.vectors.transpose(1, 2)
        return cosines.masked_fill(~self.tokens[:, None], -torch.inf).amax(-1)

    def then(self, vectors: Tensor, keep: Sequence[int]) -> Before:
        """The rows `keep`, each with one token more, (B, D)."""
        after = Before.__new__(Before)
        after.vectors = torch.cat([self.vectors, vectors[:, None]], 1)[list(keep)]
        after.tokens = F.pad(self.tokens, (0, 1), value=True)[list(keep)]
        return after
