"""Attention within a window, computed window by window: its cost grows with the length, not its square."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.ops.attention import Core, Shown, Visible, fused, ordered
from regard.ops.random import Dropout


def window(size: int, core: Core = fused) -> Core:
    """The core that sees ``size`` keys of whatever the mask shows: the newest, or where a query sees both sides the
    nearest, half of them on either side."""

    def windows(
        q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
    ) -> Tensor:
        if not ordered("window", mask, bias, None):
            seen = torch.ones(q.shape[0], k.shape[2], dtype=torch.bool, device=q.device)
            return windowed(core, q, k, v, size // 2, seen, None, scale, dropout)
        if k.shape[2] <= size:
            return core(q, k, v, mask, bias, scale, dropout)
        return newest(core, q, k, v, size, scale, dropout)

    return windows


def newest(
    core: Core, q: Tensor, k: Tensor, v: Tensor, size: int, scale: float, dropout: Dropout | None,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Query t sees the keys t - size + 1 .. t. q (B, H, T, K), k and v (B, G, T, K) -> (B, H, T, Kv).

    bias (H, size): added to the scores, by how far a key stands behind its query.
    """
    T = q.shape[2]
    row, column = torch.arange(size, device=q.device).unsqueeze(1), torch.arange(2 * size, device=q.device) - size
    behind = row - column
    added = None if bias is None else bias[:, behind.clamp(0, size - 1)].unsqueeze(0)  # (1, H, w, 2 w)
    first = [x[:, :, :size] for x in (q, k, v)]  # before it there is nothing
    own = torch.ones(min(T, size), min(T, size), dtype=torch.bool, device=q.device).tril()
    rest = None if added is None else added[:, :, : len(own), size : size + len(own)]
    found = core(*first, Shown(own[None, None], lower_triangle=True), rest, scale, _part(dropout, 0))  # type: ignore[call-arg]
    count = -(-T // size) - 1
    if not count:
        return found
    left = (count + 1) * size - T
    queries = F.pad(q[:, :, size:], (0, 0, 0, left)).unflatten(2, (count, size))  # (B, H, N, w, K)
    keys, values = (F.pad(x, (0, 0, 0, left)).unfold(2, 2 * size, size).transpose(-1, -2) for x in (k, v))
    visible = Shown(((behind >= 0) & (behind < size))[None, None])  # each block (w) behind the one before it (2 w)
    mixed = core(_pieces(queries), _pieces(keys), _pieces(values), visible, added, scale, _part(dropout, 1))
    mixed = mixed.unflatten(0, (-1, count)).transpose(1, 2).flatten(2, 3)[:, :, : T - size]
    return torch.cat((found, mixed), 2)


def windowed(
    core: Core, q: Tensor, k: Tensor, v: Tensor, reach: int, seen: Tensor, marked: Tensor | None, scale: float,
    dropout: Dropout | None,
) -> Tensor:  # fmt: skip
    """Each query sees the keys at most ``reach`` places away, and the ``marked`` ones.

    q, k, v (B, H, T, K) -> (B, H, T, K). seen (B, T) bool: the keys that are tokens; marked (B, T) bool or None.
    """
    T, block = q.shape[2], max(reach, 1)
    count = -(-T // block)
    left = count * block - T
    queries = F.pad(q, (0, 0, 0, left)).unflatten(2, (count, block))  # (B, H, N, b, K)
    near_k, near_v = (_neighbours(F.pad(x, (0, 0, 0, left)), block) for x in (k, v))  # (B, H, N, 3 b, K)
    plain = seen if marked is None else seen & ~marked  # what is marked is seen once, by the columns of its own
    visible = _neighbours(F.pad(plain, (0, left)).unsqueeze(-1), block).squeeze(-1).unsqueeze(2)  # (B, N, 1, 3 b)
    row, column = torch.arange(block, device=q.device).unsqueeze(1), torch.arange(3 * block, device=q.device) - block
    visible = visible & ((row - column).abs() <= reach)  # (B, N, b, 3 b)
    if marked is not None:
        far_k, far_v, real = _picked(k, v, marked & seen)
        near_k, near_v = (
            torch.cat((near, far.unsqueeze(2).expand(-1, -1, count, -1, -1)), 3)
            for near, far in ((near_k, far_k), (near_v, far_v))
        )
        visible = torch.cat((visible, real[:, None, None].expand(-1, count, block, -1)), -1)
    shown = Shown(visible.flatten(0, 1).unsqueeze(1))
    mixed = core(_pieces(queries), _pieces(near_k), _pieces(near_v), shown, None, scale, dropout)
    return mixed.unflatten(0, (-1, count)).transpose(1, 2).flatten(2, 3)[:, :, :T]


def _pieces(x: Tensor) -> Tensor:
    """(B, H, N, ...) -> (B * N, H, ...)."""
    return x.transpose(1, 2).flatten(0, 1)


def _neighbours(x: Tensor, block: int) -> Tensor:
    """(..., N * b, K) -> (..., N, 3 b, K): each block between those before and behind it, zeros beyond the ends."""
    padded = F.pad(x, (0, 0, block, block)).unflatten(-2, (-1, block))
    return torch.cat((padded[..., :-2, :, :], padded[..., 1:-1, :, :], padded[..., 2:, :, :]), -2)


def _picked(k: Tensor, v: Tensor, marked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The marked keys and values (B, H, W, K), and which of them are (B, W); some rows have fewer."""
    chosen = marked.int().topk(max(int(marked.sum(-1).max()), 1), -1).indices
    index = chosen[:, None, :, None]
    far_k, far_v = (x.gather(2, index.expand(-1, x.shape[1], -1, x.shape[3])) for x in (k, v))
    return far_k, far_v, marked.gather(1, chosen)


def _part(dropout: Dropout | None, part: int) -> Dropout | None:
    return None if dropout is None else Dropout(dropout.rate, dropout.key.at(part))
