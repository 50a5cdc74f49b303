"""What is said of each token: a tag, the ends of an answer, whether it was replaced."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from regard.heads.classify import sequences
from regard.layers.context import HEAD, Context
from regard.layers.feed_forward import ACTIVATIONS
from regard.ops.losses import binary_loss, class_loss
from regard.ops.random import dropout


class Tag(nn.Module):
    """A label for each token: (B, T, D) -> logits (B, T, classes). transform: what is made of the tokens before."""

    def __init__(self, dim: int, classes: int, *, transform: nn.Module | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout, self.transform = dropout, transform
        self.tag = nn.Linear(dim, classes)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        drop = None if context is None or context.key is None else dropout(self.dropout, context.key.at(HEAD))
        hidden = hidden if self.transform is None else self.transform(hidden)
        return self.tag(hidden if drop is None else drop(hidden))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats; logits (N, classes) of the tokens that have a label, targets (N,) int64."""
        return class_loss(logits, targets)


class Span(nn.Module):
    """Where an answer begins and ends in each sequence (SQuAD; Devlin et al. 2018, section 4.2).

    (B, T, D) -> logits (B, T, 2) of the first and of the last token. transform: what is made of the tokens before.
    deeper: a block more that they pass before that (BigBird).
    """

    def __init__(self, dim: int, *, transform: nn.Module | None = None, deeper: nn.Module | None = None) -> None:
        super().__init__()
        self.transform, self.deeper = transform, deeper
        self.span = nn.Linear(dim, 2)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        if self.deeper is not None:
            context = context or Context()
            key = None if context.key is None else context.key.at(HEAD)
            hidden = self.deeper(hidden, replace(context, key=key))
        return self.span(hidden if self.transform is None else self.transform(hidden))

    def loss(self, logits: Tensor, targets: Tensor, context: Context | None = None) -> Tensor:
        """Mean over both ends, summed over the sequences, of the cross-entropy in nats among a sequence's own tokens;
        logits (B, T, 2), targets (sequences, 2) int64 counted from each sequence's first token."""
        found = zip(sequences(logits, context or Context()), targets, strict=True)
        return torch.stack([class_loss(rows.T, ends) / 2 for rows, ends in found]).sum()


class Discriminate(nn.Module):
    """Which tokens were replaced by a generator's (ELECTRA, Clark et al. 2020): (B, T, D) -> logits (B, T)."""

    def __init__(self, dim: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.linear = nn.Linear(dim, dim)
        self.replaced = nn.Linear(dim, 1)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        return self.replaced(ACTIVATIONS[self.activation](self.linear(hidden))).squeeze(-1)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats; logits (N,) of the tokens there are, targets (N,): 1 where replaced."""
        return binary_loss(logits, targets)
