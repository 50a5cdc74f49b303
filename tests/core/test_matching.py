"""The cheapest matching against an independent solver, and boxes against counting pixels."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.testing import assert_close

from regard.ops.boxes import cheapest_matching, corners, overlap


@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (11, 3), (3, 11), (1, 5), (5, 1), (31, 29), (4, 0), (0, 3)])
def test_the_cheapest_matching_is_the_cheapest(rows: int, columns: int) -> None:
    for seed in range(11):
        costs = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
        costs = costs.round() if seed % 2 else costs  # many that cost the same
        found, expected = cheapest_matching(costs), linear_sum_assignment(costs.numpy())
        assert len(found[0]) == min(rows, columns) == len(set(found[1].tolist()))
        assert found[0].tolist() == sorted(set(found[0].tolist()))
        assert float(costs[found].sum()) == pytest.approx(float(costs.numpy()[expected].sum()), abs=1e-4)
        if seed % 2 == 0:
            assert found[0].tolist() == expected[0].tolist() and found[1].tolist() == expected[1].tolist()


def test_what_is_not_finite_is_matched_last() -> None:
    costs = torch.tensor([[float("nan"), 1.0], [5.0, float("inf")], [2.0, 3.0]])
    assert [one.tolist() for one in cheapest_matching(costs)] == [[0, 2], [1, 0]]
    for seed in range(7):
        costs = torch.randn(7, 7, generator=torch.Generator().manual_seed(seed))
        whole = cheapest_matching(costs[1:])[1].tolist()
        costs[0] = float("nan")  # a guess that has gone wrong takes what the others leave
        assert cheapest_matching(costs)[1][1:].tolist() == whole
    assert sorted(cheapest_matching(torch.full((3, 5), float("inf")))[0].tolist()) == [0, 1, 2]


def test_overlap_is_what_counting_says() -> None:
    a, b = (1, 2, 7, 9), (5, 4, 11, 8)
    cells = [(x, y) for x in range(12) for y in range(12)]
    inside = [{c for c in cells if box[0] <= c[0] < box[2] and box[1] <= c[1] < box[3]} for box in (a, b)]
    union, around = len(inside[0] | inside[1]), 10 * 7
    expected = len(inside[0] & inside[1]) / union - (around - union) / around
    found = overlap(torch.tensor([a]).float().unsqueeze(1), torch.tensor([b]).float().unsqueeze(0))
    assert_close(found, torch.tensor([[expected]]))
    assert_close(corners(torch.tensor([4.0, 5.0, 6.0, 2.0])), torch.tensor([1.0, 4.0, 7.0, 6.0]))
