"""Attention through landmarks, with a convolution beside it (Nyströmformer)."""

from __future__ import annotations

from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.projection import Projection
from regard.layers.rows import RowAttention
from regard.ops.attention import Core, Shown, fused
from regard.ops.landmarks import nystrom


class LandmarkAttention(RowAttention):
    """Attention estimated through ``landmarks`` means of neighbours (Xiong et al. 2021); None, or as many as there are
    tokens: exact. x (B, T, D) -> (B, T, D).

    kernel  tokens over which each head's values are convolved and added, an odd number
    """

    def __init__(self, projection: Projection, *, landmarks: int | None, kernel: int, core: Core = fused) -> None:
        super().__init__(projection, core=core)
        self.landmarks, heads = landmarks, projection.heads
        # A head is a channel, its tokens and features an image: a column of tokens is convolved at a time.
        self.conv = nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), bias=False, groups=heads)

    def alone(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, context: Context, which: tuple[int, ...]) -> Tensor:
        if self.landmarks is None or q.shape[2] <= self.landmarks:
            mixed = self.core(q, k, v, Shown(None), None, self.scale, None)
        else:
            mixed = nystrom(self.core, q, k, v, self.landmarks, self.scale)
        return mixed + self.conv(v)
