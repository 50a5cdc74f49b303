"""What the family table cannot show: texts past LongRoPE's original context, the load of experts, layouts by hand."""

from __future__ import annotations

import pytest
import torch
import transformers
from family_rows_decoders import DEEPSEEK_V3, MIXTRAL, PHI3, QWEN3
from family_twins import Batch, batch, randomised, read, some_tokens
from torch.testing import assert_close

from regard.errors import BadFileError, RegardError
from regard.layers import Context, Key
from regard.models import deepseek_v3, qwen3
from regard.ops.routing import load_balance
from regard.tasks.base import Sample, collate
from regard.tasks.causal_lm import CausalLMTask
from regard.weights import folder as files
from regard.weights import table
from regard.weights.layouts import ByHead, Interleaved, stacked

LONG = {**PHI3.config, **PHI3.variants["long"], "original_max_position_embeddings": 11}


@pytest.fixture(scope="module")
def phi3(tmp_path_factory):
    return made(transformers.Phi3ForCausalLM(transformers.Phi3Config(**LONG)), PHI3, tmp_path_factory.mktemp("phi3"))


def made(reference, row, folder):
    randomised(reference, row).save_pretrained(folder)
    return reference, read(folder)[0]


@pytest.mark.parametrize("length", [11, 12, 19])
def test_long_texts_are_turned_by_the_long_factors(phi3, length):
    reference, model = phi3
    tokens = some_tokens(2, length)
    with torch.no_grad():
        assert_close(model(tokens), reference(tokens).logits)


DYNAMIC = {**QWEN3.config, "max_position_embeddings": 11,
           "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.5}}  # fmt: skip


@pytest.mark.parametrize("length", [7, 11, 12, 16, 33])
def test_the_base_grows_with_a_text_beyond_the_context(length, tmp_path):
    """Each length by a reference of its own: one that has read a longer text keeps that one's angles."""
    reference, model = made(transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**DYNAMIC)), QWEN3, tmp_path)
    tokens = some_tokens(2, length)
    with torch.no_grad():
        assert_close(model(tokens), reference(tokens).logits)
    assert model.config.attention.rope.scaling == "dynamic"
    again = qwen3.read(qwen3.write(model.config), "")
    assert again == model.config
    with torch.no_grad():
        cache = model.cache()
        first = model(tokens[:, :6], Context(cache=cache))
        assert_close(first, model(tokens[:, :6]))
        if length <= 11:
            assert_close(model(tokens[:, 6:], Context(cache=cache)), model(tokens)[:, 6:])
        else:
            with pytest.raises(RegardError, match="more than 11 tokens"):
                model(tokens[:, 6:], Context(cache=cache))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_text_beside_a_longer_one_keeps_its_base(side, tmp_path):
    _, model = made(transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**DYNAMIC)), QWEN3, tmp_path)
    given = batch([19, 13, 7], side)
    with torch.no_grad():
        together = model(given.tokens, given.context)
        packed = model(given.tokens[given.real].unsqueeze(0), Context.packed([19, 13, 7]))[0]
        for row, part in enumerate(packed.split([19, 13, 7])):
            alone = model(given.tokens[row, given.real[row]].unsqueeze(0))[0]
            assert_close(together[row, given.real[row]], alone)
            assert_close(part, alone)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_short_text_beside_a_long_one_keeps_its_factors(phi3, side):
    _, model = phi3
    given = batch([19, 7], side)
    with torch.no_grad():
        together = model(given.tokens, given.context)
        packed = model(given.tokens[given.real].unsqueeze(0), Context.packed([19, 7]))[0]
        for row, part in enumerate(packed.split([19, 7])):
            alone = model(given.tokens[row, given.real[row]].unsqueeze(0))[0]
            assert_close(together[row, given.real[row]], alone)
            assert_close(part, alone)


def test_a_cache_does_not_grow_past_the_original_context(phi3):
    _, model = phi3
    tokens = some_tokens(1, 19)
    with torch.no_grad():
        cache = model.cache()
        model(tokens[:, :9], Context(cache=cache))
        model(tokens[:, 9:11], Context(cache=cache))
        with pytest.raises(RegardError, match="11 tokens"):
            model(tokens[:, 11:12], Context(cache=cache))
        cache = model.cache()
        pieces = [model(piece, Context(cache=cache)) for piece in tokens.split([13, 1, 5], 1)]
        assert_close(torch.cat(pieces, 1), model(tokens), atol=5e-5, rtol=1e-5)


def test_the_load_of_experts_is_the_references(tmp_path):
    config = transformers.MixtralConfig(**MIXTRAL.config)
    config._experts_implementation = "eager"
    reference, model = made(transformers.MixtralForCausalLM(config), MIXTRAL, tmp_path)
    given = batch([19, 11])
    side: dict = {}
    with torch.no_grad():
        model(given.tokens, Context(positions=given.positions, side=side))
        mask = given.real.long()
        expected = reference(given.tokens, attention_mask=mask, output_router_logits=True, labels=given.tokens)
    assert set(side) == {0, 1} and all(len(one.chosen) == 30 for one in side.values())
    found = load_balance([one.chosen for one in side.values()], [one.shares for one in side.values()])
    assert_close(found, expected.aux_loss)


def test_training_adds_the_load_of_experts(tmp_path):
    config = transformers.MixtralConfig(**MIXTRAL.config, router_aux_loss_coef=0.3)
    config._experts_implementation = "eager"
    _, model = made(transformers.MixtralForCausalLM(config), MIXTRAL, tmp_path)
    samples = [Sample(tokens=some.numpy(), labels=some.roll(-1).numpy()) for some in some_tokens(2, 7)]
    task, given = object.__new__(CausalLMTask), collate(samples, [0, 1])
    side: dict = {}
    hidden = model.hidden(given.tokens, Context.packed(given.lengths, side=side))[0]
    load = load_balance([one.chosen for one in side.values()], [one.shares for one in side.values()])
    expected = model.head.loss(hidden, given.labels) + 14 * 0.3 * load
    assert_close(task.loss(model, given, Key(0)), expected)
    assert_close(task.loss(model, given, None), model.head.loss(hidden, given.labels))
    assert load.requires_grad and not torch.equal(model.head.loss(hidden, given.labels), expected)


def test_padding_is_not_routed_and_what_stands_there_has_no_gradient(tmp_path):
    config = transformers.MixtralConfig(**MIXTRAL.config)
    config._experts_implementation = "eager"
    _, model = made(transformers.MixtralForCausalLM(config), MIXTRAL, tmp_path)
    given = batch([5, 2])
    side: dict = {}
    seen: dict = {}
    model.stack.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0].requires_grad_()))
    hidden = model.hidden(given.tokens, Context(positions=given.positions, side=side))
    (gradient,) = torch.autograd.grad(hidden[given.real].square().sum(), seen["x"])
    assert all(len(one.chosen) == 7 for one in side.values())
    assert gradient[~given.real].eq(0).all() and gradient[given.real].ne(0).any(-1).all()


def test_a_latent_cache_holds_the_narrow_vectors_alone(tmp_path):
    config = transformers.DeepseekV3Config(**DEEPSEEK_V3.config)
    config._experts_implementation = "eager"
    _, model = made(transformers.DeepseekV3ForCausalLM(config), DEEPSEEK_V3, tmp_path)
    cache = model.cache()
    with torch.no_grad():
        model(some_tokens(2, 5), Context(cache=cache))
    sizes = [tuple(state.shape) for state in cache.layers[0].states[0]]
    assert sizes == [(2, 1, 5, 7), (2, 1, 5, 6)]


def test_the_layer_for_guessing_ahead_is_left_out(tmp_path):
    config = transformers.DeepseekV3Config(**DEEPSEEK_V3.config)
    config._experts_implementation = "eager"
    _, model = made(transformers.DeepseekV3ForCausalLM(config), DEEPSEEK_V3, tmp_path)
    tensors = table.write(deepseek_v3.TABLE, model)
    more = {name.replace("layers.1.", "layers.2."): t.clone() for name, t in tensors.items() if "layers.1." in name}
    files.write(tmp_path, tensors | more)
    table.read(deepseek_v3.TABLE, files.Folder(tmp_path), model, "here")
    files.write(tmp_path, tensors | {"model.layers.3.mlp.gate.weight": torch.zeros(2, 3)})
    with pytest.raises(BadFileError, match=r"layers\.3"):
        table.read(deepseek_v3.TABLE, files.Folder(tmp_path), model, "here")


def test_rows_that_take_turns_by_head():
    q, k, v = (torch.arange(6) + 10 * part for part in (1, 2, 3))
    stored = torch.tensor([10, 11, 12, 20, 21, 22, 30, 31, 32, 13, 14, 15, 23, 24, 25, 33, 34, 35])
    assert torch.equal(ByHead(2).theirs([q, k, v])[0], stored)
    assert all(map(torch.equal, ByHead(2).ours([stored], [(6,)] * 3), (q, k, v)))


def test_rows_that_take_turns_by_group_of_heads():
    q, k, v = torch.arange(8), torch.arange(10, 14), torch.arange(20, 24)
    stored = torch.tensor([0, 1, 2, 3, 10, 11, 20, 21, 4, 5, 6, 7, 12, 13, 22, 23])
    assert torch.equal(ByHead(2).theirs([q, k, v])[0], stored)
    assert all(map(torch.equal, ByHead(2).ours([stored], [(8,), (4,), (4,)]), (q, k, v)))


def test_neighbours_that_are_rotated_become_halves():
    op, stored = Interleaved(heads=2, size=4, start=1), torch.arange(12)
    ours = torch.tensor([0, 1, 3, 2, 4, 5, 6, 7, 9, 8, 10, 11])
    assert torch.equal(op.ours([stored], [(12,)])[0], ours)
    assert torch.equal(op.theirs([ours])[0], stored)


def test_experts_are_stacked():
    parts = [torch.full((2, 3), float(n)) for n in range(5)]
    (whole,) = stacked.ours(parts, [(5, 2, 3)])
    assert whole.shape == (5, 2, 3) and all(map(torch.equal, stacked.theirs([whole]), parts))


def test_a_batch_by_hand_is_what_it_says():
    given = batch([3, 1], "left")
    assert isinstance(given, Batch) and given.positions.tolist() == [[0, 1, 2], [-1, -1, 0]]
