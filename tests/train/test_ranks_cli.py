"""`regard train --ranks`, on real text with real models: the run of one process, and what becomes of lost ones."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from regard.data import samples
from regard.train import checkpoint
from regard.train.run import Run
from regard.train.together import for_ranks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2000),
    pytest.mark.skipif(sys.platform == "win32", reason="processes of one training are tested on POSIX"),
]
PATIENCE = 400

RECIPE = """
task = {{ name = "{task}" }}
[model]
family = "{family}"
dim = 16
depth = 2
hidden = 24
context = 64
dropout = 0.1
{sizes}
[data]
train = "{data}"
rows = 200
[tokenizer]
kind = "{kind}"
vocab = 400
[train]
steps = 40
average = 0.9
[train.batch]
tokens = 400
accumulate = 4
[train.keep]
every = 5
[train.evaluate]
every = 15
rows = 20
[train.machine]
threads = 1
tensorboard = false
device = "cpu"
"""
QWEN = "attention = { heads = 2, kv_heads = 2, head_dim = 8 }"
TASKS = {  # family, its own sizes, data, kind of tokenizer
    "causal-lm": ("qwen3", QWEN, "sample:tang-poems", "characters"),
    "classification": ("bert", "heads = 2", "sample:film-reviews", "wordpiece"),
    "seq2seq": ("vaswani", "heads = 2", "pairs.jsonl", "characters"),
}


def recipe(folder: Path, task: str = "causal-lm") -> Path:
    path, (family, sizes, data, kind) = folder / f"{task}.toml", TASKS[task]
    if data == "pairs.jsonl":  # the characters of a line, the other way round
        lines = [poem["text"][:20] for poem in samples.open("tang-poems")[:200]]
        pairs = [{"source": line, "target": line[::-1]} for line in lines]
        data = (folder / data).as_posix()
        Path(data).write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    text = RECIPE.format(task=task, family=family, sizes=sizes, data=data, kind=kind)
    path.write_text(text, encoding="utf-8")
    return path


def begin(*arguments: object) -> subprocess.Popen:
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR", "REGARD_LANG": "en", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "regard", *map(str, arguments)]
    return subprocess.Popen(
        words, env={**os.environ, **quiet}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.kill()
        raise
    return process.returncode, out, err


def ranks_of(process: subprocess.Popen) -> dict[int, psutil.Process]:
    """The processes of a training by their rank."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            found[int(child.environ()["RANK"])] = child
        except (psutil.Error, KeyError, OSError):
            continue
    return found


def wait_for(run: Run, updates: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + PATIENCE
    while len(run.updates()) < updates:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)


def outcome(folder: Path) -> tuple[list, dict[str, torch.Tensor]]:
    found = checkpoint.newest(Run(folder).checkpoints, pytest.fail)
    weights = {f"{name} {k}": v for name in ("model", "optimizer", "average") for k, v in found.tensors(name).items()}
    return [(line["step"], line["loss"], line["targets"]) for line in Run(folder).updates()], weights


def assert_equal(one: Path, other: Path) -> None:
    (lines, weights), (again, found) = outcome(one), outcome(other)
    assert lines == again and weights.keys() == found.keys()
    assert all(torch.equal(weights[key], found[key]) for key in weights)


def test_what_each_rank_is_started_with():
    given = ["r.toml", "--ranks", "4", "--steps", "3", "--max-restarts=2"]
    assert for_ranks(given, Path("runs/r-1")) == ["train", "r.toml", "--steps", "3", "--out", str(Path("runs/r-1"))]
    assert for_ranks(["--ranks=2", "--resume", "x"], None) == ["train", "--resume", "x"]


@pytest.mark.parametrize("task", list(TASKS))
def test_two_processes_are_one_training(tmp_path, task):
    path = recipe(tmp_path, task)
    code, _, err = finish(begin("train", path, "--out", tmp_path / "one"))
    assert code == 0, err
    for shard in ("replicate", "full"):
        changes = ["--set", f"train.machine.shard={shard}", "--set", "train.machine.recompute=true", "--json"]
        code, out, err = finish(begin("train", path, "--out", tmp_path / shard, "--ranks", 2, *changes))
        assert code == 0 and "Warning" not in err, err
        assert json.loads(out.splitlines()[-1])["outcome"] == "finished" and out.count('"outcome"') == 1
        (lines, weights), (again, found) = outcome(tmp_path / "one"), outcome(tmp_path / shard)
        assert [line[0::2] for line in lines] == [line[0::2] for line in again]
        assert [line[1] for line in again] == pytest.approx([line[1] for line in lines], rel=1e-6)
        for key in weights:
            if not key.endswith(".k.bias"):  # softmax takes it away: its gradient is rounding, enlarged by Adam
                close = {"rtol": 1e-4, "atol": 1e-5, "msg": lambda text, key=key: f"{key}: {text}"}
                torch.testing.assert_close(found[key], weights[key], **close)
        assert (tmp_path / shard / "model" / "model.safetensors").is_file()
        assert [line["event"] for line in Run(tmp_path / shard).history()] == ["started", "finished"]


def test_a_killed_rank_under_torchrun_costs_only_time(tmp_path):
    """kill -9 of rank 1: the agent starts both again, and the weights are those of an undisturbed run, to the bit."""
    path, run = recipe(tmp_path), Run(tmp_path / "killed")
    assert finish(begin("train", path, "--out", tmp_path / "whole", "--ranks", 2))[0] == 0
    process = begin("train", path, "--out", run.folder, "--ranks", 2, "--max-restarts", 3)
    wait_for(run, 12, process)
    ranks_of(process)[1].kill()
    code, _, err = finish(process)
    assert code == 0, err
    assert [line["event"] for line in run.history()] == ["started", "resumed", "finished"]
    assert_equal(tmp_path / "whole", run.folder)


def test_without_restarts_all_are_gone_within_thirty_seconds(tmp_path):
    run = Run(tmp_path / "run")
    process = begin("train", recipe(tmp_path), "--out", run.folder, "--ranks", 2, "--steps", 100_000)
    wait_for(run, 6, process)
    found = ranks_of(process)
    found[1].kill()
    _, alive = psutil.wait_procs(list(found.values()), timeout=30)
    assert alive == []
    code, _, err = finish(process)
    assert code == 1 and "Another process of this training has ended" in err and "Traceback" not in err


def test_killed_again_and_again(tmp_path):
    """Any rank at any moment, five times; whoever is left ends, and the next command goes on."""
    path, run, draw = recipe(tmp_path), Run(tmp_path / "run"), random.Random(5)
    assert finish(begin("train", path, "--out", tmp_path / "whole", "--ranks", 2))[0] == 0
    process = begin("train", path, "--out", run.folder, "--ranks", 2, "--max-restarts", 100)
    for kill in range(5):
        wait_for(run, 6 * kill + 1 + draw.randrange(3), process)
        time.sleep(0.2 * draw.random())
        victim = ranks_of(process).get(draw.randrange(2))
        if victim is not None:
            victim.kill()
    code, _, err = finish(process)
    assert code == 0, err
    assert_equal(tmp_path / "whole", run.folder)


def test_a_signal_to_the_launcher_saves_everywhere(tmp_path):
    path, run = recipe(tmp_path), Run(tmp_path / "run")
    process = begin("train", path, "--out", run.folder, "--ranks", 2, "--steps", 100_000)
    wait_for(run, 6, process)
    process.terminate()
    code, _, err = finish(process)
    assert code == 130, err
    assert checkpoint.newest(run.checkpoints, pytest.fail).step == len(run.updates())
    assert run.history()[-1]["event"] == "stopped"


def test_a_refusal_is_one_sentence(tmp_path):
    path = recipe(tmp_path)
    assert finish(begin("train", path, "--out", tmp_path / "run", "--ranks", 2, "--steps", 3))[0] == 0
    code, _, err = finish(begin("train", "--resume", tmp_path / "run", "--ranks", 3))
    assert code == 2 and "3 processes cannot share the 4 micro-batches" in err and err.count("error:") == 1
    code, _, err = finish(begin("train", path, "--out", tmp_path / "run", "--ranks", 2))
    assert code == 1 and "is a run already" in err and err.count("error:") == 1


def test_a_fork_and_the_same_command_again(tmp_path):
    """`--fork` by two processes, and by one, come to the same; without a folder it finds one of its own."""
    path = recipe(tmp_path)
    assert finish(begin("train", path, "--out", tmp_path / "run", "--steps", 8))[0] == 0
    for number, words in enumerate((["--ranks", 2], [])):
        code, _, err = finish(begin("train", "--fork", tmp_path / "run", "--steps", 14, *words))
        assert code == 0, err
        assert len(Run(tmp_path / f"run-fork-{number + 1}").updates()) == 14
    losses = [[line["loss"] for line in Run(tmp_path / f"run-fork-{n}").updates()] for n in (1, 2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
