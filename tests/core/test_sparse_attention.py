"""Attention by windows and by blocks against all of it under a mask; and what it costs."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from regard.layers import Key
from regard.ops.attention import Shown, eager, fused
from regard.ops.block_sparse import block_sparse, random_blocks
from regard.ops.random import Dropout
from regard.ops.windowed import windowed

B, H, K = 3, 2, 5


def heads(T: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(B, H, T, K, generator=generator) for _ in range(3))  # type: ignore[return-value]


@pytest.mark.parametrize("core", [eager, fused])
@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize(("T", "reach"), [(29, 3), (12, 3), (7, 5), (11, 1), (13, 0)])
def test_windows_are_all_of_it_under_a_mask(core, marks, T, reach):
    q, k, v = heads(T)
    seen = torch.ones(B, T, dtype=torch.bool)
    seen[1, T - 4 :] = seen[2, :2] = False
    marked = torch.zeros(B, T, dtype=torch.bool)
    marked[0, [0, 2, T - 1]] = marked[1, [1, T - 2]] = True  # the last of them is padding
    at = torch.arange(T)
    visible = (at.unsqueeze(1) - at).abs() <= reach
    visible = (visible | marked.unsqueeze(1) if marks else visible) & seen.unsqueeze(1)
    expected = eager(q, k, v, Shown(visible.unsqueeze(1).expand(B, 1, T, T)), None, 0.7, None)
    assert_close(windowed(core, q, k, v, reach, seen, marked if marks else None, 0.7, None), expected)


@pytest.mark.parametrize("T", [30, 31, 36])
def test_blocks_are_all_of_it_under_a_mask(T):
    block, count = 3, -(-T // 3)
    q, k, v = heads(T)
    chosen = random_blocks(Key(3), H, count, 2, torch.device("cpu"))
    at = torch.arange(T) // block
    visible = (at.unsqueeze(1) - at).abs() <= 1
    visible = visible | (at == 0) | (at == count - 1) | ((at == 0) | (at == count - 1)).unsqueeze(1)
    visible = visible.expand(H, T, T).clone()
    for head in range(H):
        for row in range(1, count - 1):
            assert len({0, row - 1, row, row + 1, count - 1, *chosen[head, row - 1].tolist()}) >= 4 + 2
            for other in chosen[head, row - 1]:
                visible[head, at == row] |= at == other
    expected = torch.stack(
        [eager(q[:, h, None], k[:, h, None], v[:, h, None], Shown(visible[h, None, None]), None, 0.7, None)[:, 0]
         for h in range(H)], 1
    )  # fmt: skip
    assert_close(block_sparse(fused, q, k, v, block, chosen, 0.7, None), expected)


def test_dropped_weights_depend_on_the_key_alone():
    q, k, v = heads(29)
    seen, chosen = torch.ones(B, 29, dtype=torch.bool), random_blocks(Key(3), H, 10, 1, torch.device("cpu"))
    for run in (
        lambda key: windowed(fused, q, k, v, 3, seen, None, 0.7, Dropout(0.3, key)),
        lambda key: block_sparse(fused, q, k, v, 3, chosen, 0.7, Dropout(0.3, key)),
    ):
        assert torch.equal(run(Key(5)), run(Key(5))) and not torch.equal(run(Key(5)), run(Key(7)))


def test_cost_grows_with_the_length():
    def cost(T: int, how: str) -> int:
        q, k, v = heads(T)
        seen = torch.ones(B, T, dtype=torch.bool)
        chosen = torch.zeros(H, T // 4 - 2, 1, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            if how == "windows":
                windowed(eager, q, k, v, 4, seen, seen & (torch.arange(T) == 0), 1.0, None)
            else:
                block_sparse(eager, q, k, v, 4, chosen, 1.0, None)
        return counter.get_total_flops()

    for how in ("windows", "blocks"):
        assert 1.9 < cost(512, how) / cost(256, how) < 2.1
