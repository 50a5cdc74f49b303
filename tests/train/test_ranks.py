"""Many processes train as one does: the same data, the same losses, the same weights, and nobody waits for the dead."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_ranks
from toy_ranks import begin, end, run_on, train_on
from toy_training import CONFIG, Task, job, rows, train

from regard.errors import ConfigError
from regard.ops.random import Key
from regard.train import checkpoint, ranks
from regard.train.feed import Feed, Place, ahead
from regard.train.ranks import ALONE, Ranks
from regard.train.recipe import BatchConfig, EvaluateConfig, KeepConfig, MachineConfig, OptimizerConfig
from regard.train.run import Run

# torch.distributed is there on Windows too, but FSDP2 and signals to one process are not what they are here.
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes of one training are tested on POSIX")

SHARED = replace(CONFIG, steps=14, batch=BatchConfig(tokens=41, accumulate=4), average=0.8)


def on(shard: str) -> MachineConfig:
    return replace(CONFIG.machine, shard=shard)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same training by one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(folder, SHARED)
    return folder


def tensors(folder: Path, name: str, step: int | None = None) -> dict[str, torch.Tensor]:
    found = checkpoint.newest(Run(folder).checkpoints, pytest.fail)
    assert found is not None and step in (None, found.step)
    return found.tensors(name)


def assert_the_same(one: Path, other: Path, *, after: int = 0) -> None:
    """Losses from step `after` on within 1e-6, counts and order equal, and so what the training came to."""
    left, right = Run(one).updates(), Run(other).updates()
    assert [line["step"] for line in left] == [line["step"] for line in right]
    for a, b in zip(left[after:], right[after:], strict=True):
        assert (a["targets"], a["tokens"], a["epoch"], a["rate"]) == (b["targets"], b["tokens"], b["epoch"], b["rate"])
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-6) and b["gradient"] == pytest.approx(
            a["gradient"], rel=1e-5
        )
    for name in ("model", "average"):
        wanted = tensors(one, name)
        for key, tensor in tensors(other, name).items():
            torch.testing.assert_close(tensor, wanted[key], rtol=1e-5, atol=2e-6, msg=lambda m, key=key: f"{key}: {m}")
    scores = [[line["held_out"]["nats_per_token"]["value"] for line in Run(f).scores()] for f in (one, other)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-6)


# --------------------------------------------------------------------------------------------------------- as one does


@pytest.mark.parametrize("shard", ["replicate", "full"])
@pytest.mark.parametrize("count", [2, 4])
def test_ranks_train_as_one_process_does(alone, tmp_path, shard, count):
    """With dropout, uneven micro-batches, the running average and clipping: a recipe means one training."""
    run_on(count, train_on, tmp_path / "run", replace(SHARED, machine=on(shard)))
    assert_the_same(alone, tmp_path / "run")
    assert [line["event"] for line in Run(tmp_path / "run").history()] == []  # nobody wrote twice


@pytest.mark.parametrize("shard", ["replicate", "full"])
def test_muon_of_divided_matrices(tmp_path, shard):
    config = replace(SHARED, steps=6, optimizer=OptimizerConfig(name="muon", rate=0.03), machine=on(shard))
    train(tmp_path / "one", replace(config, machine=CONFIG.machine))
    run_on(2, train_on, tmp_path / "two", config)
    assert_the_same(tmp_path / "one", tmp_path / "two")


class Dry(Task):
    """Without dropout."""

    def loss(self, model, batch, key):
        return super().loss(model, batch, None)


def test_one_batch_however_it_is_cut(tmp_path):
    """1 x 1, 1 x 4, 2 ranks x 2 micro-batches with unlike numbers of targets."""
    config = replace(SHARED, steps=5)
    for name, parts in (("large", 1), ("cut", 4)):
        train(tmp_path / name, replace(config, batch=replace(config.batch, accumulate=parts)), task=Dry())
    counts = [{batch.count for batch in job(config).feed.batches(Place(0, number))} for number in range(5)]
    assert any(len(each) > 1 for each in counts), "they are to be uneven"
    run_on(2, train_on, tmp_path / "ranks", config, Dry())
    assert_the_same(tmp_path / "large", tmp_path / "cut")
    assert_the_same(tmp_path / "large", tmp_path / "ranks")


@pytest.mark.parametrize("shard", ["replicate", "full"])
def test_a_rank_with_nothing_to_do(tmp_path, shard):
    """Batches of one or two examples for four ranks: who has none adds nothing, and nobody waits for ever."""
    config = replace(SHARED, steps=6, batch=BatchConfig(tokens=12, accumulate=4), evaluate=EvaluateConfig(every=0))
    assert any(None in [batch for _, batch in job(config).feed.parts(Place(0, n), range(4))] for n in range(6))
    train(tmp_path / "one", config)
    run_on(4, train_on, tmp_path / "four", replace(config, machine=on(shard)))
    assert_the_same(tmp_path / "one", tmp_path / "four")


def test_a_parameter_that_nothing_uses(tmp_path):
    """It gets no gradient on one process, so it must not decay on two."""
    config = replace(SHARED, steps=3, average=None)
    run_on(2, _with_idle, tmp_path / "two", config)
    weight = tensors(tmp_path / "two", "model")["idle.weight"]
    assert torch.equal(weight, torch.ones(3, 3))


def _with_idle(ranks: Ranks, folder: Path, config) -> int:
    import toy_training

    class Model(toy_training.Model):
        def __init__(self):
            super().__init__()
            self.idle = torch.nn.Linear(3, 3, bias=False)
            torch.nn.init.ones_(self.idle.weight)

    toy_training.Model = Model
    return train_on(ranks, folder, config)


# --------------------------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_order_depends_on_neither_workers_nor_ranks(workers, count):
    def feed() -> Feed:
        return Feed(Task(), rows(), BatchConfig(tokens=41, accumulate=4), seed=3)

    def seen(batches) -> list:
        return [(batch.ids, batch.tokens.tolist()) for batch in batches if batch is not None]

    plain, place, places = feed(), Place(), []
    while place.epoch < 2:
        places.append(place)
        place = plain.after(place)
    wanted = [seen(plain.batches(place)) for place in places]
    found: list[list] = [[] for _ in places]
    for number in range(count):
        numbers = Ranks(number, count).share(4)
        with ahead(feed(), numbers, workers) as parts:
            for at, place in enumerate(places):
                here = parts(place)
                assert [n for n, _ in here] == list(numbers)
                found[at] += seen(batch for _, batch in here)
    assert found == wanted


def test_workers_change_no_bit(tmp_path):
    for workers in (0, 3):
        train(tmp_path / str(workers), replace(SHARED, machine=replace(CONFIG.machine, workers=workers)))
    for name in ("model", "optimizer", "average"):
        one, other = tensors(tmp_path / "0", name), tensors(tmp_path / "3", name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_what_a_worker_meets_is_told():
    class Broken(Task):
        def collate(self, samples, ids):
            raise ValueError("this one")

    feed = Feed(Broken(), rows(), BatchConfig(tokens=41), seed=3)
    with ahead(feed, range(1), 2) as parts, pytest.raises(ValueError, match="this one"):
        parts(Place())


def test_each_micro_batch_has_a_key_of_its_own_wherever_it_runs():
    keys = [Key(1).at(0).at(part) for number in range(4) for part in Ranks(number, 4).share(8)]
    assert keys == [Key(1).at(0).at(part) for part in range(8)] and len(set(keys)) == 8


def test_ranks_that_cannot_share_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"3 processes cannot share the 4 micro-batches.*accumulate=6"):
        Ranks(0, 3).check(BatchConfig(accumulate=4))
    assert Ranks(0, 4).fit(BatchConfig(accumulate=1)).accumulate == 4
    assert Ranks(0, 4).fit(BatchConfig(accumulate=9)).accumulate == 12
    assert ALONE.fit(BatchConfig(accumulate=5)) == BatchConfig(accumulate=5)


# -------------------------------------------------------------------------------------------------------- what is said


def test_what_ranks_say_to_each_other(tmp_path):
    run_on(3, toy_ranks.say_things, tmp_path)
    for number in range(3):
        said = json.loads((tmp_path / f"{number}.json").read_text())
        assert said["told"] == 7 and said["sum"] == [3, 7.5] and said["any"] == [False, True, True]
        assert said["handed"] == np.arange(6).reshape(2, 3).tolist() and said["gathered"] == ["", "x", "xx"]
        assert said["led"] == 3


def test_those_started_again_do_not_meet_the_dead():
    """torchrun's store outlives a restart, with the addresses of those that died in it."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with ThreadPoolExecutor(3) as pool:
        for restart in range(3):

            def arrive(number: int, restart: int = restart) -> list[str]:
                time.sleep(0.1 * (number + restart) % 0.3)
                client = torch.distributed.TCPStore("127.0.0.1", store.port, is_master=False)
                met = ranks._met(client, number, 3)
                met.set(f"address of {number}", str(restart))
                return [met.get(f"address of {other}").decode() for other in range(3)]

            assert list(pool.map(arrive, range(3))) == [[str(restart)] * 3] * 3


@pytest.mark.parametrize("where", [0, 1])
def test_a_failure_of_one_is_one_of_all(tmp_path, where):
    run_on(2, toy_ranks.fail_somewhere, tmp_path, where)
    heard = [(tmp_path / f"{number}.txt").read_text() for number in range(2)]
    assert heard[where] == "OSError 5.0" and heard[1 - where] == "RankLost 5.0"


def test_weights_that_went_apart_are_noticed(tmp_path):
    run_on(2, toy_ranks.go_apart, tmp_path)
    assert (tmp_path / "1.txt").read_text() == "ranks.apart" and not any(tmp_path.glob("checkpoints/step-*"))


@pytest.mark.parametrize("how", ["raised", "caused", "ended"])
def test_the_engine_is_gone_before_the_group_is(tmp_path, how):
    """Whoever of the two dies last stops gloo's thread; the engine would hold Python's lock meanwhile, and hang."""
    codes = end(begin(2, toy_ranks.leave, tmp_path, how))
    assert codes == ([0, 0] if how == "ended" else [1, 1])
    assert [(tmp_path / f"{number}.txt").read_text() for number in range(2)] == ["engine gone: True"] * 2


# ----------------------------------------------------------------------------------------------------- save and resume


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
def test_saved_on_two_and_taken_up_on_more_or_fewer(tmp_path, count):
    """FSDP2: what is gathered is what was saved, to the bit, and the next twenty losses are those of who went on."""
    config = replace(SHARED, steps=9, keep=KeepConfig(every=9, newest=9), machine=on("full"))
    run_on(2, train_on, tmp_path / "run", config)
    saved = checkpoint.newest(Run(tmp_path / "run").checkpoints, pytest.fail)
    assert saved.step == 9 and "model-00002-of-00002.safetensors" in saved.files
    assert not any(file == "model.safetensors" for file in saved.files)

    run_on(count, toy_ranks.save_again, tmp_path / "run", config, tmp_path / "again")
    again = checkpoint.newest(Run(tmp_path / "again").checkpoints, pytest.fail)
    for name in ("model", "optimizer", "average"):
        wanted, found = saved.tensors(name), again.tensors(name)
        assert wanted.keys() == found.keys() and wanted
        assert all(torch.equal(wanted[key], found[key]) for key in wanted), name

    shutil.copytree(tmp_path / "run", tmp_path / "two")
    longer = replace(config, steps=29)
    run_on(2, train_on, tmp_path / "two", longer)
    run_on(count, train_on, tmp_path / "run", longer)
    assert_the_same(tmp_path / "two", tmp_path / "run", after=9)


def test_each_holds_its_rows_only(tmp_path):
    from safetensors.torch import load_file

    config = replace(SHARED, machine=on("full"))
    run_on(2, toy_ranks.parts_of, tmp_path, config)
    held = [load_file(tmp_path / f"held-{number}.safetensors") for number in range(2)]
    whole = dict(job(config).model.named_parameters())
    for name, parameter in whole.items():
        assert held[0][name].shape[0] + held[1][name].shape[0] == parameter.shape[0] > held[0][name].shape[0]
        assert torch.equal(torch.cat([held[0][name], held[1][name]]), parameter)


@pytest.mark.parametrize("file", ["model-00002-of-00002.safetensors", "optimizer-00001-of-00002.safetensors"])
def test_a_damaged_part_is_named_and_the_checkpoint_before_it_is_used(tmp_path, file):
    config = replace(SHARED, steps=9, keep=KeepConfig(every=3, newest=3), machine=on("full"))
    run_on(2, train_on, tmp_path / "run", config)
    before = tensors(tmp_path / "run", "model")
    newest = max(Run(tmp_path / "run").checkpoints.glob("step-*"))
    data = bytearray((newest / file).read_bytes())
    data[-3] ^= 4
    (newest / file).write_bytes(data)
    run_on(2, train_on, tmp_path / "run", config)
    assert str(newest / file) in (tmp_path / "run" / "damaged.txt").read_text()
    after = tensors(tmp_path / "run", "model", 9)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("where", [0, 1])
def test_where_one_cannot_write_there_is_no_checkpoint(tmp_path, where):
    run_on(2, toy_ranks.write_where_one_cannot, tmp_path / "checkpoints", where)
    assert "step 3 could not be written" in (tmp_path / f"{where}.txt").read_text()
    assert list((tmp_path / "checkpoints").iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ stopping


def wait_for(run: Run, updates: int, started: list) -> None:
    until = time.monotonic() + toy_ranks.PATIENCE
    while len(run.updates()) < updates:
        assert time.monotonic() < until and all(process.exitcode is None for process in started)
        time.sleep(0.01)


LONG = replace(SHARED, steps=10**6, keep=KeepConfig(every=5, newest=2), evaluate=EvaluateConfig(every=0))


@pytest.mark.parametrize("shard", ["replicate", "full"])
@pytest.mark.parametrize("who", [0, 1])
def test_a_signal_to_one_saves_and_stops_all(tmp_path, shard, who):
    config, run = replace(LONG, machine=on(shard)), Run(tmp_path / "run")
    started = begin(2, train_on, run.folder, config)
    wait_for(run, 3, started)
    os.kill(started[who].pid, signal.SIGTERM)
    assert end(started) == [130, 130]
    done = checkpoint.newest(run.checkpoints, pytest.fail).step
    assert done == len(run.updates()) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["replicate", "full"])
@pytest.mark.parametrize("who", [0, 1])
def test_nobody_waits_for_a_rank_that_was_killed(tmp_path, shard, who):
    """kill -9: the other is gone within 30 seconds, says why, and what it came to is that of an undisturbed run."""
    config, run = replace(LONG, steps=80, machine=on(shard)), Run(tmp_path / "run")
    run_on(2, train_on, tmp_path / "whole", config)
    started = begin(2, train_on, run.folder, config)
    wait_for(run, 7, started)
    started[who].kill()
    codes = end(started, patience=30)
    assert codes[who] == -signal.SIGKILL and codes[1 - who] == 1
    assert len(run.updates()) < 80, "it finished before it could be killed"
    run_on(2, train_on, run.folder, config)
    for name in ("model", "optimizer", "average"):
        one, other = tensors(tmp_path / "whole", name, 80), tensors(run.folder, name, 80)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name
    losses = [[line["loss"] for line in Run(folder).updates()] for folder in (tmp_path / "whole", run.folder)]
    assert losses[0] == losses[1]


def test_a_loss_that_is_no_number_stops_all_and_names_the_batch(tmp_path):
    task, run = Task(), Run(tmp_path / "run")
    task.poison = 17
    codes = end(begin(2, train_on, run.folder, SHARED, task))
    assert codes == [1, 1] and [line["event"] for line in run.history()] == ["not_finite"]
    assert 17 in run.history()[0]["ids"]
    assert checkpoint.newest(run.checkpoints, pytest.fail).step <= len(run.updates())
