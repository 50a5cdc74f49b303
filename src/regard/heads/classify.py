"""One vector, or one label, for a whole sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import HEAD, Context
from regard.ops.losses import class_loss
from regard.ops.random import dropout


class Pool(nn.Module):
    """Each sequence as one vector: (B, T, D) -> (sequences, D).

    how: "first" (BERT's [CLS]), "last" (a decoder's newest token) or "mean". dense: a linear layer and tanh behind it
    (BERT's pooler, Devlin et al. 2018).
    """

    def __init__(self, dim: int, how: str, *, dense: bool = False) -> None:
        super().__init__()
        self.how = how
        self.dense = nn.Linear(dim, dim) if dense else None

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        pick = POOLS[self.how]
        pooled = torch.stack([pick(rows) for rows in sequences(hidden, context or Context())])
        return pooled if self.dense is None else torch.tanh(self.dense(pooled))


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
}
