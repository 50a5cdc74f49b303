"""The cores against attention written out in loops, against each other, and on rows that see nothing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from core_parts import HEADS, POSITIONS, bind, opened, randomised
from torch.testing import assert_close

from regard import layers
from regard.layers import Attention, Grouped, Mask
from regard.layers.places import Places
from regard.ops.attention import eager, fused, soft_capped
from regard.ops.random import Dropout, Key

B, T, S, K, V = 2, 5, 7, 3, 11
CORES = {"eager": eager, "fused": fused, "soft-capped": soft_capped(2.0)}
MASKS = {
    "everything": Mask(),
    "causal": Mask(causal=True),
    "window": Mask(window=3),
    "causal window": Mask(causal=True, window=2),
    "prefix": Mask(causal=True, prefix=3),
    "prefix per row": Mask(causal=True, prefix=torch.tensor([2, 5])),
    "lengths": Mask(lengths=torch.tensor([4, 6])),
    "causal lengths": Mask(causal=True) & Mask(lengths=torch.tensor([4, 6])),
    "predicate": Mask(predicate=lambda q, k: (q + k) % 3 != 0),
}


def by_loops(q, k, v, visible, bias, scale, cap=None):
    """Attention as the paper says it, one number at a time."""
    (B, H, T, K), S, share = q.shape, k.shape[2], q.shape[1] // k.shape[1]
    visible = torch.ones(B, 1, T, S) if visible is None else visible.expand(B, 1, T, S)
    bias = torch.zeros(B, H, T, S) if bias is None else bias.expand(B, H, T, S)
    q, k, v, visible, bias = (tensor.tolist() for tensor in (q, k, v, visible, bias))
    out = torch.zeros(B, H, T, len(v[0][0][0]))
    for b, h, t in itertools.product(range(B), range(H), range(T)):
        scores = {}
        for s in range(S):
            if visible[b][0][t][s]:
                score = bias[b][h][t][s] + scale * sum(q[b][h][t][i] * k[b][h // share][s][i] for i in range(K))
                scores[s] = score if cap is None else cap * math.tanh(score / cap)
        total = sum(math.exp(score) for score in scores.values())
        for s, score in scores.items():
            out[b, h, t] += math.exp(score) / total * torch.tensor(v[b][h // share][s])
    return out


def inputs(heads=6, kv_heads=2, T=T, S=S):
    made = torch.randn(B, heads, T, K), torch.randn(B, kv_heads, S, K), torch.randn(B, kv_heads, S, V)
    return tuple(tensor.requires_grad_() for tensor in made)


@pytest.mark.parametrize("kv_heads", [6, 2, 1])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("core", CORES)
def test_every_core_is_the_formula(core, name, kv_heads):
    q, k, v = (tensor.detach() for tensor in inputs(kv_heads=kv_heads))
    mask = bind(MASKS[name], T, S)
    for bias in (None, torch.randn(1, 6, T, S), torch.randn(B, 6, T, S)):
        cap = 2.0 if core == "soft-capped" else None
        expected = by_loops(q, k, v, mask.tensor, bias, 0.37, cap)
        assert_close(CORES[core](q, k, v, mask, bias, 0.37, None), expected)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", [*MASKS, "segments"])
def test_fused_equals_eager_under_every_mask_and_position(name, position):
    projection = Grouped(dim=13, heads=HEADS, kv_heads=2, head_dim=10, norm=layers.RMSNorm)
    attention = randomised(Attention(projection, position=POSITIONS[position](), core=fused))
    mask = MASKS[name] if name in MASKS else Mask(segments=torch.tensor([[0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 1, 2]]))
    results = []
    for core in (fused, eager):
        attention.core = core
        x = torch.randn(B, S, 13, generator=torch.Generator().manual_seed(5)).requires_grad_()
        out = attention(x, opened(x, mask=mask))
        gradients = torch.autograd.grad(out.square().mean(), [x, *attention.parameters()])
        results.append((out, *gradients))
    for one, other in zip(*results, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("scale", [None, 1.0])
def test_scale_is_one_over_root_k_unless_said(scale):
    attention = randomised(Attention(Grouped(dim=13, heads=3, kv_heads=3, head_dim=5), scale=scale))
    x = torch.randn(B, T, 13)
    context = opened(x)
    own, rotate = attention, lambda x: x
    q = attention.projection.q(own, x, rotate)
    k, v = attention.projection.expand(own, attention.projection.state(own, x, rotate))
    weights = torch.softmax(q @ k.transpose(-1, -2) * (scale or 5**-0.5), -1)
    assert_close(attention(x, context), attention.o((weights @ v).transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("kv_heads", [3, 1])
def test_shared_heads_are_repeated_heads(core, kv_heads):
    q, k, v = inputs(6, kv_heads)
    share = 6 // kv_heads
    mask = bind(MASKS["causal window"], T, S)
    grouped = CORES[core](q, k, v, mask, None, 0.5, None)
    repeated = CORES[core](q, k.repeat_interleave(share, 1), v.repeat_interleave(share, 1), mask, None, 0.5, None)
    assert_close(grouped, repeated)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("core", CORES)
def test_rows_that_see_nothing_give_zero_and_finite_gradients(core, with_bias):
    q, k, v = inputs(T=S)
    bias = torch.randn(1, 6, S, S, requires_grad=True) if with_bias else None
    # Row 0 sees nothing at all; of row 1 the even queries see nothing.
    mask = Mask(lengths=torch.tensor([0, 7])) & Mask(predicate=lambda q, k: (q % 2 == 1) & (k >= 0))
    out = CORES[core](q, k, v, bind(mask, S), bias, 0.5, None)
    assert out[0].eq(0).all() and out[1, :, ::2].eq(0).all() and out[1, :, 1::2].ne(0).all()
    wanted = [q, k, v] if bias is None else [q, k, v, bias]
    gradients = torch.autograd.grad(out.sum() + (3 * out).square().sum(), wanted)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0][0].eq(0).all() and gradients[0][1, :, ::2].eq(0).all()
    assert gradients[1][0].eq(0).all() and gradients[2][0].eq(0).all()
    assert gradients[2][1].ne(0).all()
    assert bias is None or gradients[3][:, :, ::2].eq(0).all()


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("name", [name for name in MASKS if name != "everything"])
@pytest.mark.parametrize("core", CORES)
def test_what_is_hidden_cannot_be_felt(core, name, with_bias):
    q, k, v = inputs(T=S)
    bias = torch.randn(1, 6, S, S) if with_bias else None
    mask = bind(MASKS[name], S)
    assert mask.tensor is not None
    visible = mask.tensor.expand(B, 1, S, S)
    out = CORES[core](q, k, v, mask, bias, 0.5, None)
    for t in range(S):
        hidden = ~visible[:, 0, t]  # (B, S)
        to_k, to_v = torch.autograd.grad(out[:, :, t].square().sum(), [k, v], retain_graph=True)
        for gradient in (to_k, to_v):
            assert gradient.transpose(1, 2)[hidden].eq(0).all()
        other = [torch.where(hidden[:, None, :, None], 1e4 * torch.randn_like(x), x) for x in (k, v)]
        again = CORES[core](q, *other, mask, bias, 0.5, None)
        assert torch.equal(again[:, :, t], out[:, :, t])


def test_dropped_weights_are_the_same_in_every_core():
    q, k, v = inputs()
    drop = Dropout(0.4, Key(11))
    mask = bind(MASKS["causal"], T, S)
    one, other = (core(q, k, v, mask, None, 0.5, drop) for core in (eager, fused))
    assert torch.equal(one, other)
    assert not torch.equal(one, eager(q, k, v, mask, None, 0.5, None))


def test_soft_capped_scores_stay_below_the_cap():
    q, k, v = (1e3 * tensor.detach() for tensor in inputs(6, 6, S, S))
    out = soft_capped(0.5)(q, k, v, bind(Mask(), S), None, 1.0, None)
    # No weight can exceed exp(0.5) / (exp(0.5) + 6 exp(-0.5)), so one value cannot win alone.
    most = math.exp(0.5) / (math.exp(0.5) + (S - 1) * math.exp(-0.5))
    one = torch.zeros_like(v)
    one[:, :, 3] = 1.0
    assert soft_capped(0.5)(q, k, one, bind(Mask(), S), None, 1.0, None).max() <= most + 1e-6
    assert out.isfinite().all()


def test_a_mask_is_not_built_where_none_is_needed():
    everything, causal = bind(Mask(), S), bind(Mask(causal=True), S)
    newest = bind(Mask(causal=True), 1, S)
    assert everything.everything and newest.everything and causal.lower_triangle
    assert not causal.everything and not bind(Mask(causal=True), T, S).lower_triangle
    assert not bind(Mask(causal=True, window=2), 1, S).everything
    assert not bind(Mask(causal=True) & Mask(window=2), S).lower_triangle
    ragged = Places(torch.tensor([[0, 1, 2], [0, 1, -1]]))
    assert not Mask().bind(ragged, ragged).everything and not Mask(causal=True).bind(ragged, ragged).lower_triangle
