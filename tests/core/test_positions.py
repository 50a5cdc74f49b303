"""Positions against loops written from their papers, and against the implementations that are compared with."""

from __future__ import annotations

import math

import pytest
import torch
import transformers
from core_parts import DECODERS, some_tokens, tiny
from torch.testing import assert_close
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.t5.modeling_t5 import T5Attention

from regard import layers
from regard.embed import Learned, Sinusoidal
from regard.errors import RegardError
from regard.layers import Context
from regard.layers.places import Places
from regard.models.rope import Rope, position
from regard.ops import rotary

T, S = 5, 7


class Own:
    """What a position may ask of the attention."""

    scale = 0.37


def places(T=T, S=S):
    return Places.count(S - T, T), Places.count(0, S)


def test_sinusoids_are_the_papers():
    made = Sinusoidal(14)(Places.count(3, T))[0]
    for t in range(T):
        for i in range(7):
            angle = (3 + t) / 10_000 ** (2 * i / 14)
            assert made[t, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert made[t, 7 + i].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_odd_widths_have_no_sinusoids():
    for make in (lambda: Sinusoidal(13), lambda: layers.TransformerXLRelative(13, 2, 5)):
        with pytest.raises(RegardError, match="13"):
            make()


def test_learned_positions_are_looked_up_and_end_somewhere():
    learned = Learned(11, 3)
    torch.nn.init.normal_(learned.weight)
    ragged = Places(torch.tensor([[0, 4, 10], [7, -1, -1]]))
    assert torch.equal(learned(ragged)[0], learned.weight[[0, 4, 10]])
    assert torch.equal(learned(Places.count(8, 3))[0], learned.weight[8:])
    for beyond in (Places.count(9, 3), Places(torch.tensor([[0, 11]]))):
        with pytest.raises(RegardError, match=r"12.*11"):
            learned(beyond)


def test_positions_beyond_an_offset_are_refused():
    learned = Learned(5, 3, offset=2)
    torch.nn.init.normal_(learned.weight)
    assert learned.weight.shape == (7, 3)
    assert torch.equal(learned(Places.count(0, 5))[0], learned.weight[2:])
    with pytest.raises(RegardError, match="5"):
        learned(Places.count(0, 6))


@pytest.mark.parametrize("size", [10, 4])
def test_rotary_turns_each_pair_by_its_angle(size):
    x, at = torch.randn(2, 3, T, 10), torch.tensor([[0, 1, 2, 3, 4], [9, 2, 5, 0, 1]])
    turned = layers.Rotary(rotary.frequencies(size, 100.0)).prepare(Places(at), Places(at)).rotate(x)
    expected = x.clone()
    for b in range(2):
        for t in range(T):
            for i in range(size // 2):
                angle = at[b, t].item() * 100.0 ** (-2 * i / size)
                one, other = x[b, :, t, i], x[b, :, t, i + size // 2]
                expected[b, :, t, i] = one * math.cos(angle) - other * math.sin(angle)
                expected[b, :, t, i + size // 2] = one * math.sin(angle) + other * math.cos(angle)
    assert_close(turned, expected)


def test_rotated_products_depend_on_the_distance_alone():
    position = layers.Rotary(rotary.frequencies(10, 100.0))
    q, k = torch.randn(1, 1, 1, 10), torch.randn(1, 1, 1, 10)

    def product(i, j):
        turn = [position.prepare(Places.count(n, 1), Places.count(n, 1)).rotate for n in (i, j)]
        return (turn[0](q) * turn[1](k)).sum()

    assert_close(product(3, 1), product(103, 101))
    assert not torch.isclose(product(3, 1), product(3, 2))


def test_angles_are_not_rounded_with_the_model():
    position = layers.Rotary(rotary.frequencies(10, 100.0)).to(torch.bfloat16)
    assert position.angles(torch.device("cpu")).dtype == torch.float32
    assert not list(position.buffers()) and not position.state_dict()
    x = torch.randn(1, 1, 1, 10)
    far = position.prepare(Places.count(30_001, 1), Places.count(30_001, 1)).rotate(x)
    assert_close(far[..., 0], (x[..., 0] * math.cos(30_001) - x[..., 5] * math.sin(30_001)), atol=2e-3, rtol=0)


ROPES = {
    "linear": ({"rope_type": "linear", "factor": 3.0}, Rope(scaling="linear", factor=3.0)),
    "yarn": (
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 97},
        Rope(scaling="yarn", factor=4.0, original=97),
    ),
    "yarn, all said": (
        {"rope_type": "yarn", "factor": 7.0, "original_max_position_embeddings": 1021, "beta_fast": 13.0}
        | {"beta_slow": 2.0, "attention_factor": 1.3},
        Rope(scaling="yarn", factor=7.0, original=1021, high=13.0, low=2.0, temperature=1.3),
    ),
    "llama3": (
        {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 211}
        | {"low_freq_factor": 1.0, "high_freq_factor": 4.0},
        Rope(scaling="llama3", factor=8.0, original=211, low=1.0, high=4.0),
    ),
}


@pytest.mark.parametrize("name", ROPES)
@pytest.mark.parametrize("size", [10, 46, 128])
def test_scaled_angles_are_those_of_transformers(name, size):
    theirs, ours = ROPES[name]
    config = transformers.Qwen3Config(head_dim=size, rope_parameters={"rope_theta": 10_000.0, **theirs})
    inverse, factor = ROPE_INIT_FUNCTIONS[theirs["rope_type"]](config, "cpu")
    made = position(ours, size)
    assert_close(made.angles(torch.device("cpu")), inverse)
    assert made.temperature == pytest.approx(factor)


def test_ntk_stretches_the_slowest_pair_and_keeps_the_fastest():
    """A base of ``base * factor ** (d / (d - 2))``; transformers' dynamic kind is the same at ``factor`` times the
    original length, but for its own reckoning of the factor."""
    plain, stretched = rotary.frequencies(10, 100.0), rotary.ntk(10, 100.0, 5.0)
    assert_close(stretched[0], plain[0])
    assert_close(stretched[-1], plain[-1] / 5.0)
    config = transformers.Qwen3Config(head_dim=10, max_position_embeddings=97)
    config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 5.0}
    config.rope_parameters["original_max_position_embeddings"] = 97
    dynamic, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, "cpu", seq_len=97)
    assert_close(rotary.ntk(10, 100.0, 1.0), dynamic)
    dynamic, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, "cpu", seq_len=2 * 97)
    assert_close(rotary.ntk(10, 100.0, 5.0 * 2 - 4), dynamic)


# From the authors' code (attention_with_linear_biases, get_slopes).
SLOPES = {
    1: [0.00390625],
    4: [0.25, 0.0625, 0.015625, 0.00390625],
    6: [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125],
    8: [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625],
    12: [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]
    + [0.7071067811865476, 0.35355339059327384, 0.17677669529663692, 0.08838834764831849],
}


@pytest.mark.parametrize("heads", SLOPES)
def test_alibi_slopes_are_the_published_ones(heads):
    assert layers.Alibi(heads).slopes() == pytest.approx(SLOPES[heads])
    bias = layers.Alibi(heads).prepare(*places()).bias(torch.zeros(()), torch.zeros(()), Own())
    for h, slope in enumerate(SLOPES[heads]):
        for t in range(T):
            for s in range(S):
                assert bias[0, h, t, s].item() == pytest.approx(-slope * abs(S - T + t - s))


@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (14, 37), (6, 11)])
def test_buckets_are_those_of_t5(buckets, furthest, both_sides):
    ahead = torch.arange(-211, 212)
    ours = layers.Buckets(3, buckets=buckets, furthest=furthest, both_sides=both_sides).bucket(ahead)
    theirs = T5Attention._relative_position_bucket(ahead, both_sides, buckets, furthest)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("both_sides", [False, True])
def test_a_buckets_bias_is_that_of_t5(both_sides):
    config = transformers.T5Config(d_model=14, d_kv=5, num_heads=3, is_decoder=not both_sides)
    config.relative_attention_num_buckets, config.relative_attention_max_distance = 7 * 2, 11
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = layers.Buckets(3, buckets=14, furthest=11, both_sides=both_sides)
    with torch.no_grad():
        ours.weight.copy_(theirs.relative_attention_bias.weight.normal_())
        bias = ours.prepare(*places(S, S)).bias(torch.zeros(()), torch.zeros(()), Own())
        assert_close(bias, theirs.compute_bias(S, S))


def test_shaw_adds_a_product_with_each_distances_vector():
    made = layers.ShawRelative(10, furthest=2)
    torch.nn.init.normal_(made.keys)
    q = torch.randn(2, 3, T, 10)
    bias = made.prepare(*places()).bias(q, torch.zeros(()), Own())
    for t in range(T):
        for s in range(S):
            distance = max(-2, min(2, s - (S - T + t)))  # clip(j - i, k), equation 4
            assert_close(bias[:, :, t, s], (q[:, :, t] @ made.keys[distance + 2]) * Own.scale)


def transformer_xl():
    made = layers.TransformerXLRelative(14, 6, 10)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return made, torch.randn(2, 6, T, 10), torch.randn(2, 2, S, 10)


def test_transformer_xl_adds_the_terms_of_its_paper():
    made, q, k = transformer_xl()
    bias = made.prepare(*places()).bias(q, k, Own())
    for t in range(T):
        for s in range(S):
            distance = S - T + t - s
            angles = [distance / 10_000 ** (2 * i / 14) for i in range(7)]
            r = torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
            r = (made.distance.weight @ r).view(6, 10)  # W_{k,R} R_{i-j}
            b = (q[:, :, t] * r).sum(-1)
            c = (made.u * k[:, :, s].repeat_interleave(3, 1)).sum(-1)
            d = (made.v * r).sum(-1)
            assert_close(bias[:, :, t, s], (b + c + d) * Own.scale)


def test_transformer_xl_equals_its_relative_shift():
    """The authors reckon all distances for each query and shift the rows; appendix B."""
    made, q, k = transformer_xl()
    q, k = torch.randn(2, 6, S, 10), torch.randn(2, 6, S, 10)
    bias = made.prepare(*places(S, S)).bias(q, k, Own())
    back = torch.arange(S - 1, -1, -1.0)
    angles = back.unsqueeze(-1) * rotary.frequencies(14, 10_000.0)
    r = made.distance(torch.cat((angles.sin(), angles.cos()), -1)).view(S, 6, 10).permute(1, 2, 0)
    unshifted = (q + made.v.unsqueeze(1)) @ r  # (B, H, T, S)
    padding = torch.zeros(2, 6, S, 1)
    shifted = torch.cat((padding, unshifted), -1).view(2, 6, S + 1, S)[:, :, 1:]
    expected = (shifted + (k @ made.u.unsqueeze(-1)).transpose(-1, -2)) * Own.scale
    past = torch.ones(S, S, dtype=torch.bool).tril()
    assert_close(bias[..., past], expected[..., past])


@pytest.mark.parametrize("name", [n for n in DECODERS if n.startswith("by hand") and "none" not in n] + ["qwen3"])
@torch.no_grad()
def test_relative_positions_do_not_care_where_a_text_begins(name):
    model, tokens = tiny(name), some_tokens(2, 11)
    moved = torch.stack([torch.arange(11) + 17, torch.arange(11) + 3])
    assert_close(model.hidden(tokens, Context(positions=moved)), model.hidden(tokens), atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [n for n in DECODERS if "none" not in n])
@torch.no_grad()
def test_order_matters(name):
    model, tokens = tiny(name), torch.tensor([[5, 9, 4, 11, 7]])
    swapped = tokens[:, [1, 0, 2, 3, 4]]
    assert not torch.allclose(model.hidden(tokens)[0, -1], model.hidden(swapped)[0, -1], atol=1e-4)


@torch.no_grad()
def test_without_positions_a_text_is_a_set():
    model, tokens = tiny("by hand none", causal=False), torch.tensor([[5, 9, 4, 11, 7]])
    order = [3, 0, 4, 2, 1]
    assert_close(model.hidden(tokens[:, order]), model.hidden(tokens)[:, order])


@pytest.mark.parametrize("name", ["by hand rotary", "by hand alibi", "by hand buckets", "by hand transformer-xl"])
def test_what_depends_on_places_alone_is_made_once_for_all_layers(name):
    model = tiny(name)
    context = Context().open((2, 7), torch.device("cpu"), model.mask)
    prepared = []
    held = model.stack.blocks[0].attention.position
    before, held.prepare = held.prepare, lambda q, k: prepared.append(1) or before(q, k)
    model.stack(model.embed(some_tokens(2, 7), context), context)
    assert len(prepared) == 2  # to turn q and k, and to bias their scores
