"""The matrix product of a linear layer, by the faster of the two libraries that PyTorch brings along for a CPU.

``F.linear`` in float32 always asks MKL, which does not use all of a processor that is not Intel's. oneDNN, which
PyTorch uses for other types, generates its products for the processor it meets. Training stays with MKL: oneDNN keeps
what it generated for each length of a batch, which is memory that no estimate foresees (docs/LOG.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``: x (..., I), weight (O, I), bias (O,) -> (..., O)."""
    if _plain(x) and _plain(weight) and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _plain(x: Tensor) -> bool:
    """A tensor that oneDNN can be given: no other kind (a shard of FSDP's, one without content)."""
    common = x.dtype is torch.float32 and x.device.type == "cpu" and x.numel() > 0
    return _ONEDNN and common and type(x) in (Tensor, torch.nn.Parameter)
