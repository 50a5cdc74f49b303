"""Token embeddings, with the encodings of absolute position that are added to them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import Context
from regard.layers.places import Places
from regard.ops import rotary
from regard.ops.random import dropout


class Tokens(nn.Module):
    """The sum of what is known of each token: which it is, where it stands, of what type. (B, T) int64 -> (B, T, D).

    scale multiplies the token's own vector (sqrt(D) in Vaswani et al. 2017, section 3.4).
    """

    def __init__(
        self,
        vocab: int,
        dim: int,
        *,
        positions: nn.Module | None = None,
        types: int = 0,
        norm: nn.Module | None = None,
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.tokens = nn.Embedding(vocab, dim)
        self.positions = positions
        self.types = nn.Embedding(types, dim) if types else None
        self.norm = norm

    def forward(self, tokens: Tensor, context: Context) -> Tensor:
        x = self.tokens(tokens)
        if self.scale != 1.0:
            x = x * self.scale
        if self.types is not None:
            x = x + (self.types.weight[0] if context.types is None else self.types(context.types))
        if self.positions is not None:
            x = x + self.positions(context.places())
        x = x if self.norm is None else self.norm(x)
        drop = dropout(self.dropout, context.key)
        return x if drop is None else drop(x)


class Learned(nn.Module):
    """One learned vector for each of ``context`` positions. Places (B|1, T) -> (B|1, T, D)."""

    def __init__(self, context: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(context, dim))

    def forward(self, places: Places) -> Tensor:
        last = int(places.positions.max()) if places.start is None else places.start + places.length - 1
        if last >= self.weight.shape[0]:
            raise RegardError("core.too_long", length=last + 1, context=self.weight.shape[0])
        return F.embedding(places.positions.clamp(min=0), self.weight)


class Sinusoidal(nn.Module):
    """Sines in the first half, cosines in the second, of angles in geometric progression (Vaswani et al. 2017,
    section 3.5; halves as in the authors' code, the paper interleaves them). Nothing is learned or stored.

    Places (B|1, T) -> (B|1, T, D).
    """

    def __init__(self, dim: int, *, base: float = 10_000.0) -> None:
        super().__init__()
        if dim % 2:
            raise RegardError("core.even", dim=dim)
        self.dim, self.base = dim, base

    def forward(self, places: Places) -> Tensor:
        at = places.positions.clamp(min=0)
        angles = at.unsqueeze(-1).float() * rotary.frequencies(self.dim, self.base).to(at.device)
        return torch.cat((angles.sin(), angles.cos()), -1)
