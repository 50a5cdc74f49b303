"""What an update does: accumulation, clipping, averages, freezing, early stopping, the best kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_training import CONFIG, Model, Task, job, train

from regard.errors import ConfigError, RegardError
from regard.ops.random import Key
from regard.tasks.scores import Result, Score
from regard.train import checkpoint, machine
from regard.train.ema import Average
from regard.train.feed import Place, cut
from regard.train.loop import clip, restore, weights
from regard.train.recipe import BatchConfig, EvaluateConfig, KeepConfig, MachineConfig, OptimizerConfig

PLAIN = OptimizerConfig(rate=0.03, clip=None)


class Dry(Task):
    """Without dropout, whose mask belongs to a micro-batch."""

    def loss(self, model, batch, key):
        return super().loss(model, batch, None)


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_accumulated_is_the_large_batch(tmp_path, parts):
    """Gradients of micro-batches with unlike numbers of targets add up to the batch's own."""
    found = {}
    for accumulate in (1, parts):
        config = replace(CONFIG, batch=BatchConfig(tokens=60, accumulate=accumulate, bucket=False))
        work = job(config, Dry())
        batches = work.feed.batches(Place(0, 2))
        counts = [batch.count for batch in batches]
        assert len(batches) == accumulate
        assert accumulate == 1 or max(counts) > min(counts), "they are to be uneven"
        for batch in batches:
            (work.task.loss(work.model, batch, None) / sum(counts)).backward()
        found[accumulate] = {name: p.grad for name, p in work.model.named_parameters()}
        sent = train(tmp_path / str(accumulate), replace(config, steps=5, optimizer=PLAIN), task=Dry())[1]
        found[accumulate] |= {f"loss {line['step']}": torch.tensor(line["loss"]) for line in sent.updates()}
    for name, wanted in found[1].items():
        torch.testing.assert_close(found[parts][name], wanted, atol=1e-6, rtol=1e-6)


def test_a_batch_is_cut_evenly_and_in_order():
    assert cut([1, 1, 1, 1], 2) == [[0, 1], [2, 3]]
    assert cut([5, 1, 1, 1, 1, 1], 2) == [[0], [1, 2, 3, 4, 5]]
    assert cut([9], 3) == [[], [0], []]
    assert cut([], 3) == [[], [], []]


def test_clipping_by_hand():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip([a, b], 2.5).item() == 5.0
    torch.testing.assert_close(a.grad, torch.tensor([1.5, 0.0]), atol=1e-5, rtol=0)
    assert clip([a, b], None).item() == pytest.approx(2.5, abs=1e-5)
    assert clip([a, b], 3.0).item() == pytest.approx(2.5, abs=1e-5)
    torch.testing.assert_close(b.grad, torch.tensor([2.0]), atol=1e-5, rtol=0)


def test_the_average_by_hand():
    """n-th update: decay min(0.5, (1 + n) / (10 + n)) = 2/11, then 3/12."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(8.0)
    average = Average(model, 0.5)
    model.weight.data.fill_(19.0)
    average.update(model, 1)
    first = 2 / 11 * 8 + 9 / 11 * 19
    assert average.weights["weight"].item() == pytest.approx(first)
    average.update(model, 2)
    second = 3 / 12 * first + 9 / 12 * 19
    assert average.weights["weight"].item() == pytest.approx(second)
    with average.worn(model):
        assert model.weight.item() == pytest.approx(second)
    assert model.weight.item() == 19.0


def test_the_average_is_what_is_scored(tmp_path):
    config = replace(CONFIG, steps=5, average=0.9)
    work, found, _ = train(tmp_path / "run", config)
    last = checkpoint.newest(found.checkpoints, pytest.fail)
    averaged, own = last.tensors("average"), last.tensors("model")
    assert not torch.equal(averaged["embedding.weight"], own["embedding.weight"])
    restore(work.model, {**own, **averaged})
    again = work.score(work.model, lambda done: None)
    assert found.scores()[-1]["held_out"]["nats_per_token"]["value"] == again.primary.value


def test_frozen_parameters_stay(tmp_path):
    before = weights(Model())
    work, _, _ = train(tmp_path / "run", CONFIG, steps=3, freeze=("blocks.0.*", "embedding.*"), average=0.5)
    moved = {name for name, tensor in weights(work.model).items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if name.startswith("blocks.1.")}


@pytest.mark.parametrize(("pattern", "message"), [("blok.*", "matches no parameter"), ("*", "no parameter to train")])
def test_a_pattern_that_freezes_nothing_or_all_is_refused(tmp_path, pattern, message):
    with pytest.raises(RegardError, match=message):
        train(tmp_path / "run", CONFIG, freeze=(pattern,))


class Scored(Task):
    """Scores as it is told."""

    primary = "accuracy"

    def __init__(self, *values: float):
        self.values = list(values)

    def evaluate(self, model, rows, progress=None):
        return Result(name="model", scores=(Score(name="accuracy", value=self.values.pop(0)),), examples=1)


def test_early_stopping_and_the_best(tmp_path):
    config = replace(CONFIG, keep=KeepConfig(every=4, newest=1), evaluate=EvaluateConfig(every=2, patience=2))
    _, found, ended = train(tmp_path / "run", config, task=Scored(0.3, 0.5, 0.5, 0.4, 0.9))
    assert ended == "early" and len(found.updates()) == 8
    last = checkpoint.newest(found.checkpoints, pytest.fail)
    assert (last.step, last.state["best"], last.state["best_step"], last.state["worse"]) == (8, 0.5, 4, 2)
    assert sorted(path.name for path in found.checkpoints.iterdir()) == ["step-00000004", "step-00000008"]


def test_a_score_that_is_no_number_is_never_the_best(tmp_path):
    config = replace(CONFIG, steps=4, evaluate=EvaluateConfig(every=2))
    _, found, _ = train(tmp_path / "run", config, task=Scored(math.nan, 0.1))
    assert checkpoint.newest(found.checkpoints, pytest.fail).state["best_step"] == 4


def test_the_model_is_scored_without_dropout_and_trained_with_it(tmp_path):
    seen = []

    class Watches(Task):
        def loss(self, model, batch, key):
            seen.append((key is None, model.training))
            return super().loss(model, batch, key)

    train(tmp_path / "run", CONFIG, task=Watches(), steps=5)
    assert set(seen) == {(False, True), (True, False)}


class Wide(nn.Module):
    """A block of this library's kind: `forward(x, context)`, a part shared over layers, dropout by key."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(7, 7)
        self.calls = 0

    def forward(self, x, context):
        self.calls += 1
        slope = context.once("slope", context.table.exp)
        keep = context.key.keep(x.shape, 0.5)
        return x + torch.tanh(self.inner(x)) * keep * slope


def test_recomputed_blocks_give_the_same_gradients():
    from dataclasses import dataclass

    from regard.layers import Context

    @dataclass(frozen=True, eq=False, kw_only=True)
    class With(Context):
        table: torch.Tensor

    torch.manual_seed(0)
    model = nn.Module()
    model.blocks = nn.ModuleList([Wide(), Wide()])
    x, table = torch.randn(2, 5, 7, requires_grad=True), torch.randn(7, requires_grad=True)

    def gradients():
        context = With(table=table, key=Key(1))
        y = x
        for block in model.blocks:
            y = block(y, context)
        found = torch.autograd.grad(y.square().sum(), [x, table, *model.parameters()])
        return found, [block.calls for block in model.blocks]

    wanted, calls = gradients()
    assert calls == [1, 1]
    with machine.recomputed(model, True):
        got, calls = gradients()
    assert calls == [3, 3]  # once more forward, and once again backward
    for one, other in zip(wanted, got, strict=True):
        torch.testing.assert_close(other, one)
    assert "forward" not in vars(model.blocks[0])


def test_what_the_machine_lacks_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="no device"):
        machine.resolve(MachineConfig(device="cuda:77"))
    narrow = MachineConfig(device="cpu", precision="bfloat16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(ConfigError, match="bfloat16"):
        machine.resolve(narrow)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": True})
    assert machine.resolve(narrow).precision == "bfloat16"
    found = machine.resolve(MachineConfig())
    assert found.device != "auto" and found.threads == torch.get_num_threads()
