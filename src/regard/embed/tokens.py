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

    scale multiplies the token's own vector (sqrt(D) in Vaswani et al. 2017, section 3.4). project: what brings a
    narrower embedding to the width of the stack (the factorised embedding of ALBERT, Lan et al. 2019).
    """

    def __init__(
        self,
        vocab: int,
        dim: int,
        *,
        positions: nn.Module | None = None,
        types: int = 0,
        norm: nn.Module | None = None,
        project: nn.Module | None = None,
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.tokens = nn.Embedding(vocab, dim)
        self.positions = positions
        self.types = nn.Embedding(types, dim) if types else None
        self.norm = norm
        self.project = project

    def forward(self, tokens: Tensor, context: Context) -> Tensor:
        x = self.tokens(tokens)
        if self.scale != 1.0:
            x = x * self.scale
        if self.types is not None:
            x = x + (self.types.weight[0] if context.types is None else self.types(context.types))
        if self.positions is not None:
            x = x + self.positions(context.places()).to(x.dtype)
        x = x if self.norm is None else self.norm(x)
        drop = dropout(self.dropout, context.key)
        x = x if drop is None else drop(x)
        return x if self.project is None else self.project(x)


class Widened(nn.Embedding):
    """An embedding that is narrower than the stack, and widened before anything is added. (B, T) -> (B, T, D)."""

    def __init__(self, vocab: int, width: int, dim: int) -> None:
        super().__init__(vocab, width)
        self.wide = nn.Linear(width, dim, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return self.wide(super().forward(input))


class Learned(nn.Module):
    """One learned vector for each of ``context`` positions. Places (B|1, T) -> (B|1, T, D).

    offset: rows that stand before that of the first position and are no position's (fairseq's models, whose count
    begins after the id of the padding).
    """

    def __init__(self, context: int, dim: int, *, offset: int = 0) -> None:
        super().__init__()
        self.offset = offset
        self.weight = nn.Parameter(torch.zeros(context + offset, dim))

    def forward(self, places: Places) -> Tensor:
        last = int(places.positions.max()) if places.start is None else places.start + places.length - 1
        context = self.weight.shape[0] - self.offset
        if last >= context:
            raise RegardError("core.too_long", length=last + 1, context=context)
        return F.embedding(places.positions.clamp(min=0) + self.offset, self.weight)


class Sinusoidal(nn.Module):
    """Sines in the first half, cosines in the second, of angles in geometric progression (Vaswani et al. 2017,
    section 3.5; halves as in the authors' code, the paper interleaves them). Nothing is learned or stored.

    Places (B|1, T) -> (B|1, T, D) float32. angles: those of another progression, (dim / 2,) per position. offset: what
    the first position counts as.
    """

    def __init__(self, dim: int, *, base: float = 10_000.0, angles: Tensor | None = None, offset: int = 0) -> None:
        super().__init__()
        if dim % 2:
            raise RegardError("core.even", dim=dim)
        self.offset = offset
        self.angles = rotary.frequencies(dim, base, torch.float64) if angles is None else angles
        self._tables: dict[torch.device, Tensor] = {}  # no buffers: a narrower type must not round what is to be exact

    def forward(self, places: Places) -> Tensor:
        last = int(places.positions.max()) if places.start is None else places.start + places.length - 1
        return F.embedding(places.positions.clamp(min=0), self.table(last + 1, places.positions.device))

    def table(self, count: int, device: torch.device) -> Tensor:
        """The encodings of at least the first ``count`` positions, (N, D), made once for a device."""
        if device not in self._tables or len(self._tables[device]) < count:
            at = torch.arange(1 << max(count - 1, 1).bit_length(), device="cpu") + self.offset
            angles = at.unsqueeze(-1).to(self.angles.dtype) * self.angles
            self._tables[device] = torch.cat((angles.sin(), angles.cos()), -1).float().to(device)
        return self._tables[device]


class ScaledSinusoidal(Sinusoidal):
    """Sines and cosines by turns, times a learned number (Li et al. 2019, section 3.2).

    Places (B|1, T) -> (B|1, T, D).
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, places: Places) -> Tensor:
        return super().forward(places).unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2) * self.scale


class Axial(nn.Module):
    """A vector for each position of a grid, one part for its row, the other for its column (Kitaev et al. 2020): far
    fewer numbers than positions. Places (B|1, T) -> (B|1, T, D)."""

    def __init__(self, shape: tuple[int, int], dims: tuple[int, int]) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(shape[0], dims[0]))
        self.columns = nn.Parameter(torch.zeros(shape[1], dims[1]))

    def forward(self, places: Places) -> Tensor:
        last = int(places.positions.max()) if places.start is None else places.start + places.length - 1
        width = self.columns.shape[0]
        if last >= self.rows.shape[0] * width:
            raise RegardError("core.too_long", length=last + 1, context=self.rows.shape[0] * width)
        at = places.positions.clamp(min=0)
        return torch.cat((F.embedding(at // width, self.rows), F.embedding(at % width, self.columns)), -1)
