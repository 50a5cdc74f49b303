"""Tensors of which each rank holds some rows (FSDP2's DTensor), and those that it holds whole, treated alike.

The rows of rank 0, then those of rank 1 and so on, are the tensor.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def divided(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether other ranks hold the other rows of it."""
    module = sys.modules.get("torch.distributed.tensor")  # a second's import, for nothing where nobody divided anything
    return module is not None and isinstance(tensor, module.DTensor)


def mine(tensor: Tensor) -> Tensor:
    """What this rank holds of it."""
    return tensor.to_local() if divided(tensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """All of it, gathered from the ranks, which must all ask."""
    return tensor.full_tensor() if divided(tensor) else tensor


def like(whole: Tensor, tensor: Tensor) -> Tensor:
    """`whole`, divided as `tensor` of the same shape is, on its device; nothing is sent."""
    whole = whole.to(tensor.device)
    if not divided(tensor):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    copies = DTensor.from_local(whole, tensor.device_mesh, [Replicate()] * tensor.device_mesh.ndim, run_check=False)
    return copies.redistribute(placements=tensor.placements)


@torch.no_grad()
def put(tensor: Tensor, whole: Tensor) -> None:
    """Copy `whole` into `tensor`, of which this rank may hold but some rows."""
    mine(tensor).copy_(mine(like(whole, tensor)))
