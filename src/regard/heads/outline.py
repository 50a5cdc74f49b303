"""Which pixels of an image are each object that was found in it (Carion et al. 2020, DETR, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.heads.detect import Detect, Guesses, Objects
from regard.heads.segment import Maps, stretched
from regard.layers.context import Context
from regard.layers.feed_forward import ACTIVATIONS
from regard.ops.boxes import chances
from regard.ops.losses import dice_loss, focal_loss


@dataclass(frozen=True, eq=False)
class Around:
    """Of what objects are outlined: memory (B, T, D), of which only ``real`` (B|1, T) are tokens (None: all are), and
    larger and larger maps (B, C, rows, columns) of the same images, the first of width D being what memory was made
    of."""

    memory: Tensor
    real: Tensor | None
    maps: Maps


@dataclass(frozen=True, eq=False)
class Outlines:
    """guesses of Q objects, and their masks (B, Q, rows, columns) before the sigmoid."""

    guesses: Guesses
    masks: Tensor

    @property
    def logits(self) -> Tensor:
        """(B, classes, rows, columns): how much of each class is in each place, by all objects together."""
        return torch.einsum("bqc,bqhw->bchw", chances(self.guesses.logits)[..., :-1], self.masks.float().sigmoid())


class Refined(nn.Module):
    """Convolution, norm by groups of channels, activation. x (B, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(min(8, outputs), outputs)

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](self.norm(self.convolution(x)))


class Outline(nn.Module):
    """Where each answer looks, refined over larger and larger maps, of which ``widths`` are the channels: (B, Q, D) ->
    Outlines."""

    def __init__(self, detect: Detect, dim: int, heads: int, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.heads, self.detect = heads, detect
        self.q, self.k = nn.Linear(dim, dim), nn.Linear(dim, dim)
        steps = [dim + heads, dim + heads, *(dim >> half for half in range(1, 5))]
        self.layers = nn.ModuleList(Refined(one, other, activation) for one, other in pairwise(steps))
        self.across = nn.ModuleList(nn.Conv2d(one, two, 1) for one, two in zip(widths, steps[2:-1], strict=True))
        self.out = nn.Conv2d(steps[-1], 1, 3, padding=1)

    def forward(self, hidden: Tensor, context: Context, around: Around) -> Outlines:
        first, *larger = around.maps
        looks = self._looks(hidden, around).unflatten(-1, first.shape[2:])  # (B, Q, H, rows, columns)
        count = looks.shape[1]
        x = torch.cat((first.unsqueeze(1).expand(-1, count, -1, -1, -1), looks), 2).flatten(0, 1)
        x = self.layers[1](self.layers[0](x))
        for layer, across, map in zip(self.layers[2:], self.across, larger, strict=True):
            x = F.interpolate(x, map.shape[2:], mode="nearest").unflatten(0, (-1, count))
            x = layer((x + across(map).unsqueeze(1)).flatten(0, 1))
        masks = self.out(x).squeeze(1).unflatten(0, (-1, count))
        return Outlines(self.detect(hidden, context), masks)

    def _looks(self, hidden: Tensor, around: Around) -> Tensor:
        """(B, Q, H, T): how much each head of each query looks at each place, of all heads together."""
        q, k = (layer(x).unflatten(-1, (self.heads, -1)) for layer, x in ((self.q, hidden), (self.k, around.memory)))
        scores = torch.einsum("bqhk,bthk->bqht", q * q.shape[-1] ** -0.5, k)
        if around.real is not None:
            scores = scores.masked_fill(~around.real[:, None, None], float("-inf"))
        return chances(scores.flatten(2)).to(hidden.dtype).unflatten(2, scores.shape[2:])

    def loss(self, found: Outlines, targets: Sequence[Objects]) -> Tensor:
        """The detection's, and the weighted losses of the masks that match an object, for each object of the batch."""
        mine, theirs = [], []
        for row, target in enumerate(targets):
            assert target.masks is not None
            chosen, objects = self.detect.matched(found.guesses.logits[row], found.guesses.boxes[row], target)
            masks = target.masks[objects]
            mine.append(stretched(found.masks[row, chosen].unsqueeze(1), (masks.shape[1], masks.shape[2])).flatten(1))
            theirs.append(masks.flatten(1))
        weights, count = self.detect.weights, max(1, sum(len(one.labels) for one in targets))
        pairs = list(zip(mine, theirs, strict=True))
        of_masks = [weights.mask * focal_loss(*both) + weights.dice * dice_loss(*both) for both in pairs]
        return self.detect.loss(found.guesses, targets) + torch.stack(of_masks).sum() / count
