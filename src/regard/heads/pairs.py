"""One vector for a text or an image in a space that both share, and how well each text goes with each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.layers.attention import CrossAttention
from regard.layers.context import Context
from regard.layers.residual import Block
from regard.ops.losses import binary_loss, class_loss


class Vector(nn.Module):
    """A pooled vector, normed and projected where there is something to do so: (B, T, D) -> (sequences, width)."""

    def __init__(self, pool: nn.Module, *, norm: nn.Module | None = None, project: nn.Module | None = None) -> None:
        super().__init__()
        self.pool, self.norm, self.project = pool, norm, project

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        x = self.pool(hidden, context)
        x = x if self.norm is None else self.norm(x)
        return x if self.project is None else self.project(x)


class AttentionPool(nn.Module):
    """What a learned query finds in a sequence, through a block of what follows attention: (B, T, D) -> (B, D)
    (Zhai et al. 2022, section 3.5)."""

    def __init__(self, dim: int, attention: CrossAttention, block: Block) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dim))
        self.attention, self.block = attention, block

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        context = Context(memory=hidden).open((hidden.shape[0], 1), hidden.device)
        x = self.query.expand(hidden.shape[0], 1, -1)
        return self.block(self.attention(x, context), context)[:, 0]


class Pairs(nn.Module):
    """Cosines of all pairs times a learned factor, whose logarithm is ``scale`` (Radford et al. 2021, figure 3)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, texts: Tensor, images: Tensor) -> Tensor:
        """texts (N, D), images (M, D) -> logits (N, M)."""
        return self.scale.exp() * cosines(texts, images)

    def loss(self, logits: Tensor) -> Tensor:
        """Summed over the pairs on the diagonal of logits (N, N): the mean of the cross-entropies in nats of a text's
        image among all images and of an image's text among all texts."""
        own = torch.arange(len(logits), device=logits.device)
        return (class_loss(logits, own) + class_loss(logits.T, own)) / 2


class SigmoidPairs(nn.Module):
    """The same with a learned ``bias``, each pair a question of yes or no by itself (Zhai et al. 2023, algorithm 1)."""

    def __init__(self, scale: float, bias: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([scale]))
        self.bias = nn.Parameter(torch.tensor([bias]))

    def forward(self, texts: Tensor, images: Tensor) -> Tensor:
        """texts (N, D), images (M, D) -> logits (N, M)."""
        return self.scale.exp() * cosines(texts, images) + self.bias

    def loss(self, logits: Tensor) -> Tensor:
        """Summed cross-entropy in nats of every pair of logits (N, N); those on the diagonal belong together."""
        return binary_loss(logits, torch.eye(len(logits), device=logits.device))


def cosines(texts: Tensor, images: Tensor) -> Tensor:
    """texts (N, D), images (M, D) -> (N, M)."""
    return F.normalize(texts, dim=-1) @ F.normalize(images, dim=-1).T
