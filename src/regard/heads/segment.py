"""What each pixel of an image is, from the maps that the stages of a pyramid make of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.context import HEAD, Context
from regard.ops.losses import class_loss, map_loss
from regard.ops.random import dropout

Maps = Sequence[Tensor]  # (B, D, rows, columns) of each stage, the largest first


class BatchNorm(nn.Module):
    """Ioffe and Szegedy 2015, with the statistics as parameters that no gradient changes: in training mode they follow
    those of the batches. x (B, C, H, W)."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, self.training, eps=self.eps)


class Segment(nn.Module):
    """Each map brought to one width and to the size of the largest, put together, and a class for each place of it (Xie
    et al. 2021, section 3.2). Maps -> logits (B, classes, rows, columns)."""

    def __init__(self, dims: Sequence[int], width: int, classes: int, *, ignored: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.ignored, self.dropout = ignored, dropout
        self.widths = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        self.join = nn.Conv2d(width * len(dims), width, 1, bias=False)
        self.norm = BatchNorm(width)
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Maps, context: Context | None = None) -> Tensor:
        size, both = maps[0].shape[2:], list(zip(self.widths, maps, strict=True))
        made = [layer(one.flatten(2).mT).mT.unflatten(2, one.shape[2:]) for layer, one in both]
        made = [F.interpolate(one, size, mode="bilinear", align_corners=False) for one in made]
        x = F.relu(self.norm(self.join(torch.cat(made[::-1], 1))))
        drop = None if context is None or context.key is None else dropout(self.dropout, context.key.at(HEAD))
        return self.out(x if drop is None else drop(x))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats of the pixels that have a label; logits (B, classes, rows, columns), stretched
        to the size of targets (B, height, width) int64."""
        return map_loss(stretched(logits, (targets.shape[1], targets.shape[2])), targets, self.ignored)


class ClassifyMaps(nn.Module):
    """One class for an image, by the mean of the last map. Maps -> logits (B, classes)."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.image = nn.Linear(dim, classes)

    def forward(self, maps: Maps, context: Context | None = None) -> Tensor:
        return self.image(maps[-1].flatten(2).mean(2))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats; logits (B, classes), targets (B,) int64."""
        return class_loss(logits, targets)


class LastMap(nn.Module):
    """The last map itself: (B, D, rows, columns)."""

    def forward(self, maps: Maps, context: Context | None = None) -> Tensor:
        return maps[-1]


def stretched(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (B, classes, rows, columns) at the size of an image."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
