"""What decays, what Muon takes, and that both can be taken up again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_training import Model

from regard.train import optimizers
from regard.train.recipe import OptimizerConfig

CONFIG = OptimizerConfig(weight_decay=0.3)


def parts(model: nn.Module, **changes) -> dict[tuple[float, bool], set[str]]:
    found = optimizers.sort(model, replace(CONFIG, **changes))
    return {(part.decay, part.matrices): set(part.names) for part in found}


def test_norms_biases_and_tables_do_not_decay():
    linear = {"blocks.0.inner.weight", "blocks.1.inner.weight"}
    rest = {f"blocks.{n}.{name}" for n in (0, 1) for name in ("inner.bias", "norm.weight", "norm.bias")}
    assert parts(Model()) == {(0.3, False): linear, (0.0, False): rest | {"embedding.weight"}}


def test_a_pattern_can_make_them_decay():
    assert "embedding.weight" in parts(Model(), decay_also=("embed*",))[0.3, False]


def test_muon_takes_the_matrices_of_the_blocks():
    found = parts(Model(), name="muon")
    assert found[0.3, True] == {"blocks.0.inner.weight", "blocks.1.inner.weight"}
    assert sum(map(len, found.values())) == len(list(Model().parameters()))


def test_decay_shrinks_only_what_decays():
    """With no gradient at all, AdamW's update is the decay alone: weights times 1 − rate · decay."""
    model = Model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.build(model, replace(CONFIG, rate=0.5)).step(0.2)
    for name, parameter in model.named_parameters():
        shrunk = 1 - 0.5 * 0.2 * 0.3 if name.endswith("inner.weight") else 1
        torch.testing.assert_close(parameter.detach(), before[name] * shrunk)


@pytest.mark.parametrize("shape", [(7, 7), (5, 13), (13, 5), (1, 11)])
def test_muon_s_update_is_nearly_orthogonal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = optimizers.orthogonal(matrix)
    values = torch.linalg.svdvals(found)
    assert found.dtype == torch.float32
    assert values.min() > 0.6 and values.max() < 1.3
    # It turns nothing: the singular directions are those of the matrix itself.
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.mT @ found @ right.mT
    torch.testing.assert_close(core, torch.diag(core.diagonal()), atol=2e-4, rtol=0)


def test_muon_by_hand():
    """One step on a matrix that is orthogonal already, times 3: the update is that matrix times near 1."""
    layer = nn.Linear(2, 2, bias=False)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    layer.weight.data = torch.ones(2, 2)
    layer.weight.grad = 3 * turn
    muon = optimizers.Muon([{"params": [layer.weight], "weight_decay": 0.5}], momentum=0.9)
    muon.param_groups[0]["lr"] = 0.1
    muon.step()
    change = layer.weight.detach() - (1 - 0.1 * 0.5)
    size = -(change * turn).sum() / 2
    torch.testing.assert_close(change, -size * turn, atol=1e-6, rtol=0)
    assert 0.7 < size / (0.1 * 0.2 * 2**0.5) < 1.2


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_is_taken_up_exactly(name):
    config = replace(CONFIG, name=name, rate=0.01)

    def steps(model, optimizer, count, first):
        for number in range(count):
            for k, parameter in enumerate(model.parameters()):
                generator = torch.Generator().manual_seed(100 * (first + number) + k)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step(1.0)

    whole = Model()
    steps(whole, optimizers.build(whole, config), 5, 0)

    first = Model()
    optimizer = optimizers.build(first, config)
    assert optimizer.state() == {}
    steps(first, optimizer, 2, 0)
    second = Model(seed=99)
    second.load_state_dict(first.state_dict())
    resumed = optimizers.build(second, config)
    resumed.load({key: value.clone() for key, value in optimizer.state().items()})
    steps(second, resumed, 3, 2)
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
