"""Who speaks: a vector of a voice, and which of the voices it was taught it is most like."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.heads.classify import sequences
from regard.layers.context import Context
from regard.ops.losses import margin_loss


class Speaker(nn.Module):
    """x-vectors (Snyder et al. 2018, table 1): convolutions over frames, then the mean and the deviation of each
    feature over time. (B, T, D) -> (B, width).

    channels, kernels and dilations: of each convolution, none of which is padded. speakers: that the loss knows.
    """

    def __init__(
        self,
        dim: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        dilations: Sequence[int],
        *,
        width: int,
        speakers: int,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(dim, channels[0])
        given = zip([channels[0], *channels], channels, kernels, dilations, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, kernel, dilation=apart) for a, b, kernel, apart in given)
        self.least = 2 + sum((kernel - 1) * apart for kernel, apart in zip(kernels, dilations, strict=True))
        self.vector = nn.Linear(2 * channels[-1], width)
        self.out = nn.Linear(width, width)
        self.speakers = nn.Parameter(torch.zeros(width, speakers))

    def forward(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        """What the loss compares with its speakers."""
        return self.out(self.vectors(hidden, context))

    def vectors(self, hidden: Tensor, context: Context | None = None) -> Tensor:
        """The voice of each sequence. Raises RegardError for one that is too short to have a deviation."""
        return self.vector(torch.stack([self._statistics(rows) for rows in sequences(hidden, context or Context())]))

    def _statistics(self, rows: Tensor) -> Tensor:
        """(T, D) -> (2 C,)."""
        if len(rows) < self.least:
            raise RegardError("core.few_frames", least=self.least, count=len(rows))
        x = self.project(rows).T.unsqueeze(0)
        for convolution in self.convolutions:
            x = convolution(x).relu()
        return torch.cat((x[0].mean(-1), x[0].std(-1)))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Summed nats of the additive margin softmax; logits (B, width), targets (B,) int64."""
        return margin_loss(logits, self.speakers, targets)
