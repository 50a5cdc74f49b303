"""Attention whose cost grows with the length, against loops written from the papers; what it costs; what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from regard.errors import RegardError
from regard.layers import Key, Mask
from regard.layers.places import Places
from regard.ops import kernels
from regard.ops.attention import Core, Shown, eager, fused
from regard.ops.block_sparse import blocks, earlier_blocks
from regard.ops.clusters import hashing, places
from regard.ops.random import Dropout
from regard.ops.windowed import newest, window

B, H, G, K, V = 2, 6, 2, 5, 3


def heads(T: int, seed: int = 1, size: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(B, n, T, w, generator=generator) for n, w in ((H, K), (G, K), (G, V)))
    return tuple(x * size for x in made)  # type: ignore[return-value]


def seen_by(T: int, causal: bool):
    at = Places.count(0, T)
    return Mask(causal=causal).bind(at, at)


def masked(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """Attention under a mask (B|1, H|1, T, S) that may differ by head."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    visible = visible.expand(q.shape[0], q.shape[1], -1, -1)
    each = [eager(q[:, h, None], k[:, h, None], v[:, h, None], Shown(visible[:, h, None]), None, 0.7, None)
            for h in range(q.shape[1])]  # fmt: skip
    return torch.cat(each, 1)


def favor_by_loops(q: Tensor, k: Tensor, v: Tensor, directions: Tensor, causal: bool) -> Tensor:
    """Choromanski et al. 2021, eq. 4 and lemma 1, as they stand; and the floor that keeps a quotient defined."""

    def phi(x: Tensor) -> Tensor:
        x = x * 0.7**0.5
        raw = (directions @ x) - x @ x / 2
        return (raw.exp() + kernels.LEAST * raw.max().exp()).double()

    out = torch.zeros(B, H, q.shape[2], V, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            g = h // (H // G)
            for t in range(q.shape[2]):
                sees = range(t + 1 if causal else k.shape[2])
                weights = torch.stack([phi(q[b, h, t]) @ phi(k[b, g, s]) for s in sees])
                out[b, h, t] = weights / weights.sum() @ v[b, g, : len(weights)].double()
    return out.float()


@pytest.mark.parametrize("causal", [True, False])
def test_random_features_are_the_formula(causal, monkeypatch):
    monkeypatch.setattr(kernels, "_PIECE", 3)  # of a longer text no more are held at once
    q, k, v = heads(7)
    w = kernels.directions(Key(3), 11, K)
    found = kernels.favor(w)(q, k, v, seen_by(7, causal), None, 0.7, None)
    assert_close(found, favor_by_loops(q, k, v, w, causal), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [1.0, 9.0])
@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_sums_of_pieces_are_the_sum(size, at_once):
    q, k, v = heads(29, size=size)
    w = kernels.directions(Key(3), 11, K)
    q, k = (kernels.exponents(x, w, 0.7).double() for x in (q, k))
    keys, largest = k.repeat_interleave(H // G, 1), k.amax(-1)
    raw = (keys - keys.amax(-1, keepdim=True)).exp() + kernels.LEAST
    weights = ((q - q.amax(-1, keepdim=True)).exp() + kernels.LEAST) @ raw.transpose(-1, -2)
    highest = largest.cummax(-1).values.repeat_interleave(H // G, 1)
    weights = (
        weights
        * torch.where(
            torch.ones(29, 29).tril() > 0, keys.amax(-1).unsqueeze(-2) - highest.unsqueeze(-1), -math.inf
        ).exp()
    )
    expected = weights / weights.sum(-1, keepdim=True) @ v.double().repeat_interleave(H // G, 1)
    assert_close(kernels.forward_only(q, k, v.double(), at_once=at_once)[0], expected)
    assert expected.isfinite().all()


def test_more_features_come_nearer_to_the_softmax():
    q, k, v = heads(23, size=0.4)
    for causal in (True, False):
        exact = eager(q, k, v, seen_by(23, causal), None, 0.7, None)
        errors = []
        for count in (8, 64, 512, 4096):
            tried = [
                kernels.favor(kernels.directions(Key(seed), count, K))(q, k, v, seen_by(23, causal), None, 0.7, None)
                for seed in range(5)
            ]
            errors.append(torch.stack([(one - exact).square().mean() for one in tried]).mean().sqrt().item())
        # The error of a mean of n falls with the root of n, though not evenly: its tails are long.
        assert all(after < before / 1.5 for before, after in itertools.pairwise(errors)), errors
        assert errors[-1] < errors[0] / 8 and errors[-1] < 0.01


def test_directions_are_orthogonal_and_of_normal_length():
    w = kernels.directions(Key(3), 12, 5)
    unit = w / w.norm(dim=-1, keepdim=True)
    assert_close(unit[:5] @ unit[:5].T, torch.eye(5))
    assert (unit[10:] @ unit[10:].T - torch.eye(2)).abs().max() < 1e-5
    many = kernels.directions(Key(3), 5000, 5)
    sizes = many.square().sum(-1)
    assert 4.8 < sizes.mean().item() < 5.2 and 9 < sizes.var().item() < 11  # chi-squared
    assert many.mean(0).abs().max() < 0.05  # no direction is likelier than its opposite
    assert not torch.equal(w, kernels.directions(Key(5), 12, 5))


CORES: dict[str, Core] = {
    "window": window(5),
    "blocks": blocks(2, 1, Key(3)),
    "hashing": hashing(4, 3, Key(3)),
    "favor": kernels.favor(kernels.directions(Key(3), 7, K)),
}


@pytest.mark.parametrize("name", ["window", "blocks", "favor"])
def test_nothing_comes_from_the_future(name):
    """Bit for bit. (What a hash brings together depends on all tokens, as in Reformer.)"""
    q, k, v = heads(31)
    before = CORES[name](q, k, v, seen_by(31, True), None, 0.7, None)
    for x in (q, k, v):
        x[:, :, 17:] = 50 * x[:, :, 17:].flip(2) + 1
    after = CORES[name](q, k, v, seen_by(31, True), None, 0.7, None)
    assert torch.equal(before[:, :, :17], after[:, :, :17]) and not torch.equal(before, after)


def test_no_gradient_from_the_future_or_to_what_is_not_seen():
    for name, core in CORES.items():
        q, k, v = (x.requires_grad_() for x in heads(31))
        core(q, k, v, seen_by(31, True), None, 0.7, None)[:, :, 11].sum().backward()
        for x in (k, v):
            assert x.grad is not None and x.grad.isfinite().all()
            assert x.grad[:, :, 12:].eq(0).all() and x.grad[:, :, 11].ne(0).any(), name


@pytest.mark.parametrize("T", [5, 6, 29, 30])
def test_a_window_is_all_of_it_under_a_mask(T):
    q, k, v = heads(T)
    at = torch.arange(T)
    behind = at.unsqueeze(1) - at
    visible = (behind >= 0) & (behind < 5)
    for core in (eager, fused):
        found = window(5, core)(q, k, v, seen_by(T, True), None, 0.7, None)
        assert_close(found, masked(q, k, v, visible.view(1, 1, T, T)))
    bias = torch.randn(H, 5)
    expected = eager(q, k, v, Shown(visible[None, None]), bias[:, behind.clamp(0, 4)][None], 0.7, None)
    assert_close(newest(fused, q, k, v, 5, 0.7, None, bias), expected)
    both = window(6)(q, k, v, seen_by(T, False), None, 0.7, None)
    assert_close(both, masked(q, k, v, (behind.abs() <= 3).view(1, 1, T, T)))


@pytest.mark.parametrize("T", [29, 30, 31, 60])
def test_blocks_before_are_all_of_it_under_a_mask(T):
    q, k, v = heads(T)
    count = -(-T // 3)
    chosen = earlier_blocks(Key(3), G, count, 2, torch.device("cpu"))
    block = torch.arange(T) // 3
    visible = torch.zeros(G, T, T, dtype=torch.bool)
    for g in range(G):
        for row in range(count):
            drawn = chosen[g, row].tolist() if row > 4 else range(row)
            if row > 4:
                assert len({0, row - 1, row, *drawn}) == 5 and max(drawn) < row
            for other in {0, row - 1, row, *drawn}:
                visible[g] |= (block.unsqueeze(1) == row) & (block == other)
    visible = (visible & torch.ones(T, T, dtype=torch.bool).tril()).repeat_interleave(H // G, 0)
    found = blocks(3, 2, Key(3))(q, k, v, seen_by(T, True), None, 0.7, None)
    assert_close(found, masked(q, k, v, visible.unsqueeze(0)))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("T", [29, 32])
def test_hashes_are_all_of_it_under_a_mask(T, causal):
    """Each key once, in however many rounds it is found."""
    q, k, v = heads(T)
    lines = torch.randn(3, K + 2, generator=Key(3).generator())
    at = torch.arange(T)
    visible = torch.zeros(B, H, T, T, dtype=torch.bool)
    for h in range(H):
        g = h // (H // G)
        q_places, k_places = places(q[:, g * 3 : g * 3 + 3], k[:, g, None], lines)
        for number in range(3):
            mine, theirs = q_places[number][:, h % 3] // 4, k_places[number][:, 0] // 4
            visible[:, h] |= mine.unsqueeze(-1) == theirs.unsqueeze(-2)
    visible |= at.unsqueeze(1) == at
    if causal:
        visible &= at.unsqueeze(1) >= at
    found = CORES["hashing"](q, k, v, seen_by(T, causal), None, 0.7, None)
    assert_close(found, masked(q, k, v, visible))


def test_a_hash_finds_what_points_the_same_way():
    generator = torch.Generator().manual_seed(5)
    k = torch.randn(1, 1, 256, 16, generator=generator)
    q = 3 * k + 0.3 * torch.randn(1, 1, 256, 16, generator=generator)
    q_places, k_places = places(q, k, torch.randn(4, 18, generator=generator))
    together = ((q_places // 32) == (k_places // 32)).any(0).float().mean()
    assert together > 0.75  # by chance: 1 - (7 / 8) ** 4, or 0.41


@pytest.mark.parametrize("name", CORES)
def test_what_cannot_be_served_is_named(name):
    q, k, v = heads(13)
    padded = Mask(causal=True, lengths=torch.tensor([13, 7]))
    at = Places.count(0, 13)
    with pytest.raises(RegardError, match="mask"):
        CORES[name](q, k, v, padded.bind(at, at), None, 0.7, None)
    with pytest.raises(RegardError, match="bias"):
        CORES[name](q, k, v, seen_by(13, True), torch.zeros(1, H, 13, 13), 0.7, None)
    if name in ("favor", "hashing"):
        with pytest.raises(RegardError, match="dropout"):
            CORES[name](q, k, v, seen_by(13, True), None, 0.7, Dropout(0.1, Key(1)))


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("causal", [True, False])
def test_a_core_is_linear_in_v(name, causal):
    """So that what it weighs can be shown (``explain``)."""
    q, k, v = heads(31)
    weights = CORES[name](q, k, torch.eye(31).expand(B, G, -1, -1), seen_by(31, causal), None, 0.7, None)
    assert_close(weights.sum(-1), torch.ones(B, H, 31))
    expected = weights @ v.repeat_interleave(H // G, 1)
    assert_close(CORES[name](q, k, v, seen_by(31, causal), None, 0.7, None), expected)


@pytest.mark.parametrize("causal", [True, False])
def test_cost_grows_with_the_length(causal):
    def cost(core: Core, T: int) -> int:
        q, k, v = heads(T)
        with FlopCounterMode(display=False) as counter:
            core(q, k, v, seen_by(T, causal), None, 0.7, None)
        return counter.get_total_flops()

    whole = cost(eager, 512) / cost(eager, 256)
    assert whole > 3.9
    for name, core in {**CORES, "window": window(4, eager), "blocks": blocks(2, 1, Key(3), eager)}.items():
        assert 1.85 < cost(core, 512) / cost(core, 256) < 2.1, name
