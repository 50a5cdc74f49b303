"""The linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from regard.ops.linear import linear


class Linear(nn.Linear):
    """PyTorch's own, with the product of ``ops.linear``. (..., I) -> (..., O)."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
