"""Softmax attention through a few landmarks (Nyströmformer, Xiong et al. 2021): its cost grows with the length."""

from __future__ import annotations

import torch
from torch import Tensor

from regard.ops.attention import Core, Shown

_STEPS = 6  # of the iteration that inverts; more change nothing that can be seen (section 3.3)


def nystrom(core: Core, q: Tensor, k: Tensor, v: Tensor, landmarks: int, scale: float) -> Tensor:
    """Queries see the landmarks, these each other and all keys (eq. 13). q, k, v (B, H, T, K) -> (B, H, T, K); T is at
    least ``landmarks``, each of which is the mean of as many neighbours, or of one more."""
    q_marks, k_marks = means(q, landmarks), means(k, landmarks)
    between = torch.softmax(q_marks @ k_marks.transpose(-1, -2) * scale, -1)
    gathered = core(q_marks, k, v, Shown(None), None, scale, None)  # (B, H, M, K)
    return core(q, k_marks, inverse(between) @ gathered, Shown(None), None, scale, None)


def means(x: Tensor, count: int) -> Tensor:
    """(B, H, T, K) -> (B, H, count, K)."""
    T = x.shape[2]
    segment = torch.arange(T, device=x.device) * count // T
    sizes = torch.bincount(segment, minlength=count).unsqueeze(-1)
    return x.new_zeros(*x.shape[:2], count, x.shape[-1]).index_add(2, segment, x) / sizes


def inverse(x: Tensor) -> Tensor:
    """The pseudo-inverse of matrices (B, H, M, M) whose rows sum to 1, by the iteration of section 3.3 (eq. 11). It
    begins from one number for all heads of a row, as in the implementation that published weights are used with."""
    most = x.sum(-2, keepdim=True).amax((1, 3), keepdim=True)
    found = x.transpose(-1, -2) / most
    one = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    for _ in range(_STEPS):
        product = x @ found
        found = 0.25 * found @ (13 * one - product @ (15 * one - product @ (7 * one - product)))
    return found
