"""From a recipe to a finished model, for every task, with the real models; and what a run keeps."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_resume import kill_after, outcome, processes  # noqa: F401, a fixture

from regard import bundle, config
from regard.errors import ConfigError, RegardError
from regard.generate import Settings
from regard.tasks.scores import Result, Score
from regard.train import checkpoint, setup
from regard.train.feed import Place
from regard.train.progress import Silent
from regard.train.recipe import DataConfig, Recipe, TrainConfig, differences, find, load, located
from regard.train.run import Run, runs
from regard.train.start import resume, start
from regard.train.stop import Stop

WORDS = [*"春风又绿江南岸明月何时照我还", "the", "moon", "is", "bright", "tonight", "and", "far", "away"]
MODELS = {
    "causal-lm": {"family": "qwen3", "dim": 14, "depth": 2, "hidden": 23, "context": 13, "dropout": 0.1}
    | {"attention": {"heads": 2, "kv_heads": 1, "head_dim": 6}},
    "masked-lm": {"family": "bert", "dim": 14, "depth": 2, "hidden": 23, "heads": 2, "context": 23},
    "classification": {"family": "bert", "dim": 14, "depth": 1, "hidden": 23, "heads": 2, "context": 23},
    "seq2seq": {"family": "vaswani", "dim": 14, "depth": 1, "hidden": 23, "heads": 2, "context": 43},
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Rows with everything that any task wants."""
    draw, path = random.Random(3), tmp_path_factory.mktemp("data") / "rows.jsonl"
    lines = []
    for number in range(67):
        said = " ".join(draw.choices(WORDS, k=draw.randint(3, 19))) + f" {number}"
        row = {"text": said, "label": "ab"[number % 2], "source": said, "target": said[::-1]}
        lines.append(json.dumps(row, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def recipe(data: Path, task: str = "causal-lm", **train) -> Recipe:
    values = {
        "task": {"name": task},
        "model": MODELS[task],
        "data": {"train": str(data), "share": 0.2},
        "tokenizer": {"kind": "bpe", "vocab": 300},
        "train": {
            "steps": 7,
            "batch": {"tokens": 200, "accumulate": 2},
            "keep": {"every": 3},
            "evaluate": {"every": 4, "rows": 5},
            "machine": {"device": "cpu", "threads": 1, "tensorboard": False},
        },
    }
    return config.override(config.from_dict(Recipe, values), {f"train.{k}": str(v) for k, v in train.items()})


@pytest.mark.parametrize("task", MODELS)
def test_every_task_from_recipe_to_model(data, tmp_path, task):
    run, ended = start(recipe(data, task), tmp_path / "run")
    assert ended == "finished" and [line["step"] for line in run.updates()] == list(range(1, 8))
    assert [line["step"] for line in run.scores()] == [4, 7]
    loaded = bundle.load(run.folder)
    assert loaded.task == task and (loaded.labels == ("a", "b")) is (task == "classification")
    name, value, step = run.best()
    for file in ("asked.toml", "recipe.toml", "data.json", "first_batch.txt", "tokenizer/tokenizer.json", "README.md"):
        assert (run.folder / file).is_file(), file
    assert f"{value:.4g}" in (run.folder / "README.md").read_text(encoding="utf-8")
    # The finished model is the one that scored best, and it scores the same again.
    ready = setup.prepare(run.recipe, tokenizer=run.tokenizer)
    again = ready.score()(loaded.model, lambda done: None)
    assert again.primary.name == name and again.primary.value == pytest.approx(value, abs=1e-6)
    best = checkpoint.verify(run.checkpoints / checkpoint.name(step)).tensors("model")
    assert all(torch.equal(best[key], tensor) for key, tensor in loaded.model.named_parameters())
    assert not list(run.folder.glob("tmp-*")) and not (run.folder / ".holder.json").exists()


def test_the_best_is_exported(data, tmp_path, monkeypatch):
    def told(model, poll):
        return Result(name="model", scores=(Score(name="bits_per_character", value=values.pop(0)),), examples=1)

    values = [0.8, 0.1, 0.3]
    monkeypatch.setattr(setup.Setup, "score", lambda self: told)
    run, _ = start(recipe(data, **{"evaluate.every": 3}), tmp_path / "run")
    assert run.best() == ("bits_per_character", 0.1, 6) and values == []
    best = checkpoint.verify(run.checkpoints / checkpoint.name(6)).tensors("model")
    last = checkpoint.newest(run.checkpoints, pytest.fail).tensors("model")
    found = dict(bundle.load(run.folder).model.named_parameters())
    assert all(torch.equal(best[name], tensor) for name, tensor in found.items())
    assert not all(torch.equal(last[name], tensor) for name, tensor in found.items())


def test_resuming_needs_nothing_but_the_folder(data, tmp_path, monkeypatch):
    class Stops(Silent):
        def update(self, line):
            if line["step"] == 5:
                stop.ask()

    start(recipe(data), tmp_path / "whole")
    stop = Stop()
    monkeypatch.chdir(data.parent)
    run, ended = start(recipe(Path(data.name)), tmp_path / "run", Stops(), stop)  # a path that holds only from here
    assert ended == "stopped" and run.status == "stopped"
    assert bundle.load(run.folder)  # what it came to can be used
    monkeypatch.chdir(tmp_path)
    run, ended = resume("run")
    assert ended == "finished" and run.status == "finished"
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    one, other = (bundle.load(tmp_path / name).model for name in ("run", "whole"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    _, ended = resume("run")  # nothing is left to do
    assert ended == "finished" and outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_stopped_before_it_began(data, tmp_path):
    stop = Stop()
    stop.ask()
    run, ended = start(recipe(data), tmp_path / "run", stop=stop)
    assert ended == "stopped" and run.updates() == []
    start(recipe(data), tmp_path / "whole")
    assert resume(run.folder)[1] == "finished" and outcome(run.folder) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("task", ["causal-lm", "seq2seq"])
def test_recomputing_changes_nothing(data, tmp_path, task):
    one, _ = start(recipe(data, task), tmp_path / "one")
    other, _ = start(recipe(data, task, **{"machine.recompute": True}), tmp_path / "other")
    assert [line["loss"] for line in one.updates()] == [line["loss"] for line in other.updates()]


def _train(folder: Path, asked: Recipe) -> None:
    torch.set_num_threads(1)
    if Run(folder).exists:
        resume(folder)
    else:
        start(asked, folder)


@pytest.mark.slow
def test_the_real_model_killed_at_random_moments(data, processes, tmp_path):  # noqa: F811
    asked = recipe(data, steps=40, average=0.9)
    start(asked, tmp_path / "whole")
    draw = random.Random(2)
    for kill in range(5):
        process = processes.Process(target=_train, args=(tmp_path / "run", asked))
        process.start()
        kill_after(process, Run(tmp_path / "run"), updates=6 * kill + draw.randrange(6), delay=0.02 * draw.random())
    _train(tmp_path / "run", asked)
    found, wanted = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    assert found[1:] == wanted[1:] and found[0][-1] == wanted[0][-1]


def test_starting_from_a_run(data, tmp_path):
    """Weights, tokenizer and sizes are the base's; only the head is new."""

    class Hears(Silent):
        def say(self, key, **values):
            said[key] = values

    said: dict[str, dict] = {}
    base, _ = start(recipe(data, "masked-lm"), tmp_path / "base")
    asked = replace(recipe(data, "classification", steps=1), base=str(base.folder), model={"dropout": 0.0})
    run, _ = start(asked, tmp_path / "tuned", Hears())
    assert said["train.new_head"]["names"].split(", ") == [
        "head.pool.dense.weight",
        "head.pool.dense.bias",
        "head.out.weight",
        "head.out.bias",
    ]
    assert run.recipe.model["dim"] == 14 and run.recipe.model["dropout"] == 0.0
    old, first = bundle.load(base.folder), checkpoint.verify(run.checkpoints / checkpoint.name(0)).tensors("model")
    for name, tensor in old.model.named_parameters():
        assert name.startswith("head.") or torch.equal(first[name], tensor)
    assert bundle.load(run.folder).tokenizer.encode("moon 月") == old.tokenizer.encode("moon 月")
    for change, message in (({"dim": 22}, "no parameter"), ({"family": "gpt2"}, "is a bert model")):
        with pytest.raises(ConfigError, match=message):
            start(replace(asked, model=change), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_cannot_begin_leaves_nothing(data, tmp_path):
    for change, message in (
        ({"data.text": "txet"}, "txet"),
        ({"model.vocab": "17"}, "17"),
        ({"train.machine.device": "cuda:9"}, "cuda:9"),
        ({"train.freeze": "nothing.*"}, "matches no parameter"),
        ({"data.train": ""}, "no training data"),
    ):
        with pytest.raises(RegardError, match=message):
            start(config.override(recipe(data), change), tmp_path / "run")
        assert not (tmp_path / "run").exists(), message


def test_other_data_are_refused(data, tmp_path):
    copy = tmp_path / "rows.jsonl"
    copy.write_bytes(data.read_bytes())
    start(recipe(copy), tmp_path / "run")
    with open(copy, "a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "one more moon", "label": "a", "source": "x", "target": "y"}) + "\n")
    with pytest.raises(RegardError, match="not what they were"):
        resume(tmp_path / "run")


def test_another_recipe_is_refused_with_the_difference(data, tmp_path):
    run, _ = start(recipe(data), tmp_path / "run")
    assert resume(run.folder, recipe=recipe(data))[1] == "finished"
    changed = config.override(recipe(data), {"train.optimizer.rate": "0.5", "model.dropout": "0.3"})
    with pytest.raises(RegardError, match=r"model\.dropout: 0\.1 → 0\.3; train\.optimizer\.rate: 0\.001 → 0\.5"):
        resume(run.folder, recipe=changed)


def test_a_resolved_recipe_makes_the_same_run_again(data, tmp_path):
    run, _ = start(recipe(data), tmp_path / "one")
    again, _ = start(load(run.folder / "recipe.toml"), tmp_path / "two")
    assert outcome(tmp_path / "one") == outcome(tmp_path / "two")
    assert not list(differences(run.recipe, again.recipe))


def test_held_out_rows_do_not_depend_on_the_training(data):
    one, other = (setup.rows(replace(recipe(data).data, rows=rows)) for rows in (None, 5))
    assert one[1].fingerprint == other[1].fingerprint and len(other[0]) == 5
    texts = [{row["text"] for row in side} for side in one]
    assert not texts[0] & texts[1]


def test_the_first_batch_is_what_is_trained_on(data, tmp_path):
    run, _ = start(recipe(data), tmp_path / "run")
    ready = setup.prepare(run.recipe, tokenizer=run.tokenizer)
    feed = ready.feed()
    shown = (run.folder / "first_batch.txt").read_text(encoding="utf-8")
    batches = feed.batches(Place())
    assert f"{sum(len(batch.lengths) for batch in batches)} documents" in shown
    assert run.updates()[0]["tokens"] == sum(sum(batch.lengths) for batch in batches)
    assert all(where in shown for where in feed.where(batches[0].ids)[:4])


def test_augmented_rows_change_from_epoch_to_epoch(data):
    ready = setup.prepare(config.override(recipe(data), {"data.augment.drop": "0.5"}))
    feed = ready.feed()
    first, second = (feed.sample(3, epoch) for epoch in (0, 1))
    assert first is None or second is None or first.tokens.tolist() != second.tokens.tolist()
    assert len(list(feed.batches(Place()))) >= 1


def test_recipes_are_found_and_located(data, monkeypatch):
    monkeypatch.chdir(data.parent)
    found = located(recipe(Path(data.name)))
    assert found.data.train == str(data.resolve())
    assert located(config.override(found, {"data.train": "sample:tang-poems"})).data.train == "sample:tang-poems"
    assert find("here.toml") == Path("here.toml")
    with pytest.raises(ConfigError, match="no built-in recipe"):
        find("nothing-of-that-name")


def test_runs_are_listed(data, tmp_path):
    start(recipe(data), tmp_path / "b")
    start(recipe(data), tmp_path / "a")
    (tmp_path / "other").mkdir()
    assert [run.folder.name for run in runs(tmp_path)] == ["a", "b"] and runs(tmp_path / "none") == []


def test_tensorboard_gets_the_same_numbers(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = start(config.override(recipe(data), {"train.machine.tensorboard": "true"}), tmp_path / "run")
    events = EventAccumulator(str(run.events))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in run.updates()]
    assert [event.step for event in events.Scalars("held_out/bits_per_character")] == [4, 7]


def test_without_tensorboard_one_line_says_so(data, tmp_path, monkeypatch):
    class Hears(Silent):
        def say(self, key, **values):
            said.append(key)

    said: list[str] = []
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    _, ended = start(config.override(recipe(data), {"train.machine.tensorboard": "true"}), tmp_path / "run", Hears())
    assert ended == "finished" and said.count("train.no_board") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send one process a Ctrl-C")
def test_ctrl_c_on_the_command_line(data, tmp_path):
    """Saves, says how to go on, leaves with 130; what it says works."""
    path = tmp_path / "recipe.toml"
    path.write_text(config.to_toml(recipe(data, steps=100_000)), encoding="utf-8")
    command = [sys.executable, "-m", "regard", "train", str(path), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "REGARD_LANG": "en"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    run = Run(tmp_path / "run")
    while not run.metrics.exists() or len(run.updates()) < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert f"regard train --resume {run.folder.as_posix()}" in out and "Traceback" not in err
    assert checkpoint.newest(run.checkpoints, pytest.fail).step == len(run.updates())


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_key_holds_is_refused(seed):
    for refused in (lambda: TrainConfig(seed=seed), lambda: DataConfig(seed=seed), lambda: Settings(seed=seed)):
        with pytest.raises(ConfigError, match="seed"):
            refused()
