"""A new run from another's checkpoint: what goes on, what begins anew, and that the other run stays as it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_start import data, recipe  # noqa: F401, a fixture

from regard import bundle, config
from regard.cli.main import run as command
from regard.errors import RegardError
from regard.train import checkpoint
from regard.train.fork import fork
from regard.train.progress import Silent
from regard.train.run import Run
from regard.train.start import start
from regard.words import LANGUAGES, speaking


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def old(data, tmp_path_factory) -> Path:  # noqa: F811
    """A finished run of 7 updates, with a checkpoint of each third."""
    folder = tmp_path_factory.mktemp("old") / "run"
    start(recipe(data, **{"keep.newest": 9}), folder)
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def first(run: Run, step: int) -> checkpoint.Checkpoint:
    return checkpoint.verify(run.checkpoints / checkpoint.name(step))


def test_unchanged_but_for_its_length_it_is_the_same_training(data, old, tmp_path):  # noqa: F811
    """From the middle of a run of 7, on to 9: the bits of a run that was to have 9 from the start.

    The rate is constant, for a schedule knows where the end is.
    """
    constant = {"schedule.name": "constant", "keep.newest": 9}
    start(recipe(data, **constant), tmp_path / "seven")
    start(recipe(data, steps=9, **constant), tmp_path / "nine")
    before = everything(tmp_path / "seven")
    run, ended = fork(tmp_path / "seven", tmp_path / "new", recipe(data, steps=9, **constant), step=3)
    assert ended == "finished" and everything(tmp_path / "seven") == before
    wanted, found = first(Run(tmp_path / "nine"), 9), first(run, 9)
    for file in ("model", "optimizer"):
        one, other = wanted.tensors(file), found.tensors(file)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    losses = [[line["loss"] for line in each.updates()] for each in (run, Run(tmp_path / "nine"))]
    assert losses[0] == losses[1] and len(losses[0]) == 9


def test_the_history_says_from_where(data, old, tmp_path):  # noqa: F811
    run, _ = fork(old, tmp_path / "new", recipe(data, steps=8, **{"optimizer.rate": 0.01}))
    told = run.history()[0]
    assert told["event"] == "forked" and told["run"] == str(old.resolve()) and told["step"] == 7
    assert "train.optimizer.rate: 0.001 → 0.01" in told["changed"] and told["data"] == "same place"
    assert [line["step"] for line in run.scores()] == [8]  # scores are the new run's own
    assert bundle.load(run.folder).tokenizer.encode("moon") == bundle.load(old).tokenizer.encode("moon")
    assert run.updates()[-1]["rate"] < 0.01 and run.recipe.train.optimizer.rate == 0.01


def test_what_an_optimizer_remembers_goes_on_where_it_can(data, old, tmp_path):  # noqa: F811
    asked = recipe(data, steps=8, **{"optimizer.name": "muon", "keep.newest": 9})
    run, _ = fork(old, tmp_path / "new", asked)
    kept, before = first(run, 7).tensors("optimizer"), first(Run(old), 7).tensors("optimizer")
    assert kept and kept.keys() < before.keys() and all(torch.equal(kept[key], before[key]) for key in kept)
    matrices = {key.rpartition("/")[0] for key in first(run, 8).tensors("optimizer") if key.endswith("/momentum")}
    assert "stack.blocks.0.attention.q.weight" in matrices
    assert kept.keys() == {key for key in before if key.rpartition("/")[0] not in matrices}


def test_frozen_parameters_are_not_remembered(data, old, tmp_path):  # noqa: F811
    run, _ = fork(old, tmp_path / "new", recipe(data, steps=8, **{"freeze": "embed.*", "keep.newest": 9}))
    assert not any(key.startswith("embed.") for key in first(run, 7).tensors("optimizer"))
    one, other = (first(run, step).tensors("model")["embed.tokens.weight"] for step in (7, 8))
    assert torch.equal(one, other)


def test_an_average_begins_with_the_weights(data, old, tmp_path):  # noqa: F811
    run, ended = fork(old, tmp_path / "new", recipe(data, steps=8, **{"average": 0.9, "keep.newest": 9}))
    averaged, own = first(run, 7).tensors("average"), first(run, 7).tensors("model")
    assert ended == "finished" and all(torch.equal(averaged[name], own[name]) for name in averaged)


def test_other_data_begin_with_their_next_epoch(data, old, tmp_path):  # noqa: F811
    more = tmp_path / "more.jsonl"
    shutil.copy(data, more)
    with open(more, "a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "one more moon", "label": "a", "source": "x", "target": "y"}) + "\n")
    asked = config.override(recipe(data, steps=8), {"data.train": str(more)})
    run, _ = fork(old, tmp_path / "new", asked)
    assert run.history()[0]["data"] == "next epoch"
    began = first(run, 7).state["place"]
    assert began == {"epoch": first(Run(old), 7).state["place"]["epoch"] + 1, "number": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer.vocab": "280"}, "tokenizer.vocab was 300"),
        ({"task.name": "masked-lm"}, "task.name"),
        ({"model.dim": "16"}, "no parameter"),
        ({"train.steps": "7"}, "nothing is left to train"),
    ],
)
def test_what_cannot_go_on_is_refused_and_leaves_nothing(data, old, tmp_path, change, message):  # noqa: F811
    with pytest.raises(RegardError, match=message):
        fork(old, tmp_path / "new", config.override(recipe(data, steps=8), change))
    assert not (tmp_path / "new").exists()


def test_other_classes_are_refused(data, tmp_path):  # noqa: F811
    """The weights of the head stand in the order of the classes."""
    start(recipe(data, "classification"), tmp_path / "old")
    other = tmp_path / "other.jsonl"
    other.write_text(data.read_text(encoding="utf-8").replace('"label": "a"', '"label": "c"'), encoding="utf-8")
    asked = config.override(recipe(data, "classification", steps=8), {"data.train": str(other)})
    with pytest.raises(RegardError, match="each class would become another"):
        fork(tmp_path / "old", tmp_path / "new", asked)
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_is_not_forked(data, old, tmp_path):  # noqa: F811
    class Told(Silent):
        def damaged(self, error):
            named.append(str(error))

    named: list[str] = []
    copy = tmp_path / "copy"
    shutil.copytree(old, copy)
    (copy / "checkpoints" / checkpoint.name(7) / "model.safetensors").write_bytes(b"")
    run, _ = fork(copy, tmp_path / "new", recipe(data, steps=8), watch=Told())
    assert run.history()[0]["step"] == 6 and len(named) == 1
    with pytest.raises(RegardError, match="damaged"):
        fork(copy, tmp_path / "other", recipe(data, steps=8), step=7)
    with pytest.raises(RegardError, match=r"no checkpoint of update 5; there are .*3, 4, 6, 7"):
        fork(copy, tmp_path / "other", recipe(data, steps=8), step=5)


def test_the_command_that_a_refused_resume_names_works(data, old, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    shutil.copytree(old, "run")
    for language in LANGUAGES:
        with speaking(language):
            assert command(["train", "--resume", "run", "--steps", "9", "--set", "train.optimizer.rate=0.002"]) == 1
        said = capsys.readouterr().err
        assert "train.steps: 7 → 9" in said and "train.optimizer.rate: 0.001 → 0.002" in said
        line = said[said.index("regard train --fork") :].split("\n")[0]
    arguments = line.split()[1:]
    assert command([*arguments, "--out", "new"]) == 0, capsys.readouterr()
    assert Run("new").recipe.train.steps == 9 and len(Run("new").updates()) == 9
    assert command(["train", "--fork", "run", "--at", "3", "--steps", "4"]) == 0
    assert Run("run-fork-1").history()[0]["step"] == 3
    assert command(["runs", "list", "."]) == 0 and "run-fork-1" in capsys.readouterr().out
    assert replace(Run("run").recipe) == Run(old).recipe
