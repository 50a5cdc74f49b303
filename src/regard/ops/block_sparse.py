"""Attention between blocks of tokens (BigBird, Zaheer et al. 2020): its cost grows with the length, not its square."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.ops.attention import Core, Shown, Visible, fused, ordered
from regard.ops.random import Dropout, Key

_AT_ONCE = 64  # blocks whose keys are gathered together, so that memory does not grow with them


def blocks(block: int, random: int, key: Key, core: Core = fused) -> Core:
    """The core that sees blocks of ``block`` keys of whatever the mask shows: the first, its own and those beside it,
    and ``random`` others, drawn from ``key``; a text too short for that whole."""

    def by_blocks(
        q: Tensor, k: Tensor, v: Tensor, mask: Visible, bias: Tensor | None, scale: float, dropout: Dropout | None
    ) -> Tensor:
        causal, count = ordered("block-sparse", mask, bias, None), -(-q.shape[2] // block)
        if count <= 5 + 2 * random:
            return core(q, k, v, mask, bias, scale, dropout)
        if causal:
            chosen = earlier_blocks(key, k.shape[1], count, random, q.device)
            return causal_blocks(core, q, k, v, block, chosen, scale, dropout)
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
        chosen = random_blocks(key, q.shape[1], count, random, q.device)
        return block_sparse(core, q, k, v, block, chosen, scale, dropout)

    return by_blocks


def causal_blocks(
    core: Core, q: Tensor, k: Tensor, v: Tensor, block: int, chosen: Tensor, scale: float, dropout: Dropout | None
) -> Tensor:
    """Each block sees the first, ``chosen`` earlier ones, the one before it, and of itself what is not later (BigBird's
    pattern seen from one side; Child et al. 2019).

    q (B, H, T, K), k and v (B, G, T, K) -> (B, H, T, Kv). chosen (G, N, R) int64, of each block from the R + 3rd on.
    """
    (B, H, T, _), G, plain = q.shape, k.shape[1], chosen.shape[-1] + 3
    head = [x[:, :, : plain * block] for x in (q, k, v)]  # as many blocks see all that lies before them
    triangle = torch.ones(head[0].shape[2], head[0].shape[2], dtype=torch.bool, device=q.device).tril()
    found = [core(*head, Shown(triangle[None, None], lower_triangle=True), None, scale, _part(dropout, 0))]  # type: ignore[call-arg]
    count = -(-T // block)
    rows, keys, values = (F.pad(x, (0, 0, 0, count * block - T)).unflatten(2, (count, block)) for x in (q, k, v))
    own = torch.arange(count, device=q.device)
    usual = torch.stack((torch.zeros_like(own), own - 1), -1).expand(G, -1, -1)
    seen = torch.cat((usual, chosen, own.expand(G, -1).unsqueeze(-1)), -1)  # (G, N, W), the block itself last
    width = seen.shape[-1] * block
    share = H // G
    visible = torch.ones(block, width, dtype=torch.bool, device=q.device)
    visible[:, -block:].tril_()
    shown = Shown(visible.repeat(share, 1)[None, None])  # heads that share keys are more queries of one head
    group = torch.arange(G, device=q.device).view(-1, 1, 1)
    for start in range(plain, count, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, count))
        near_k, near_v = (x[:, group, seen[:, part]].flatten(3, 4).flatten(1, 2) for x in (keys, values))
        asked = rows[:, :, part].unflatten(1, (G, share)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        mixed = core(asked, near_k, near_v, shown, None, scale, _part(dropout, 1 + start))  # (B, G N, H / G b, Kv)
        mixed = mixed.view(B, G, part.stop - start, share, block, -1).transpose(2, 3).flatten(1, 2)
        found.append(mixed.flatten(2, 3))
    return torch.cat(found, 2)[:, :, :T]


def earlier_blocks(key: Key, heads: int, count: int, each: int, device: torch.device) -> Tensor:
    """(heads, count, each): blocks drawn out of those that lie before a block and that it does not see anyway; of the
    first, which have no such, any."""
    drawn = torch.rand(heads, count, count, generator=key.generator()).to(device)  # the same on every device
    row, column = torch.arange(count, device=device).unsqueeze(1), torch.arange(count, device=device)
    drawn = drawn.masked_fill((column == 0) | (column >= row - 1), -1.0)
    return drawn.topk(each, -1).indices


def block_sparse(
    core: Core, q: Tensor, k: Tensor, v: Tensor, block: int, chosen: Tensor, scale: float, dropout: Dropout | None
) -> Tensor:
    """The first and the last block see all and are seen by all; each other sees itself, its neighbours and ``chosen``.

    q, k, v (B, H, T, K) -> (B, H, T, K). chosen (H, M, R) int64: further blocks of the M inner ones, M being
    ceil(T / block) - 2; one that is named twice counts twice. Dropout differs between the outer and the inner blocks.
    """
    T = q.shape[2]
    count = -(-T // block)
    rows = [F.pad(x, (0, 0, 0, count * block - T)).unflatten(2, (count, block)) for x in (q, k, v)]  # (B, H, N, b, K)
    blocks, shown = _seen(count, chosen)
    B, H, M = q.shape[0], q.shape[1], count - 2
    heads = torch.arange(H, device=q.device).view(-1, 1, 1)
    near_k, near_v = (x[:, heads, blocks].flatten(3, 4).flatten(1, 2) for x in rows[1:])  # (B, H * M, W * b, K)
    places = blocks.unsqueeze(-1) * block + torch.arange(block, device=q.device)
    visible = ((places < T) & shown.unsqueeze(-1)).flatten(2).view(1, H * M, 1, -1)
    inner_q = rows[0][:, :, 1:-1].flatten(1, 2)  # (B, H * M, b, K)
    shown_to = Shown(visible.expand(-1, -1, block, -1))
    inner = core(inner_q, near_k, near_v, shown_to, None, scale, _part(dropout, 0))
    last = (count - 1) * block
    ends = torch.cat((q[:, :, :block], q[:, :, last:]), 2)
    outer = core(ends, k, v, Shown(None), None, scale, _part(dropout, 1))
    inner = inner.view(B, H, M * block, -1)
    return torch.cat((outer[:, :, :block], inner, outer[:, :, block:]), 2)


def random_blocks(key: Key, heads: int, count: int, each: int, device: torch.device) -> Tensor:
    """(H, count - 2, each): blocks drawn for each head and inner block out of those that it does not see anyway."""
    drawn = torch.rand(heads, count - 2, count, generator=key.generator(device), device=device)
    inner = torch.arange(1, count - 1, device=device).unsqueeze(1)
    block = torch.arange(count, device=device)
    seen = ((block - inner).abs() <= 1) | (block == 0) | (block == count - 1)
    return drawn.masked_fill(seen, -1.0).topk(each, -1).indices


def _seen(count: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The blocks that each inner one sees, (H, M, 5 + R), and which of them are not named twice."""
    inner = torch.arange(1, count - 1, device=chosen.device)
    usual = torch.stack(
        (torch.zeros_like(inner), inner - 1, inner, inner + 1, torch.full_like(inner, count - 1)), -1
    )  # fmt: skip
    once = torch.ones_like(usual, dtype=torch.bool)
    once[0, 1] = once[-1, 3] = False  # the first and the last block are neighbours of the inner ones beside them
    H = chosen.shape[0]
    blocks = torch.cat((usual.expand(H, -1, -1), chosen), -1)
    return blocks, torch.cat((once.expand(H, -1, -1), torch.ones_like(chosen, dtype=torch.bool)), -1)


def _part(dropout: Dropout | None, part: int) -> Dropout | None:
    return None if dropout is None else Dropout(dropout.rate, dropout.key.at(part))
