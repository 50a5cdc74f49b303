"""What is said of a whole image, or of the parts that were hidden of it."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import Context
from regard.ops.losses import class_loss


class Taught(nn.Module):
    """Two classifiers, of the class token and of a teacher's, whose logits are averaged (Touvron et al. 2021, section
    4). (B, T, D) -> logits (B, classes)."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.own = nn.Linear(dim, classes)
        self.teacher = nn.Linear(dim, classes)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        return (self.own(hidden[:, 0]) + self.teacher(hidden[:, 1])) / 2

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats of the average; logits (B, classes), targets (B,) int64."""
        return class_loss(logits, targets)


class Pixels(nn.Module):
    """The image, from a square of ``stride`` pixels said by each patch's token (SimMIM, Xie et al. 2021).

    (B, T, D), the first ``first`` tokens being no patches -> (B, C, height, width), of a square image.
    """

    def __init__(self, dim: int, channels: int, stride: int, *, first: int = 1) -> None:
        super().__init__()
        self.stride, self.first = stride, first
        self.pixels = nn.Conv2d(dim, stride * stride * channels, 1)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        patches = hidden[:, self.first :].transpose(1, 2)
        side = math.isqrt(patches.shape[-1])
        if side * side != patches.shape[-1]:
            raise RegardError("core.square", patches=patches.shape[-1])
        return F.pixel_shuffle(self.pixels(patches.unflatten(2, (side, -1))), self.stride)

    def loss(self, images: Tensor, targets: Tensor, masked: Tensor) -> Tensor:
        """Summed absolute difference, averaged over the channels, of the pixels under the ``masked`` (B, P) patches;
        images and targets (B, C, height, width)."""
        side = math.isqrt(masked.shape[1])
        hidden = masked.unflatten(1, (side, -1)).to(images.dtype).unsqueeze(1)
        hidden = F.interpolate(hidden, images.shape[2:], mode="nearest")
        return ((images - targets).abs() * hidden).sum() / images.shape[1]


class Codes(nn.Module):
    """Which entry of a codebook each patch is (BEiT, Bao et al. 2021): (B, T, D) -> logits (B, P, V), the first
    ``first`` tokens being no patches."""

    def __init__(self, dim: int, vocab: int, norm: nn.Module, *, first: int = 1) -> None:
        super().__init__()
        self.first = first
        self.norm = norm
        self.code = nn.Linear(dim, vocab)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        return self.code(self.norm(hidden)[:, self.first :])

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats; logits (N, V) of the masked patches, targets (N,) int64."""
        return class_loss(logits, targets)
