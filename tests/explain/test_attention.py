"""The weights that the probe sees are the softmax of the scores, whatever core runs, and watching changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regard.explain import ablation, attention, question
from regard.explain.sites import around, sites, stacks
from regard.layers import Attention, Block, Context, Grouped, Mask, Residual, Stack
from regard.layers.places import Places
from regard.ops.attention import eager, fused, soft_capped

B, T, S, H, G, K = 2, 5, 7, 6, 3, 11
CAP = 1.3
CORES = {"eager": eager, "fused": fused, "soft-capped": soft_capped(CAP)}
MASKS = {
    "everything": Mask(),
    "causal": Mask(causal=True),
    "window": Mask(causal=True, window=2),
    "lengths": Mask(lengths=torch.tensor([3, 7])),
    "nothing for one": Mask(predicate=lambda q, k: (q != 2) & (k >= 0)),
}


def softmax_weights(q, k, mask, bias, scale, core):
    """(B, H, T, S), query by query and head by head, from the definition."""
    weights = torch.zeros(B, H, q.shape[2], k.shape[2])
    for b in range(B):
        for h in range(H):
            for t in range(q.shape[2]):
                scores = k[b, h // (H // G)] @ q[b, h, t] * scale
                if bias is not None:
                    scores = scores + bias[0, h, t]
                if core == "soft-capped":
                    scores = CAP * torch.tanh(scores / CAP)
                seen = torch.ones(k.shape[2], dtype=torch.bool)
                if mask.tensor is not None:
                    seen = mask.tensor.expand(B, -1, -1, -1)[b, 0, t]
                if seen.any():
                    weights[b, h, t, seen] = torch.softmax(scores[seen], 0)
    return weights


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("core", CORES)
def test_weights_are_the_softmax(core, mask, biased):
    generator = torch.Generator().manual_seed(3)
    square = S if mask != "everything" else T
    q = torch.randn(B, H, square, K, generator=generator)
    k, v = torch.randn(2, B, G, S, K, generator=generator)
    bias = torch.randn(1, H, square, S, generator=generator) if biased else None
    bound = MASKS[mask].bind(Places.count(0, square, "cpu"), Places.count(0, S, "cpu"))
    found = attention.weights_of(CORES[core], q, k, v, bound, bias, 0.3)
    expected = softmax_weights(q, k, bound, bias, 0.3, core)
    torch.testing.assert_close(found, expected)
    sums = found.sum(-1)
    rows = torch.ones_like(sums)
    if mask == "nothing for one":
        rows[:, :, 2] = 0.0
    torch.testing.assert_close(sums, rows)


@pytest.mark.parametrize("kind", ["gpt", "grouped", "mlm", "translator"])
def test_watching_sees_the_layers_asked_for_and_changes_nothing(make, kind):
    bundle = make(kind)
    asked = question.ask(bundle, "明月光", "明" if kind != "mlm" else None)
    before = {name: value.clone() for name, value in bundle.model.state_dict().items()}
    cores = [place.attention.core for place in sites(bundle.model)]
    plain = question.logits(bundle.model, asked)
    seen = {}
    with attention.watched(sites(bundle.model, [1]), lambda place, weights: seen.update({place: weights})):
        watched = question.logits(bundle.model, asked)
    assert {place.layer for place in seen} == {1}
    assert {place.kind for place in seen} == ({"encoder", "decoder", "cross"} if kind == "translator" else {"self"})
    assert torch.equal(plain, watched)
    assert [place.attention.core for place in sites(bundle.model)] == cores
    assert list(before) == list(bundle.model.state_dict())
    assert all(torch.equal(before[name], value) for name, value in bundle.model.state_dict().items())


def test_weights_in_a_model_equal_those_of_its_eager_core(make):
    """With eager cores the same weights, layer by layer; each row of a causal model sums to 1 over its past."""
    bundle = make("grouped")
    asked = question.ask(bundle, "床前明月光", None)
    found = []
    for core in (fused, eager):
        places = sites(bundle.model)
        for place in places:
            place.attention.core = core
        seen = []
        with attention.watched(places, lambda place, weights, seen=seen: seen.append(weights)):
            question.logits(bundle.model, asked)
        found.append(torch.stack(seen))
    torch.testing.assert_close(found[0], found[1])
    assert not found[0].triu(1).any()
    torch.testing.assert_close(found[0].sum(-1), torch.ones_like(found[0].sum(-1)))


def test_the_core_comes_back_after_an_error(make):
    bundle = make("gpt")
    places = sites(bundle.model)
    cores = [place.attention.core for place in places]

    def broken(place, weights):
        raise ArithmeticError

    asked = question.ask(bundle, "明月", None)
    with pytest.raises(ArithmeticError), attention.watched(places, broken):
        question.logits(bundle.model, asked)
    assert [place.attention.core for place in places] == cores


class Buffered(nn.Module):
    """A core with a buffer, as random features have."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("features", torch.ones(3))

    def forward(self, *arguments):
        return eager(*arguments)


class Shared(nn.Module):
    """Two blocks called five times: 0 1 0 0 1."""

    def __init__(self) -> None:
        super().__init__()
        projection = Grouped(dim=H * K, heads=H, kv_heads=G, head_dim=K)
        self.stack = Stack(
            [Block(attention=Residual(sublayer=Attention(projection, core=Buffered()))) for _ in range(2)],
            order=(0, 1, 0, 0, 1),
        )

    def forward(self, x):
        return self.stack(x, Context().open(x.shape[:2], x.device))


def test_shared_blocks_are_told_apart_and_cores_that_are_modules_stay_where_they_are():
    model, x = Shared(), torch.randn(1, T, H * K, generator=torch.Generator().manual_seed(1))
    keys = list(model.state_dict())
    everything, third = [], []
    with attention.watched(sites(model), lambda place, weights: everything.append((place.layer, weights))):
        model(x)
    with attention.watched(sites(model, [3]), lambda place, weights: third.append((place.layer, weights))):
        model(x)
    assert [layer for layer, _ in everything] == [0, 1, 2, 3, 4]
    assert [layer for layer, _ in third] == [3]
    torch.testing.assert_close(third[0][1], everything[3][1])
    assert list(model.state_dict()) == keys
    assert "forward" not in vars(model.stack.blocks[0].attention.core)


@pytest.mark.parametrize("kind", ["gpt", "grouped", "classifier", "translator"])
def test_the_effect_of_a_head_is_that_of_zeroing_its_part_of_the_output_matrix(make, kind):
    bundle = make(kind)
    bundle.model.double()
    asked = question.ask(bundle, "举头望明月", {"classifier": "好"}.get(kind, "低头"))
    places = sites(bundle.model)
    found = ablation.effects(bundle.model, asked, {place: range(place.heads) for place in places})
    with torch.no_grad():
        before = question.log_probability(asked, question.logits(bundle.model, asked))
        for place in places:
            head_dim = place.attention.projection.head_dim
            for head in (0, place.heads - 1):
                weight = place.attention.o.weight
                kept = weight.clone()
                weight[:, head * head_dim : (head + 1) * head_dim] = 0.0
                after = question.log_probability(asked, question.logits(bundle.model, asked))
                weight.copy_(kept)
                torch.testing.assert_close(found[place][head], float(after - before))
    assert max(abs(effect) for each in found.values() for effect in each.values()) > 1e-3


def test_many_heads_are_switched_off_in_several_passes(make, monkeypatch):
    bundle = make("gpt")
    asked = question.ask(bundle, "明月光", None)
    places = {place: range(place.heads) for place in sites(bundle.model, [2])}
    whole = ablation.effects(bundle.model, asked, places)
    monkeypatch.setattr(ablation, "AT_ONCE", asked.size * 3)
    counted = []
    parts = ablation.effects(bundle.model, asked, places, counted.append)
    assert counted == [3, 3, 1]
    for place in places:
        assert parts[place] == pytest.approx(whole[place], abs=1e-5)


def test_only_the_core_asked_for_is_changed(make):
    bundle = make("translator")
    one = next(place for place in sites(bundle.model) if place.kind == "cross" and place.layer == 1)
    with around([one], lambda place, core: lambda *arguments: core(*arguments) * 0.0):
        changed = [place for place in sites(bundle.model) if place.attention.core is not fused]
    assert [(place.kind, place.layer) for place in changed] == [("cross", 1)]
    assert list(stacks(bundle.model)) == ["encoder", "decoder"]
