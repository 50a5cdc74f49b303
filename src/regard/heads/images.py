"""What is said of a whole image, or of the parts that were hidden of it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.embed.patches import GridPositions
from regard.errors import RegardError
from regard.layers.context import HEAD, Context
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


class Restore(nn.Module):
    """The pixels of every patch, by a smaller stack over the visible patches' tokens and, in the places of the others,
    a learned vector (He et al. 2021, MAE). (B, T, D) -> (B, P, patch * patch * C), the colours of a pixel side by side.

    embed: linear, to the width of ``stack``; positions: of the class token and the patches.
    """

    def __init__(self, embed: nn.Linear, positions: GridPositions, stack: nn.Module, channels: int, patch: int) -> None:
        super().__init__()
        width = embed.out_features
        self.channels, self.patch = channels, patch
        self.embed, self.positions, self.stack = embed, positions, stack
        self.mask = nn.Parameter(torch.zeros(width))
        self.pixels = nn.Linear(width, patch * patch * channels)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        context = context or Context()
        x = self.embed(hidden)
        masked = context.masked
        if masked is not None:
            patches = self.mask.to(x.dtype).expand(*masked.shape, -1).clone()
            patches[~masked] = x[:, 1:].flatten(0, 1)
            x = torch.cat((x[:, :1], patches), 1)
        count = x.shape[1] - 1
        side = math.isqrt(count)
        grid = self.positions.grid if count == math.prod(self.positions.grid) else (side, side)
        if math.prod(grid) != count:
            raise RegardError("core.square", patches=count)
        x = x + self.positions(grid).to(x.dtype)
        key = None if context.key is None else context.key.at(HEAD)
        inner = Context(key=key).open((x.shape[0], x.shape[1]), x.device)
        return self.pixels(self.stack(x, inner)[:, 1:])

    def loss(self, found: Tensor, images: Tensor, masked: Tensor, *, normed: bool = False) -> Tensor:
        """Summed over the ``masked`` (B, P) patches, the mean squared difference of their pixels; found (B, P, ...),
        images (B, C, height, width). normed: pixels in deviations from their patch's mean (section 4.1)."""
        target = F.unfold(images, self.patch, stride=self.patch).mT.unflatten(2, (self.channels, -1)).mT.flatten(2)
        if normed:
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return ((found - target).square().mean(-1) * masked).sum()


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
