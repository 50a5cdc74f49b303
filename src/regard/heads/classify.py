"""One vector, one label or one number for a whole sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import HEAD, Context
from regard.layers.feed_forward import ACTIVATIONS
from regard.ops.losses import class_loss, squared_loss
from regard.ops.random import dropout


class Pool(nn.Module):
    """Each sequence as one vector: (B, T, D) -> (sequences, D).

    how: "first" (BERT's [CLS]), "last" (a decoder's newest token), "mean", "rest" (the mean of all but the first) or
    "first_and_rest" (side by side). dense: a linear layer and an activation
    behind it (tanh in BERT's pooler, Devlin et al. 2018), to ``width`` features. transform: what else is made of the
    vector.
    """

    def __init__(
        self,
        dim: int,
        how: str,
        *,
        dense: bool = False,
        activation: str = "tanh",
        width: int | None = None,
        transform: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.how, self.activation, self.transform = how, activation, transform
        self.dense = nn.Linear(dim, width or dim) if dense else None

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        pick = POOLS[self.how]
        pooled = torch.stack([pick(rows) for rows in sequences(hidden, context or Context())])
        pooled = pooled if self.dense is None else ACTIVATIONS[self.activation](self.dense(pooled))
        return pooled if self.transform is None else self.transform(pooled)


class Classify(nn.Module):
    """A pooled vector through dropout and a linear layer: (B, T, D) -> logits (sequences, classes)."""

    def __init__(self, pool: Pool, dim: int, classes: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.pool = pool
        self.out = nn.Linear(dim, classes, bias=bias)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        pooled = self.pool(hidden, context)
        drop = None if context is None or context.key is None else dropout(self.dropout, context.key.at(HEAD))
        return self.out(pooled if drop is None else drop(pooled))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats; logits (sequences, classes), targets (sequences,) int64."""
        return class_loss(logits, targets)


class Score(Classify):
    """One number for each sequence, such as how well a text answers a query: (B, T, D) -> (sequences, 1)."""

    def __init__(self, pool: Pool, dim: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__(pool, dim, 1, bias=bias, dropout=dropout)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed squared error; logits (sequences, 1), targets (sequences,)."""
        return squared_loss(logits[:, 0], targets)


class Choice(nn.Module):
    """Which of several sequences it is: neighbours are the choices of one question. (B, T, D) -> (sequences,)."""

    def __init__(self, pooler: Pool, dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.pooler = pooler
        self.choice = nn.Linear(dim, 1)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        pooled = self.pooler(hidden, context)
        drop = None if context is None or context.key is None else dropout(self.dropout, context.key.at(HEAD))
        return self.choice(pooled if drop is None else drop(pooled)).squeeze(-1)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats; logits (questions * choices,), targets (questions,) int64."""
        return class_loss(logits.view(targets.shape[0], -1), targets)


def sequences(hidden: Tensor, context: Context) -> list[Tensor]:
    """The rows of each sequence, (T_i, D): documents of a packed row, or the rows of a batch without their padding."""
    if context.mask.documents is not None:
        return list(hidden[0].split(context.mask.documents))
    valid = context.valid(hidden.shape[1])
    if valid is None:
        return list(hidden)
    found = [row[tokens] for row, tokens in zip(hidden, valid.expand(hidden.shape[0], -1), strict=True)]
    for number, row in enumerate(found):
        if not len(row):
            raise RegardError("core.empty_sequence", row=number)
    return found


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "first": lambda rows: rows[0],
    "last": lambda rows: rows[-1],
    "mean": lambda rows: rows.mean(0),
    "rest": lambda rows: rows[1:].mean(0),
    "first_and_rest": lambda rows: torch.cat((rows[0], rows[1:].mean(0))),
}
