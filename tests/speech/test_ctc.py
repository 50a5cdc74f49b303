"""CTC: the loss and the decoding against all ways written out."""

from __future__ import annotations

from itertools import groupby, product

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from regard.generate.ctc import beams, greedy
from regard.heads import CTC
from regard.layers import Context

BLANK, V, T = 1, 3, 5


def logits(seed: int = 3) -> Tensor:
    return torch.randn(T, V, generator=torch.Generator().manual_seed(seed)) * 1.5


def spelled(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(letter for letter, _ in groupby(path) if letter != BLANK)


def ways(rows: Tensor) -> dict[tuple[int, ...], float]:
    """The probability of every spelling, by all V ** T paths."""
    shares = rows.double().softmax(-1)
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(V), repeat=len(rows)):
        chance = float(torch.stack([shares[t, letter] for t, letter in enumerate(path)]).prod())
        found[spelled(path)] = found.get(spelled(path), 0.0) + chance
    return found


def test_the_loss_sums_all_ways_to_say_a_target() -> None:
    rows, head = logits(), CTC(2, V, blank=BLANK)
    for target in ((0, 2), (0, 0), (2,), ()):
        found = head.loss(rows.unsqueeze(0), [torch.tensor(target, dtype=torch.long)])
        assert found.item() == pytest.approx(-torch.tensor(ways(rows)[target]).log().item(), rel=1e-5)


def test_the_loss_of_rows_together_is_the_sum_of_theirs() -> None:
    head, rows = CTC(2, V, blank=BLANK), torch.randn(2, 7, V)
    targets = [torch.tensor([0, 2, 0]), torch.tensor([2])]
    context = Context(positions=torch.tensor([[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, -1, -1, -1, -1]]))
    apart = head.loss(rows[:1], targets[:1]) + head.loss(rows[1:, :3], targets[1:])
    assert_close(head.loss(rows, targets, context), apart)
    rows[1, 3:] = 50.0
    assert_close(head.loss(rows, targets, context), apart)


def test_beams_find_what_is_spelled_most_often() -> None:
    for seed in range(20):
        rows = logits(seed)
        expected = sorted(ways(rows).items(), key=lambda one: -one[1])
        found = beams(rows, BLANK, width=500, best=3)
        assert [one.letters for one in found] == [letters for letters, _ in expected[:3]]
        for one, (_, chance) in zip(found, expected, strict=False):
            assert one.score == pytest.approx(torch.tensor(chance).log().item(), rel=1e-6)


def test_beams_may_differ_from_the_likeliest_path() -> None:
    rows = torch.tensor([[0.45, 0.55, 0.0], [0.45, 0.55, 0.0]]).clamp(min=1e-9).log()
    assert greedy(rows, BLANK) == []  # blank, blank: 0.3025
    assert beams(rows, BLANK, 8)[0].letters == (0,)  # three ways: 0.6975


def test_greedy_merges_what_no_blank_parts() -> None:
    path = torch.tensor([1, 0, 0, 1, 0, 2, 2, 1])
    assert greedy(torch.nn.functional.one_hot(path, V).float(), BLANK) == [0, 0, 2]


def test_no_frames_spell_nothing() -> None:
    assert greedy(torch.zeros(0, V), BLANK) == []
    assert beams(torch.zeros(0, V), BLANK, 4)[0].letters == ()
