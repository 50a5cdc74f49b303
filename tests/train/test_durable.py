"""Nothing is lost: kills, preemption, signals in every place, full and failing disks, any history of checkpoints."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from test_checkpoint import newest as newest_step
from test_checkpoint import tensors
from test_resume import kill_after, outcome, processes  # noqa: F401, a fixture
from test_start import MODELS, data, recipe  # noqa: F401, a fixture

from regard import bundle, config
from regard.cli.main import run as command
from regard.errors import RegardError
from regard.train import checkpoint, setup
from regard.train.run import Run
from regard.train.start import resume, start

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send one process a signal")
STOPPED = 130


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def two_layers(data: Path, task: str, **train):  # noqa: F811
    """Two layers of 64, dropout, shuffling, packing, accumulation."""
    more = {"keep.every": 7, "evaluate.every": 50, "batch.accumulate": 3} | train
    asked = recipe(data, task, **more)
    heads = {"attention": {"heads": 2, "kv_heads": 2, "head_dim": 32}} if task == "causal-lm" else {"heads": 2}
    return replace(asked, model={**asked.model, "dim": 64, "depth": 2, "dropout": 0.1, "hidden": 64, **heads})


def goes_on(folder: Path, asked: Path) -> None:
    """What a cluster's script does: go on, or begin. In a process of its own; ends it with the command's exit code."""
    torch.set_num_threads(1)
    began = ["--resume", str(folder)] if Run(folder).exists else [str(asked), "--out", str(folder)]
    sys.exit(command(["train", *began, "--json"]))


def same(folder: Path, whole: Path) -> bool:
    """Weights, optimiser, state, loss log and scores, to the bit."""
    one, other = outcome(folder), outcome(whole)
    return one[1:] == other[1:] and one[0][-1] == other[0][-1]


# ---------------------------------------------------------------------------------------------------------------- kills


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("task", MODELS)
def test_killed_twenty_times(data, processes, tmp_path, task, record_property):  # noqa: F811
    """kill -9 at random moments of 200 updates, for each task."""
    asked = two_layers(data, task, steps=200)
    (tmp_path / "recipe.toml").write_text(config.to_toml(asked), encoding="utf-8")
    start(asked, tmp_path / "whole")
    draw, reached = random.Random(5), set()
    for kill in range(20):
        process = processes.Process(target=goes_on, args=(tmp_path / "run", tmp_path / "recipe.toml"))
        process.start()
        kill_after(process, Run(tmp_path / "run"), updates=9 * kill + draw.randrange(9), delay=0.02 * draw.random())
        reached.add(len(Run(tmp_path / "run").updates()))
    assert len(reached) > 10
    resume(tmp_path / "run")
    assert same(tmp_path / "run", tmp_path / "whole")
    record_property("kills", 20)


@posix
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_preempted_again_and_again(data, processes, tmp_path):  # noqa: F811
    """A script that is told to go every few updates, and at times is killed besides, still comes to the same bits."""
    asked = two_layers(data, "causal-lm", steps=120)
    (tmp_path / "recipe.toml").write_text(config.to_toml(asked), encoding="utf-8")
    start(asked, tmp_path / "whole")
    run, draw, codes = Run(tmp_path / "run"), random.Random(8), []
    while 0 not in codes:
        assert len(codes) < 40, codes
        process = processes.Process(target=goes_on, args=(run.folder, tmp_path / "recipe.toml"))
        process.start()
        wanted = (len(run.updates()) if run.exists else 0) + draw.randrange(3, 12)
        while process.exitcode is None and (not run.exists or len(run.updates()) < wanted):
            time.sleep(0.002)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGTERM)
        if draw.random() < 0.2:  # the grace was too short
            time.sleep(0.01 * draw.random())
            process.kill()
        process.join(60)
        codes.append(process.exitcode)
    assert codes.count(STOPPED) > 5 and set(codes) <= {STOPPED, 0, -signal.SIGKILL, -signal.SIGTERM}
    assert same(run.folder, tmp_path / "whole")


# -------------------------------------------------------------------------------------------------------------- signals


def slowed(place: str, ready: Path, asked: Path, folder: Path) -> None:
    """A training that is in one place for long, and says when it is there. In a process of its own."""
    from regard.inputs.tokenizer import Tokenizer
    from regard.tasks.causal_lm import CausalLMTask

    def slow(owner, name: str, seconds: float) -> None:
        original = getattr(owner, name)

        def call(*arguments, **named):
            ready.touch()
            time.sleep(seconds)
            return original(*arguments, **named)

        setattr(owner, name, call)

    torch.set_num_threads(1)
    if place == "tokenizer":
        slow(Tokenizer, "train", 60)  # as long as a large one takes, and as deaf
    elif place == "data":
        slow(CausalLMTask, "samples", 0.3)
    elif place == "save":
        slow(checkpoint, "save_file", 0.5)
    elif place == "score":
        slow(CausalLMTask, "collate", 0.3)  # of the held-out rows too, one by one
        setup.some = lambda source, most, seed: source
    else:
        slow(CausalLMTask, "loss", 0.3)
    sys.exit(command(["train", str(asked), "--out", str(folder), "--json"]))


@posix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", ["tokenizer", "data", "step", "score", "save"])
def test_a_signal_in_every_place(data, processes, tmp_path, place, number):  # noqa: F811
    """It saves and leaves within ten seconds; what is resumed is the same to the bit."""
    asked = recipe(data, steps=9)
    (tmp_path / "recipe.toml").write_text(config.to_toml(asked), encoding="utf-8")
    start(asked, tmp_path / "whole")
    arguments = (place, tmp_path / "ready", tmp_path / "recipe.toml", tmp_path / "run")
    process = processes.Process(target=slowed, args=arguments)
    process.start()
    while not (tmp_path / "ready").exists():
        assert process.exitcode is None
        time.sleep(0.01)
    os.kill(process.pid, number)
    process.join(10)
    assert process.exitcode == STOPPED
    run = Run(tmp_path / "run")
    assert run.status == "stopped" and not list(run.folder.rglob("tmp-*"))
    assert resume(run.folder)[1] == "finished" and same(run.folder, tmp_path / "whole")


@posix
@pytest.mark.slow
def test_a_second_signal_does_not_wait(data, processes, tmp_path):  # noqa: F811
    asked = recipe(data, steps=9)
    (tmp_path / "recipe.toml").write_text(config.to_toml(asked), encoding="utf-8")
    arguments = ("save", tmp_path / "ready", tmp_path / "recipe.toml", tmp_path / "run")
    process = processes.Process(target=slowed, args=arguments)
    process.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == -signal.SIGTERM
    start(asked, tmp_path / "whole")
    assert resume(tmp_path / "run")[1] == "finished" and same(tmp_path / "run", tmp_path / "whole")


def test_the_exit_code_is_documented(capsys):
    assert command(["train", "--help"]) == 0 and "130" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------- disks


@pytest.fixture(scope="module")
def fault(tmp_path_factory) -> Path:
    """The library that makes writes fail."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("fault") / "fault.so"
    source = Path(__file__).with_name("full_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("code", "first"), [(errno.ENOSPC, 0), (errno.EIO, 1)])
def test_a_disk_that_is_full_from_any_write_on(data, fault, tmp_path, code, first):  # noqa: F811
    """One sentence, exit code 1, the checkpoints before untouched, no litter; with room again, the same bits."""
    (tmp_path / "recipe.toml").write_text(config.to_toml(recipe(data, steps=4)), encoding="utf-8")
    program = Path(__file__).with_name("full_disk.py")
    environment = {**os.environ, "LD_PRELOAD": str(fault), "PYTHONPATH": str(program.parent), "REGARD_LANG": "en"}
    arguments = [str(tmp_path / "recipe.toml"), str(tmp_path), str(code), str(first), "2"]
    done = subprocess.run(
        [sys.executable, program, *arguments], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) > 20 and {each["kept"] for each in found} >= {None, 0, 3}
    for each in found:
        assert each["code"] == 1 and "Traceback" not in each["said"], each
        assert len(each["said"].strip().splitlines()) == 1, each
        assert each["litter"] == [] and each["damaged"] == [], each
        assert each["same"], each
    assert [each["n"] for each in found] == list(range(first, first + 2 * len(found), 2))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting is root's")
@pytest.mark.slow
def test_a_small_disk(data, tmp_path):  # noqa: F811
    """A file system that fills up; warned of at the start, refused in one sentence, resumed when there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2560k", "tmpfs", disk], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        asked = two_layers(data, "causal-lm", steps=6, **{"keep.every": 2, "keep.newest": 3})
        (tmp_path / "recipe.toml").write_text(config.to_toml(asked), encoding="utf-8")
        line = [sys.executable, "-m", "regard", "train", tmp_path / "recipe.toml", "--out", disk / "run", "--json"]
        done = subprocess.run(
            line, check=False, capture_output=True, text=True, env={**os.environ, "REGARD_LANG": "en"}
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "MB free where the run is kept" in done.stdout
        assert newest_of(Run(disk / "run")) is not None and not list((disk / "run").rglob("tmp-*"))
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert resume(disk / "run")[1] == "finished"
        start(asked, tmp_path / "whole")
        assert same(disk / "run", tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)


def newest_of(run: Run) -> int | None:
    found = checkpoint.newest(run.checkpoints, pytest.fail)
    return found.step if found else None


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_rename_that_fails_as_on_a_network_disk(tmp_path, monkeypatch, code):
    def failing(old, new):
        raise OSError(code, os.strerror(code))

    checkpoint.write(tmp_path, 1, tensors(1), {})
    monkeypatch.setattr(checkpoint.os, "replace", failing)
    with pytest.raises(RegardError, match="could not be written"):
        checkpoint.write(tmp_path, 2, tensors(2), {})
    monkeypatch.undo()
    assert newest_step(tmp_path) == (1, []) and [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
def test_a_folder_that_may_not_be_written_is_one_sentence(data, processes, tmp_path):  # noqa: F811
    (tmp_path / "recipe.toml").write_text(config.to_toml(recipe(data)), encoding="utf-8")
    (tmp_path / "locked").mkdir(mode=0o555)
    receive, send = processes.Pipe(duplex=False)
    process = processes.Process(target=without_rights, args=(tmp_path / "recipe.toml", tmp_path / "locked/run", send))
    process.start()
    send.close()  # so that its end is heard
    code, text = receive.recv()
    process.join()
    if code is None:
        pytest.skip("root, and cannot give that up here")
    assert code == 1 and "Not permitted" in text and len(text.strip().splitlines()) == 1
    assert not list((tmp_path / "locked").iterdir())


def without_rights(asked: Path, folder: Path, send) -> None:
    """The command, by a process to which permissions apply: so they do to root without its capabilities."""
    import io
    from contextlib import redirect_stderr

    if os.geteuid() == 0:
        nothing = (ctypes.c_uint32 * 6)()
        version_3_of_this_process = (ctypes.c_uint32 * 2)(0x20080522, 0)
        if sys.platform != "linux" or ctypes.CDLL(None).capset(version_3_of_this_process, nothing):
            send.send((None, ""))
            return
    err = io.StringIO()
    with redirect_stderr(err):
        code = command(["train", str(asked), "--out", str(folder), "--lang", "en"])
    send.send((code, err.getvalue()))


def test_a_missing_parent_is_made(data, tmp_path):  # noqa: F811
    run, ended = start(recipe(data, steps=1), tmp_path / "not" / "yet" / "there")
    assert ended == "finished" and run.exists


def test_a_model_is_saved_onto_the_files_it_was_loaded_from(data, tmp_path):  # noqa: F811
    """Weights may still be read from the old file when the new one is written."""
    run, _ = start(recipe(data, steps=1), tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in bundle.load(run.folder).model.named_parameters()}
    for _ in range(3):
        loaded = bundle.load(run.folder)
        bundle.save(run.model, loaded)
    for loaded in (bundle.load(run.folder), bundle.load(run.model)):
        assert all(torch.equal(before[name], tensor) for name, tensor in loaded.model.named_parameters())


# ------------------------------------------------------------------------------------------------------------ retention


class Crash(BaseException):
    """The machine stops here."""


CALLS = ((checkpoint, "save_file"), (checkpoint, "flush"), (checkpoint, "sync_folder"), (checkpoint.os, "replace"))
CALLS += ((checkpoint.shutil, "rmtree"),)


class Histories(RuleBasedStateMachine):
    """Saves, crashes in the middle of a save or of a deletion, damage to files, restarts, in any order."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.step, self.keep, self.whole = 0, 1, set()

    def teardown(self):
        shutil.rmtree(self.folder)

    def there(self) -> set[int]:
        return {int(path.name[5:]) for path in self.folder.glob("step-*")}

    @rule(keep=st.integers(1, 3), best=st.booleans())
    def save(self, keep: int, best: bool) -> None:
        self.step += 1
        checkpoint.write(self.folder, self.step, tensors(self.step), {})
        self.whole.add(self.step)
        kept = {min(self.whole)} if best else set()
        before = sorted(self.whole)
        checkpoint.retain(self.folder, keep, kept, lambda error: None)
        assert set(before[-keep:]) | kept <= self.there()
        self.whole &= self.there()

    @rule(at=st.integers(0, 14))
    def crash(self, at: int) -> None:
        """The machine stops at the n-th operation of a save that keeps one; what is there afterwards is whole."""
        before, done, originals = max(self.whole, default=None), [0], []

        def stopping(original):
            def call(*arguments, **named):
                if done[0] == at:
                    raise Crash
                done[0] += 1
                return original(*arguments, **named)

            return call

        for owner, name in CALLS:
            originals.append((owner, name, getattr(owner, name)))
            setattr(owner, name, stopping(getattr(owner, name)))
        try:
            checkpoint.write(self.folder, self.step + 1, tensors(self.step + 1), {})
            checkpoint.retain(self.folder, 1, (), lambda error: None)
        except Crash:
            pass
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)
        if self.step + 1 in self.there():
            self.step += 1
            self.whole.add(self.step)
        self.whole &= self.there()
        assert before is None or max(self.whole) >= before, "the last good one was lost"

    @precondition(lambda self: self.whole)
    @rule(draw=st.randoms(use_true_random=False), how=st.sampled_from(["cut", "flip", "empty", "missing"]))
    def damage(self, draw, how: str) -> None:
        victim = draw.choice(sorted(self.whole))
        file = draw.choice(sorted((self.folder / checkpoint.name(victim)).iterdir()))
        content = bytearray(file.read_bytes())
        if how == "missing":
            file.unlink()
        elif how == "flip":
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            file.write_bytes(content)
        else:
            file.write_bytes(content[:-1] if how == "cut" else b"")
        self.whole.discard(victim)

    @rule()
    def restart(self) -> None:
        checkpoint.sweep(self.folder)
        assert not list(self.folder.glob("tmp-*"))

    @invariant()
    def the_newest_whole_one_is_found(self) -> None:
        assert newest_step(self.folder)[0] == max(self.whole, default=None)


Histories.TestCase.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
TestHistories = Histories.TestCase
