"""Randomness as a value: the same key draws the same, other keys draw otherwise, and no two places share one."""

from __future__ import annotations

import itertools

import pytest
import torch
from core_parts import by_hand, some_tokens, tiny
from torch.testing import assert_close

from regard import layers, models
from regard.layers import Context, Key
from regard.ops.random import Dropout, dropout


def test_a_key_is_a_pure_function_of_its_path():
    assert Key(3).at(5, 7) == Key(3).at(5).at(7)
    torch.manual_seed(1)
    first = Key(3).at(5).keep((7, 11), 0.3)
    torch.randn(13)
    assert torch.equal(Key(3).at(5).keep((7, 11), 0.3), first)
    before = torch.get_rng_state()
    Key(3).keep((7, 11), 0.3)
    assert torch.equal(torch.get_rng_state(), before)  # the global generator is not touched


def test_different_paths_are_different_keys():
    paths = [path for length in range(4) for path in itertools.product(range(-2, 5), repeat=length)]
    seeds = {Key(seed).at(*path).seed for seed in range(3) for path in paths}
    assert len(seeds) == 3 * len(paths)


def test_neighbouring_keys_draw_independently():
    drawn = torch.stack([Key(1).at(step).keep((4099,), 0.5) for step in range(7)]).double()
    correlation = torch.corrcoef(drawn) - torch.eye(7)
    assert correlation.abs().max() < 0.08


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.37, 0.5, 0.9])
def test_the_rate_is_the_rate(rate):
    kept = Key(5).keep((503, 401), rate).double()
    assert kept.mean().item() == pytest.approx(1.0 - rate, abs=0.006)
    assert kept.mean(0).std() < 0.03 and kept.mean(1).std() < 0.03  # evenly over rows and columns


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 4)])
def test_any_shape_can_be_kept(shape):
    assert Key(1).keep(shape, 0.5).shape == shape


def test_dropout_keeps_expectations_and_scales_what_it_keeps():
    x = torch.randn(5, 7)
    outs = torch.stack([Dropout(0.3, Key(2).at(i))(x) for i in range(1009)])
    off = (outs.mean(0) - x) / (outs.std(0) / 1009**0.5)  # in standard errors
    assert off.abs().max() < 4.5
    out = Dropout(0.3, Key(2))(x)
    assert_close(out[out != 0], x[out != 0] / 0.7)


def test_nothing_is_dropped_without_a_key_or_a_rate():
    assert dropout(0.5, None) is None and dropout(0.0, Key(1)) is None
    assert dropout(0.5, Key(1)) == Dropout(0.5, Key(1))


def test_stochastic_depth_drops_whole_sequences():
    x = torch.ones(101, 3, 5)
    out = Dropout(0.4, Key(3)).sequences(x)
    assert all(row.eq(0).all() or row.allclose(torch.tensor(1 / 0.6)) for row in out)
    assert 0.4 < out[:, 0, 0].ne(0).float().mean() < 0.8


def test_stochastic_depth_of_a_packed_row_drops_whole_documents():
    lengths = [2, 3, 1, 5, 7, 1, 2, 2, 3, 4, 1]
    out = Dropout(0.5, Key(3)).sequences(torch.ones(1, sum(lengths), 3), lengths)[0].split(lengths)
    batch = Dropout(0.5, Key(3)).sequences(torch.ones(len(lengths), 1, 3))
    assert [document.ne(0).all().item() for document in out] == batch[:, 0, 0].ne(0).tolist()
    assert all(document.eq(0).all() or document.eq(2).all() for document in out)


def drawn_in(model, call):
    """(key, rate) of every dropout of a pass, in order."""
    seen: list[Dropout] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("__call__", "sequences"):
            before = getattr(Dropout, name)
            patch.setattr(Dropout, name, lambda self, *a, before=before: (seen.append(self), before(self, *a))[1])
        call()
    return [drop.key for drop in seen]


RATES = {"dropout": 0.3}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["bert classify", "gpt2", "gpt2 classify", "qwen3", "vaswani", "by hand rotary"])
def test_no_two_places_of_a_model_share_a_key(name, packed):
    model = tiny(name, **RATES)
    lengths = [5, 3, 3, 7]
    context = Context.packed(lengths, key=Key(11)) if packed else Context(key=Key(11))
    tokens = some_tokens(1, sum(lengths))
    inputs = (tokens, tokens, context, context) if name == "vaswani" else (tokens, context)
    keys = drawn_in(model, lambda: model(*inputs))
    assert len(keys) > 5 and len(set(keys)) == len(keys)


@pytest.mark.parametrize("context", [Context.packed([3, 5], key=Key(11)), Context(key=Key(11))])
def test_encoder_and_decoder_share_no_key_even_where_attention_drops(context):
    model = tiny("vaswani", dropout=0.3)
    for module in model.modules():
        if isinstance(module, layers.Attention):
            module.dropout = 0.3
    keys = drawn_in(model, lambda: model(some_tokens(1, 8), some_tokens(1, 8), context, context))
    assert len(keys) == len(set(keys)) >= 18


@pytest.mark.parametrize("name", ["bert", "gpt2 classify", "qwen3"])
def test_a_pass_is_a_function_of_its_key(name):
    model, tokens = tiny(name, **RATES), some_tokens(3, 7)
    first, again, other = (model(tokens, Context(key=key)) for key in (Key(1), Key(1), Key(2)))
    assert torch.equal(first, again) and not torch.equal(first, other)
    micro = [model(tokens, Context(key=Key(1).at(step).at(number))) for step in range(2) for number in range(2)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(micro, 2))


@pytest.mark.parametrize("name", ["bert classify", "gpt2", "vaswani"])
def test_nothing_is_dropped_in_evaluation(name):
    dropping, plain = tiny(name, dropout=0.5), tiny(name, dropout=0.0)
    tokens = some_tokens(2, 7)
    inputs = (tokens, tokens) if name == "vaswani" else (tokens,)
    assert torch.equal(dropping(*inputs), plain(*inputs))


def test_a_model_in_training_that_got_no_key_still_drops():
    model, tokens = tiny("gpt2", dropout=0.5).train(), some_tokens(2, 7)
    assert not torch.equal(model(tokens), model(tokens))
    torch.manual_seed(3)
    first = model(tokens)
    torch.manual_seed(3)
    assert torch.equal(model(tokens), first)


@torch.no_grad()
def test_dropout_leaves_the_mean_of_a_sublayer():
    attention = by_hand("none", dropout=0.3).stack.blocks[0].attention
    x = torch.randn(1, 5, 14)
    outs = torch.stack([attention(x, Context(key=Key(1).at(i)).open((1, 5), x.device)) for i in range(601)])
    expected = attention(x, Context().open((1, 5), x.device))
    off = (outs.mean(0) - expected) / (outs.std(0) / 601**0.5)  # in standard errors
    assert off.abs().max() < 4.5 and 0.5 < off.std() < 1.5


def test_first_values_depend_on_name_and_key_alone():
    sizes = {"vocab": 31, "context": 11, "dim": 21, "heads": 3}
    shallow, deep = (models.build(models.config("gpt2", sizes | {"depth": depth}), Key(3)) for depth in (1, 2))
    assert torch.equal(shallow.embed.tokens.weight, deep.embed.tokens.weight)
    assert torch.equal(shallow.stack.blocks[0].attention.q.weight, deep.stack.blocks[0].attention.q.weight)
    values = [p for p in deep.parameters() if p.dim() > 1]
    assert len({p.flatten()[0].item() for p in values}) == len(values)
    assert deep.stack.blocks[0].attention.q.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert deep.stack.blocks[0].attention.o.weight.std().item() == pytest.approx(0.01, rel=0.1)
