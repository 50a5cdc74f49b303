"""The matrix product of a linear layer, by the faster of the two libraries that PyTorch brings along for a CPU.

``F.linear`` in float32 always asks MKL, which does not use all of a processor that is not Intel's. oneDNN, which
PyTorch uses for other types, generates its products for the processor it meets: ``bench/pieces.py`` shows the two.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``: x (..., I), weight (O, I), bias (O,) -> (..., O)."""
    if not (_plain(x) and _plain(weight)) or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _Product.apply(x, weight, bias)  # pyright: ignore[reportReturnType]
    return _product(x, weight, bias)


class _Product(torch.autograd.Function):
    """The product with its gradients, which are products too and go by the same library."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x, weight), (y,) = ctx.saved_tensors, gradients
        to_x, to_weight, to_bias = ctx.needs_input_grad
        rows = y.flatten(0, -2) if y.dim() > 1 else y.unsqueeze(0)
        given = x.flatten(0, -2) if x.dim() > 1 else x.unsqueeze(0)
        return (
            linear(y, weight.T) if to_x else None,
            linear(rows.T, given.T) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _plain(x: Tensor) -> bool:
    """A tensor that oneDNN can be given: no other kind (a shard of FSDP's, one without content)."""
    common = x.dtype is torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return _ONEDNN and common and type(x) in (Tensor, torch.nn.Parameter)
