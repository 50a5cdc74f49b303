"""Norm placements, residual scale, stochastic depth, shared layers, feed-forwards, norms, and running a block twice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from core_parts import POSITIONS, by_hand, opened, randomised, some_tokens, tiny
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from regard import layers
from regard.layers import Block, Context, Key, LayerNorm, Mask, Residual, RMSNorm, Stack
from regard.layers.feed_forward import ACTIVATIONS
from regard.ops.norms import rms_norm


class Branch(nn.Module):
    def __init__(self, dim=7):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, dim) / 3)

    def forward(self, x, context):
        return torch.tanh(x @ self.weight)


def norm():
    made = LayerNorm(7)
    nn.init.normal_(made.weight, 1.0, 0.3)
    nn.init.normal_(made.bias, 0.0, 0.3)
    return made


PLACEMENTS = {
    "none": ((), lambda x, f, n: x + f(x)),
    "pre": (("before",), lambda x, f, n: x + f(n["before"](x))),
    "post": (("then",), lambda x, f, n: n["then"](x + f(x))),
    "sandwich": (("before", "after"), lambda x, f, n: x + n["after"](f(n["before"](x)))),
    "after": (("after",), lambda x, f, n: x + n["after"](f(x))),
    "all": (("before", "after", "then"), lambda x, f, n: n["then"](x + n["after"](f(n["before"](x))))),
}


@pytest.mark.parametrize("scale", [1.0, 0.37])
@pytest.mark.parametrize("name", PLACEMENTS)
def test_norms_stand_where_they_are_put(name, scale):
    places, formula = PLACEMENTS[name]
    norms, branch, x = {place: norm() for place in places}, Branch(), torch.randn(2, 5, 7)
    block = Block(part=Residual(sublayer=branch, scale=scale, **norms))
    scaled = dict(norms)
    if "after" in norms:
        scaled["after"] = lambda x: norms["after"](x) * scale
        expected = formula(x, lambda x: branch(x, None), scaled)
    else:
        expected = formula(x, lambda x: branch(x, None) * scale, scaled)
    assert_close(block(x, opened(x)), expected)
    assert {n for n, _ in block.named_children()} == {"part", *(f"part_{place}" for place in places)}


def test_a_block_is_its_sublayers_one_after_the_other_and_a_last_norm():
    first, second, third, x = Branch(), Branch(), norm(), torch.randn(2, 5, 7)
    block = Block(first=Residual(sublayer=first), second=Residual(sublayer=second), norm=third)
    middle = x + first(x, None)
    assert_close(block(x, opened(x)), third(middle + second(middle, None)))
    assert_close(block.branch("second", middle, opened(x)), second(middle, None))


def test_branches_are_skipped_whole_in_training_and_never_in_evaluation():
    branch, x = Branch(), torch.randn(53, 3, 7)
    block = Block(part=Residual(sublayer=branch, skip=0.4))
    assert_close(block(x, opened(x)), x + branch(x, None))
    out = block(x, opened(x, key=Key(5)))
    skipped = (out == x).all(-1).all(-1)
    assert 8 < skipped.sum() < 40
    assert_close(out[~skipped], (x + branch(x, None) / 0.6)[~skipped])
    row = x.view(1, 159, 7)
    packed = block(row, opened(row, key=Key(5), mask=Mask(documents=(3,) * 53)))
    assert_close(packed.view(53, 3, 7), out)


def test_a_shared_layer_is_the_same_block_called_again():
    blocks, last, x = [Block(part=Residual(sublayer=Branch())) for _ in range(2)], norm(), torch.randn(2, 5, 7)
    stack = Stack(blocks, order=(0, 1, 1, 0), norm=last)
    context, expected = opened(x), x
    for number in (0, 1, 1, 0):
        expected = blocks[number](expected, context)
    assert_close(stack(x, context), last(expected))
    assert sum(p.numel() for p in stack.parameters()) == 2 * 49 + 14
    gradient = torch.autograd.grad(stack(x, context).sum(), blocks[0].part.weight)[0]
    assert gradient.ne(0).all()


def test_each_turn_of_a_shared_layer_drops_otherwise():
    block = Block(part=Residual(sublayer=Branch(), dropout=0.5))
    seen = []
    block.register_forward_hook(lambda _, inputs, out: seen.append(inputs[1].key))
    x = torch.randn(1, 3, 7)
    Stack([block], order=(0, 0, 0))(x, opened(x, key=Key(1)))
    assert len(set(seen)) == 3


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_feed_forwards_are_their_formulas(name):
    act, x = ACTIVATIONS[name], torch.randn(2, 5, 7)
    plain, gated = randomised(layers.FeedForward(7, 11, name)), randomised(layers.Gated(7, 11, name, bias=True))
    assert_close(plain(x, opened(x)), plain.down(act(plain.up(x))))
    assert_close(gated(x, opened(x)), gated.down(act(gated.gate(x)) * gated.up(x)))


def test_activations_are_what_their_names_say():
    x = torch.linspace(-5, 5, 101)
    theirs = {
        "relu": x.clamp(min=0),
        "gelu": x * torch.special.ndtr(x),
        "gelu_tanh": 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        "silu": x / (1 + torch.exp(-x)),
        "quick_gelu": x / (1 + torch.exp(-1.702 * x)),
        "sigmoid": 1 / (1 + torch.exp(-x)),
        "tanh": torch.sinh(x) / torch.cosh(x),
        "squared_relu": x.clamp(min=0) ** 2,
    }
    assert theirs.keys() == ACTIVATIONS.keys()
    for name, expected in theirs.items():
        assert_close(ACTIVATIONS[name](x), expected)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_rms_norm_and_its_gradient_are_the_formula(offset):
    ours, x = RMSNorm(7, eps=1e-3, offset=offset), torch.randn(2, 5, 7, requires_grad=True)
    nn.init.normal_(ours.weight)
    weight = ours.weight.detach().clone().requires_grad_()
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * (weight + offset)
    out = ours(x)
    assert_close(out, expected)
    upstream = torch.randn_like(out)
    found = torch.autograd.grad((out * upstream).sum(), [x, ours.weight])
    for one, other in zip(found, torch.autograd.grad((expected * upstream).sum(), [x, weight]), strict=True):
        assert_close(one, other)
    assert_close(out, F.rms_norm(x, (7,), weight + offset, 1e-3))


def test_rms_norm_is_taken_in_the_wider_of_float32_and_its_own_type():
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-6), (x, weight))
    half = (300 * torch.randn(3, 7)).to(torch.float16)  # squares overflow float16
    assert rms_norm(half, torch.ones(7), 1e-6).isfinite().all()
    assert rms_norm(half, torch.ones(7), 1e-6).dtype == torch.float16


def test_layer_norm_is_the_formula():
    ours, x = norm(), torch.randn(2, 5, 7)
    variance = x.var(-1, keepdim=True, correction=0)
    assert_close(ours(x), (x - x.mean(-1, keepdim=True)) / (variance + 1e-5).sqrt() * ours.weight + ours.bias)
    assert LayerNorm(7, bias=False).bias is None


def recomputed(model):
    """Every block run again in the backward pass."""
    for block in model.stack.blocks:
        block.forward = again(block.forward)
    return model


def again(forward):
    return lambda x, context: checkpoint(
        lambda x: forward(x, context.apart()), x, use_reentrant=False, preserve_rng_state=False
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_recomputed_gradients_are_the_same(position, packed):
    lengths, tokens = [3, 3, 5], some_tokens(1, 11)
    make = Context.packed if packed else lambda _, **more: Context(**more)
    results = []
    for wrap in (lambda model: model, recomputed):
        model = wrap(by_hand(position, dropout=0.3))
        loss = model.hidden(tokens, make(lengths, key=Key(5))).square().mean()
        results.append((loss, *torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])))
    assert len(results[0]) > 20
    assert torch.equal(results[0][0], results[1][0])
    # To the bit, but for a bias that all layers learn: apart, its gradients are added up in another order.
    to_the_bit = "buckets" not in position and position != "transformer-xl"
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other) if to_the_bit else assert_close(one, other) is None


def test_without_a_memo_of_its_own_a_recomputed_block_would_fail():
    """What `Context.apart` is for: the first block makes the bias for all, and a second time finds it made."""
    model = by_hand("buckets")
    for block in model.stack.blocks:
        block.forward = (lambda f: lambda x, c: checkpoint(f, x, c, use_reentrant=False))(block.forward)
    with pytest.raises(torch.utils.checkpoint.CheckpointError):
        model.hidden(some_tokens(1, 7)).sum().backward()


def test_tied_weights_are_one():
    model = tiny("gpt2")
    assert model.head.weight is model.embed.tokens.weight
    model = tiny("vaswani")
    assert model.head.weight is model.source_embed.tokens.weight is model.target_embed.tokens.weight
    assert tiny("gpt2", tied=False).head.weight is not tiny("gpt2", tied=False).embed.tokens.weight


def test_names_resolve_on_first_use():
    import regard.embed
    import regard.heads

    for room in (layers, regard.embed, regard.heads):
        assert set(room.__all__) == set(room._WHERE)
        assert all(getattr(room, name).__name__ == name for name in room.__all__)
        with pytest.raises(AttributeError, match="Nothing"):
            room.Nothing  # noqa: B018
