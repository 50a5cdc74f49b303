"""Whatever stops a training, going on gives the same bits and the same log as never having stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import toy_training
from toy_training import CONFIG, Task, job, train

from regard.errors import BadFileError, RegardError
from regard.ops.random import Key
from regard.train import checkpoint, run
from regard.train.feed import Feed, Place
from regard.train.loop import NotFinite, fit
from regard.train.progress import Silent
from regard.train.recipe import BatchConfig, EvaluateConfig, KeepConfig, OptimizerConfig
from regard.train.run import Run
from regard.train.stop import Stop

LONG = replace(CONFIG, steps=150, average=0.9, optimizer=OptimizerConfig(name="muon", rate=0.03))


def outcome(folder: Path) -> tuple[object, list, list]:
    """All that must be the same: checksums of weights and optimiser, state, loss log, scores."""
    found = Run(folder)
    manifests = [json.loads(path.read_text()) for path in sorted(found.checkpoints.glob("*/manifest.json"))]
    for line in (lines := [*found.updates(), *found.scores()]):
        del line["seconds"]
    return [(m["step"], m["files"], m["state"]) for m in manifests], lines[: len(found.updates())], lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A long training that nothing interrupted, made twice."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder / "one", LONG)
    train(folder / "two", LONG)
    assert outcome(folder / "one") == outcome(folder / "two")
    return folder / "one"


@pytest.fixture(scope="module")
def processes():
    """Processes that have imported everything already, so that they can be killed in great number."""
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    if kind == "forkserver":
        context.set_forkserver_preload(["toy_training", "torch._dynamo"])  # the first update wants the latter
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    yield context
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_a_new_training_is_the_same_to_the_bit(whole):
    metrics = Run(whole).updates()
    assert [line["step"] for line in metrics] == list(range(1, 151))
    assert metrics[-1]["loss"] < metrics[0]["loss"] / 2  # it does learn


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_moments(whole, processes, tmp_path, record_property):
    """kill -9, 20 times, at any moment; the run that came of it is the uninterrupted one."""
    folder, draw, reached = tmp_path / "killed", random.Random(11), set()
    for kill in range(20):
        process = processes.Process(target=train, args=(folder, LONG))
        process.start()
        kill_after(process, Run(folder), updates=6 * kill + draw.randrange(6), delay=0.02 * draw.random())
        reached.add(len(Run(folder).updates()))
    assert len(reached) > 3, reached
    train(folder, LONG)
    assert outcome(folder)[1:] == outcome(whole)[1:]
    assert outcome(folder)[0][-1] == outcome(whole)[0][-1]
    record_property("kills", 20)


def kill_after(process, made: Run, *, updates: int, delay: float) -> None:
    """kill -9 once the run has come this far, and a moment later: fast machines and slow ones are hit alike."""
    while process.exitcode is None and len(made.updates()) < updates:
        time.sleep(0.001)
    time.sleep(delay)
    assert process.exitcode is None, "it finished before it could be killed"
    process.kill()
    process.join()


class Asks(Task):
    """Asks to stop in the middle of something, once."""

    def __init__(self, stop: Stop, what: str, time: int):
        self.stop, self.what, self.left = stop, what, time

    def _at(self, what: str) -> None:
        self.left -= what == self.what
        if self.left == 0:
            self.stop.ask()

    def loss(self, model, batch, key):
        self._at("loss" if key else "score")
        return super().loss(model, batch, key)

    def collate(self, samples, ids):
        self._at("collate")
        return super().collate(samples, ids)


@pytest.mark.parametrize("what", ["loss", "score", "collate"])
@pytest.mark.parametrize("moment", [1, 2, 4])
def test_asked_to_stop_anywhere(tmp_path, what, moment):
    config = replace(CONFIG, average=0.8)
    train(tmp_path / "whole", config)
    stop = Stop()
    _, found, ended = train(tmp_path / "stopped", config, stop, task=Asks(stop, what, moment))
    assert ended == "stopped"
    assert checkpoint.newest(found.checkpoints, pytest.fail).step == len(found.updates())  # nothing is lost
    _, _, ended = train(tmp_path / "stopped", config)
    assert ended == "finished"
    assert outcome(tmp_path / "stopped")[1:] == outcome(tmp_path / "whole")[1:]
    assert outcome(tmp_path / "stopped")[0][-1] == outcome(tmp_path / "whole")[0][-1]


def test_a_signal_during_a_save_is_heard_after_it(tmp_path, monkeypatch):
    stop, original = Stop(), checkpoint.write

    def asking(*arguments):
        stop.ask()
        return original(*arguments)

    monkeypatch.setattr(checkpoint, "write", asking)
    _, found, ended = train(tmp_path / "run", CONFIG, stop)
    assert ended == "stopped" and checkpoint.newest(found.checkpoints, pytest.fail).step == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send one process a Ctrl-C")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal(processes, tmp_path, number):
    config = replace(LONG, steps=5000, keep=KeepConfig(every=10**6))
    process = processes.Process(target=_stopping, args=(tmp_path / "run", config))
    process.start()
    found = Run(tmp_path / "run")
    while not found.metrics.exists() or len(found.updates()) < 3:
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join(120)
    assert process.exitcode == 130
    done = len(found.updates())
    assert 3 <= done < 5000 and checkpoint.newest(found.checkpoints, pytest.fail).step == done


def _stopping(folder: Path, config) -> None:
    from regard.train.stop import on_signals

    with on_signals() as stop:
        _, _, ended = train(folder, config, stop)
    sys.exit(130 if ended == "stopped" else 0)


def test_the_second_signal_ends_at_once(processes, tmp_path):
    process = processes.Process(target=_deaf, args=(tmp_path / "ready",))
    process.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    if sys.platform != "win32":
        process.join(0.3)
        assert process.exitcode is None  # the first one only asks
        os.kill(process.pid, signal.SIGTERM)
    process.join(120)
    assert process.exitcode not in (None, 0)


def _deaf(ready: Path) -> None:
    from regard.train.stop import on_signals

    with on_signals():
        ready.touch()
        while True:
            time.sleep(0.01)


def test_the_log_has_no_line_twice_and_none_missing(tmp_path):
    stop = Stop()
    _, found, _ = train(tmp_path / "run", CONFIG, stop, task=Asks(stop, "loss", 40))
    last = checkpoint.newest(found.checkpoints, pytest.fail)
    with open(found.metrics, "a", encoding="utf-8") as file:  # two more updates, then the machine died in a line
        for step in (last.step + 1, last.step + 2):
            file.write(json.dumps({"step": step, "loss": 99.0, "seconds": 1}) + "\n")
        file.write('{"step": 17, "lo')
    train(tmp_path / "run", CONFIG)
    train(tmp_path / "whole", CONFIG)
    assert outcome(tmp_path / "run")[1:] == outcome(tmp_path / "whole")[1:]
    assert [line["step"] for line in found.updates()] == list(range(1, CONFIG.steps + 1))


def test_a_damaged_newest_checkpoint_costs_only_time(tmp_path):
    class Told(Silent):
        def damaged(self, error: BadFileError) -> None:
            named.append(str(error))

    named: list[str] = []
    train(tmp_path / "whole", CONFIG)
    stop = Stop()
    _, found, _ = train(tmp_path / "run", CONFIG, stop, task=Asks(stop, "loss", 40))
    newest = max(found.checkpoints.glob("step-*"))
    data = bytearray((newest / "optimizer.safetensors").read_bytes())
    data[-3] ^= 4
    (newest / "optimizer.safetensors").write_bytes(data)
    fit(job(), found, Told(), Stop())
    assert len(named) >= 1 and str(newest / "optimizer.safetensors") in named[0]
    assert outcome(tmp_path / "run")[1:] == outcome(tmp_path / "whole")[1:]
    assert outcome(tmp_path / "run")[0][-1] == outcome(tmp_path / "whole")[0][-1]


def test_with_every_checkpoint_damaged_it_does_not_start_over_in_silence(tmp_path):
    _, found, _ = train(tmp_path / "run", CONFIG)
    for folder in found.checkpoints.glob("step-*"):
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadFileError, match="No checkpoint"):
        train(tmp_path / "run", CONFIG)


def test_another_model_s_checkpoint_is_refused(tmp_path):
    _, found, _ = train(tmp_path / "run", CONFIG)
    work = job()
    work.model.extra = toy_training.nn.Linear(2, 2)
    with pytest.raises(BadFileError, match="another model"):
        fit(work, found, Silent(), Stop())


# ----------------------------------------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loss_that_is_no_number_changes_nothing_and_names_the_batch(tmp_path, accumulate):
    config = replace(CONFIG, batch=BatchConfig(tokens=41, accumulate=accumulate), keep=KeepConfig(every=1, newest=99))
    task = Task()
    work = job(config, task)
    place, step = Place(), 0
    while 17 not in [i for batch in work.feed.batches(place) for i in batch.ids]:
        place, step = work.feed.after(place), step + 1
    task.poison = 17
    found = Run.create(tmp_path / "run", _recipe(config))
    with pytest.raises(NotFinite, match=rf"update {step + 1}.*17.*toy:") as caught:
        fit(work, found, Silent(), Stop())
    assert 17 in caught.value.values["ids"]
    last = checkpoint.newest(found.checkpoints, pytest.fail)
    assert last.step == step == len(found.updates())
    for name, tensor in last.tensors("model").items():
        assert toy_training.torch.equal(tensor, work.model.state_dict()[name]), "the update was made"
    assert found.history()[-1]["event"] == "not_finite" and 17 in found.history()[-1]["ids"]


def test_a_gradient_that_is_no_number_changes_nothing(tmp_path):
    class Sharp(Task):
        def loss(self, model, batch, key):
            loss = super().loss(model, batch, key)
            return loss + (model.blocks[0].inner.weight * 0).sum().abs().sqrt()  # 0, and a slope of infinity times 0

    work = job(CONFIG, Sharp())
    before = {name: tensor.clone() for name, tensor in work.model.state_dict().items()}
    with pytest.raises(NotFinite):
        fit(work, Run.create(tmp_path / "run", _recipe(CONFIG)), Silent(), Stop())
    assert all(toy_training.torch.equal(before[name], tensor) for name, tensor in work.model.state_dict().items())


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    far = OptimizerConfig(rate=1e39)  # more than a float32 holds: the first update overflows
    config = replace(CONFIG, optimizer=far, keep=KeepConfig(every=1))
    with pytest.raises(NotFinite, match="step-00000000"):
        train(tmp_path / "run", config)
    assert checkpoint.newest(Run(tmp_path / "run").checkpoints, pytest.fail).step == 0


def _recipe(config):
    from regard.train.recipe import Recipe

    return Recipe(task={"name": "causal-lm"}, model={"family": "toy"}, train=config)


# ---------------------------------------------------------------------------------------------------------- the folder


def test_two_trainings_in_one_folder_are_refused(processes, tmp_path):
    folder = tmp_path / "run"
    process = processes.Process(target=train, args=(folder, replace(CONFIG, steps=10**6)))
    process.start()
    while not Run(folder).metrics.exists():
        time.sleep(0.02)
    with pytest.raises(RegardError, match=rf"{process.pid} on \S+"):
        train(folder, CONFIG)
    process.kill()
    process.join()
    with Run(folder).locked():  # the lock of one that was killed holds nobody up
        pass


def test_a_folder_in_use_for_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RegardError, match="has something in it"):
        Run.create(tmp_path, _recipe(CONFIG))
    run_folder = tmp_path / "run"
    Run.create(run_folder, _recipe(CONFIG))
    with pytest.raises(RegardError, match="--resume"):
        Run.create(run_folder, _recipe(CONFIG))
    with pytest.raises(BadFileError, match="no run"):
        Run.open(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX's")
def test_a_full_disk(processes, tmp_path):
    """No file may grow past 3,000 bytes: the first checkpoint fits, one with the optimiser's memory does not."""
    receive, send = processes.Pipe(duplex=False)
    process = processes.Process(target=_full, args=(tmp_path / "run", send))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    error = receive.recv()
    assert "step 3 could not be written" in error and "\n" not in error
    found = Run(tmp_path / "run")
    assert checkpoint.newest(found.checkpoints, pytest.fail).step == 0
    assert [path.name for path in found.checkpoints.iterdir()] == ["step-00000000"]
    train(tmp_path / "run", CONFIG)
    train(tmp_path / "whole", CONFIG)
    assert outcome(tmp_path / "run")[1:] == outcome(tmp_path / "whole")[1:]


def _full(folder: Path, send) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    try:
        train(folder, CONFIG)
    except RegardError as error:
        send.send(str(error))


# -------------------------------------------------------------------------------------------------------- order of data


def test_the_order_is_the_same_from_any_place():
    first, second = job().feed, job().feed
    place = Place()
    for _ in range(50):
        wanted = [(batch.ids, batch.tokens.tolist()) for batch in first.batches(place)]
        assert [(batch.ids, batch.tokens.tolist()) for batch in second.batches(place)] == wanted
        second = Feed(Task(), toy_training.rows(), CONFIG.batch, seed=CONFIG.seed)
        place = first.after(place)
    assert place.epoch > 1


def test_an_epoch_has_every_example_once():
    feed, place, seen = job().feed, Place(), []
    while place.epoch == 0:
        seen += [i for batch in feed.batches(place) for i in batch.ids]
        place = feed.after(place)
    assert sorted(seen) == list(range(31))


@pytest.mark.parametrize("accumulate", [1, 2, 7, 99])
def test_the_order_does_not_depend_on_accumulation(accumulate):
    def ids(parts: int, place: Place) -> list[int]:
        feed = Feed(Task(), toy_training.rows(), BatchConfig(tokens=60, accumulate=parts), seed=3)
        batches = feed.batches(place)
        assert len(batches) <= parts
        return sorted(i for batch in batches for i in batch.ids)

    assert ids(accumulate, Place(1, 2)) == ids(1, Place(1, 2))


def test_keys_differ_by_step_and_micro_batch():
    seen = []

    class Watches(Task):
        def loss(self, model, batch, key):
            if key is not None:
                seen.append(key)
            return super().loss(model, batch, key)

    work = job(replace(CONFIG, steps=4), Watches())
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        fit(work, Run.create(Path(folder) / "run", _recipe(work.config)), Silent(), Stop())
    assert len(set(seen)) == len(seen) > 4 and Key(CONFIG.seed).at(0).at(0) in seen


def test_reading_metrics_names_a_damaged_line(tmp_path):
    found = Run(tmp_path)
    found.metrics.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo\n{"step": 3, "loss": 1.0}\n')
    with pytest.raises(BadFileError, match=r"metrics\.jsonl:2"):
        found.updates()


def test_a_free_name(tmp_path):
    assert run.fresh("poems", tmp_path).name == "poems-1"
    (tmp_path / "poems-1").mkdir()
    assert run.fresh("poems", tmp_path).name == "poems-2"


def test_no_scoring_no_best(tmp_path):
    config = replace(CONFIG, steps=7, evaluate=EvaluateConfig(every=0))
    work = replace(job(config), score=None)
    found = Run.create(tmp_path / "run", _recipe(config))
    ended, state = fit(work, found, Silent(), Stop())
    assert ended == "finished" and state.best is None and found.scores() == []
