"""Pure functions that reshape next-token logits (B, V) before a token is drawn; what they rule out becomes -inf.

They compose left to right in the order of this file, which is also transformers' order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def bias(logits: Tensor, rows: Sequence[Sequence[int]], words: Sequence[tuple[Sequence[int], float]]) -> Tensor:
    """Add its value to the last token of each word (tokens, value), in the rows whose newest tokens are the word's
    others. -inf rules the word out."""
    added = torch.zeros_like(logits)
    for word, value in words:
        ahead, last = tuple(word[:-1]), word[-1]
        for number, row in enumerate(rows):
            if len(ahead) <= len(row) and tuple(row[len(row) - len(ahead) :]) == ahead:
                added[number, last] += value
    return logits + added


def repetition(logits: Tensor, rows: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Make every token that a row holds `penalty` times less likely: logits above zero are divided by it, others
    multiplied (CTRL, Keskar et al. 2019, section 4.1). 1 changes nothing."""
    seen = counts(logits, rows) > 0
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def counted(logits: Tensor, rows: Sequence[Sequence[int]], frequency: float, presence: float) -> Tensor:
    """Take `frequency` from a token's logit for each time a row holds it, and `presence` if it does at all."""
    times = counts(logits, rows)
    return logits - frequency * times - presence * (times > 0)


def counts(logits: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """How often each row holds each token, in the shape and type of the logits."""
    vocab = logits.shape[-1]
    found = [torch.bincount(torch.tensor(row, dtype=torch.int64), minlength=vocab)[:vocab] for row in rows]
    return torch.stack(found).to(logits)


def no_repeat(logits: Tensor, rows: Sequence[Sequence[int]], size: int) -> Tensor:
    """Rule out every token that would make a run of `size` tokens that the row holds already (Paulus et al. 2018)."""
    out = torch.zeros_like(logits, dtype=torch.bool)
    for number, row in enumerate(rows):
        newest = tuple(row[len(row) - size + 1 :])
        if len(row) >= size:
            runs = (tuple(row[start : start + size]) for start in range(len(row) - size + 1))
            out[number, [run[-1] for run in runs if run[:-1] == newest]] = True
    return logits.masked_fill(out, -torch.inf)


def without(logits: Tensor, tokens: Sequence[int], rows: Sequence[int]) -> Tensor:
    """Rule `tokens` out in the rows of these numbers."""
    logits = logits.clone()
    logits[torch.tensor(rows)[:, None], torch.tensor(tokens)] = -torch.inf
    return logits


def only(logits: Tensor, token: int, rows: Sequence[int]) -> Tensor:
    """Leave `token` alone in the rows of these numbers, as if it were certain."""
    logits = logits.clone()
    logits[list(rows)] = -torch.inf
    logits[list(rows), token] = 0
    return logits


def temperature(logits: Tensor, value: float) -> Tensor:
    """Below 1 the distribution sharpens, above 1 it flattens; `value` > 0."""
    return logits / value


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` largest logits of each row, and those equal to the least of them (Fan et al. 2018)."""
    if k >= logits.shape[-1]:
        return logits
    least = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of most probable tokens whose probability reaches `p` (nucleus sampling, Holtzman et al.
    2020): a token stays if those before it in the order hold less than `p`, so the first always does. 0 < p <= 1."""
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = log_probabilities(ordered).exp()
    before = probabilities.cumsum(-1) - probabilities
    out = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before >= p)
    return logits.masked_fill(out, -torch.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Drop every token less than `p` times as probable as the row's most probable one (Nguyen et al. 2024)."""
    ratio = (logits - logits.amax(-1, keepdim=True)).exp()
    return logits.masked_fill(ratio < p, -torch.inf)


def typical_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens whose surprise is nearest to the expected one, until they hold `p` (locally typical sampling,
    Meister et al. 2023, equation 10); ties of the last one stay. 0 < p <= 1."""
    surprise = -log_probabilities(logits)
    weights = (-surprise).exp()
    expected = (surprise * weights).nansum(-1, keepdim=True)  # 0 * inf: what is ruled out counts for nothing
    distance = (surprise - expected).abs()
    ordered, order = distance.sort(dim=-1)
    held = weights.gather(-1, order).cumsum(-1)
    last = (held < p).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    return logits.masked_fill(distance > ordered.gather(-1, last), -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """The token (B,) of each row at the point `uniform` (B,), in [0, 1), of its cumulative distribution.

    One number a row makes the draw a pure function of the row alone, whatever batch it stands in. In double precision,
    so that the least probable of 100,000 tokens still gets its share.
    """
    # Apple's GPUs have no double precision.
    exact = (logits.cpu() if logits.device.type == "mps" else logits).double()
    cumulative = (exact - exact.amax(-1, keepdim=True)).exp().cumsum(-1)
    point = uniform.to(cumulative.device, torch.float64)[:, None] * cumulative[:, -1:]
    # right=True: the first token whose cumulative weight is above the point, so one of weight zero is never drawn.
    tokens = torch.searchsorted(cumulative, point, right=True)[:, 0]
    # A row of NaN has no such token; its NaN log-probability is what tells the caller.
    return tokens.clamp(max=logits.shape[-1] - 1).to(logits.device)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities in nats, (B, V)."""
    return logits - logits.logsumexp(-1, keepdim=True)
