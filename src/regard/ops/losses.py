"""Losses as pure functions. Sums, not means: whoever knows the whole batch divides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LinearCrossEntropyOptions
from torch.utils.checkpoint import checkpoint

# Rows whose logits exist at one time. The gradients are made in the forward pass, so the logits of a chunk are gone
# before the next one begins; docs/LOG.md has the measurement behind this size.
_ROWS = 512


def vocabulary_loss(
    rows: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Summed cross-entropy in nats of ``softmax(rows @ weight.T + bias)``, never holding all logits at once.

    rows (N, D), weight (V, D), targets (N,) int64, bias (V,). ``smoothing`` as in Szegedy et al. 2015, section 7.
    """
    if rows.shape[0] <= _ROWS:
        return class_loss(F.linear(rows, weight, bias), targets, smoothing)
    options = LinearCrossEntropyOptions(batch_chunk_size=_ROWS, chunking_method=None)
    loss = F.linear_cross_entropy(rows, weight, targets, linear_bias=bias, reduction="sum", options=options)
    return loss if smoothing == 0.0 else loss + smoothing * _above_average(rows, weight, targets, bias)


def capped_loss(rows: Tensor, weight: Tensor, targets: Tensor, cap: float) -> Tensor:
    """Summed cross-entropy in nats of ``cap * tanh(rows @ weight.T / cap)``; logits are made again for the gradient
    rather than kept."""

    def part(rows: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return class_loss(cap * torch.tanh(F.linear(rows, weight) / cap), targets)

    chunks = zip(rows.split(_ROWS), targets.split(_ROWS), strict=True)
    losses = [cast(Tensor, checkpoint(part, some, weight, wanted, use_reentrant=False)) for some, wanted in chunks]
    return torch.stack(losses).sum()


def class_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Summed cross-entropy in nats. logits (N, V), targets (N,) int64."""
    return F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)


def margin_loss(x: Tensor, classes: Tensor, targets: Tensor, margin: float = 0.4, scale: float = 30.0) -> Tensor:
    """Summed cross-entropy in nats of cosines, the right one of which must lead by ``margin`` (Wang et al. 2018,
    eq. 5).
    x (N, D), classes (D, V), targets (N,) int64."""
    cosines = F.normalize(x.float(), dim=1) @ F.normalize(classes.float(), dim=0)
    right = F.one_hot(targets, classes.shape[1])
    return class_loss(scale * (cosines - margin * right), targets)


def weighted_class_loss(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Mean cross-entropy in nats, each target counting as its class's ``weight`` (V,). logits (N, V), targets (N,)."""
    return F.cross_entropy(logits.float(), targets, weight)


def map_loss(logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """Summed cross-entropy in nats over pixels; logits (B, V, H, W), targets (B, H, W) int64, ``ignored`` for those
    without a label."""
    return F.cross_entropy(logits.float(), targets, reduction="sum", ignore_index=ignored)


def focal_loss(logits: Tensor, targets: Tensor, share: float = 0.25) -> Tensor:
    """Nats of yes or no, of which the more certain count less by the square of what is missing (Lin et al. 2017), yes
    by ``share`` and no by the rest: each row's mean, summed. logits (N, P), targets (N, P) 0 or 1."""
    logits, targets = logits.float(), targets.float()
    nats = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missing = (targets - logits.sigmoid()).abs()
    weight = share * targets + (1 - share) * (1 - targets)
    return (weight * nats * missing.square()).mean(1).sum()


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """How far masks are from covering the same (Milletari et al. 2016), summed over rows. logits (N, P), targets (N, P)
    0 or 1."""
    shares, targets = logits.float().sigmoid(), targets.float()
    return (1 - (2 * (shares * targets).sum(1) + 1) / (shares.sum(1) + targets.sum(1) + 1)).sum()


def squared_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Summed squared error; both of one shape."""
    return F.mse_loss(outputs.float(), targets.float(), reduction="sum")


def binary_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed cross-entropy in nats of yes or no; logits and targets (0 or 1) of one shape."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="sum")


def _above_average(rows: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
    """Sum over rows of (target's logit - mean logit): what smoothing adds to the cross-entropy, per unit.

    The mean logit is ``row @ mean(weight)``, so smoothing needs no logits of its own.
    """
    above = (rows * (weight[targets] - weight.mean(0))).sum()
    return above if bias is None else above + (bias[targets] - bias.mean()).sum()


def ctc_loss(logits: Tensor, frames: Tensor, targets: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Summed nats of all ways to say the targets in so many frames, with blanks between (Graves et al. 2006).

    logits (B, T, V), of which the first ``frames`` (B,) of each row count; targets (sum of lengths,) int64, the rows'
    one after the other; lengths (B,). Infinite where a target cannot be said in its frames.
    """
    shares = torch.log_softmax(logits.float(), -1).transpose(0, 1)
    return F.ctc_loss(shares, targets, frames, lengths, blank=blank, reduction="sum")


def contrastive_loss(guesses: Tensor, truth: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Summed nats of telling the truth from others by cosine (Baevski et al. 2020, eq. 3). An other that equals the
    truth does not count. guesses and truth (N, D), others (N, K, D)."""
    choices = torch.cat((truth.unsqueeze(1), others), 1)  # (N, 1 + K, D)
    logits = F.cosine_similarity(guesses.unsqueeze(1).float(), choices.float(), dim=-1) / temperature
    same = (others == truth.unsqueeze(1)).all(-1)
    logits = logits.masked_fill(F.pad(same, (1, 0)), float("-inf"))
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device), reduction="sum")


def stop_loss(logits: Tensor, stops: Tensor, weight: float) -> Tensor:
    """Summed nats of where a sound ends, its one end among many frames counted ``weight`` times; both of one shape."""
    times = torch.full((), weight, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits.float(), stops.float(), pos_weight=times, reduction="sum")


def guided_attention_loss(weights: Tensor, targets: Sequence[int], sources: Sequence[int], spread: float) -> Tensor:
    """How far attention strays from the diagonal, summed over all that counts (Tachibana et al. 2017, section 3.2).

    weights (B, N, T, S) of N heads, of which each row's first ``targets`` and ``sources`` count.
    """
    found = []
    for row, target, source in zip(weights, targets, sources, strict=True):
        t = torch.arange(target, device=weights.device).unsqueeze(1) / target
        s = torch.arange(source, device=weights.device) / source
        far = 1.0 - torch.exp(-((s - t) ** 2) / (2 * spread**2))
        found.append((row[:, :target, :source] * far).sum())
    return torch.stack(found).sum()
