"""`regard runs`, `regard diff` and `regard eval` of several runs, on run folders made by hand."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import replace

import pytest
import torch

from regard import bundle, models
from regard.cli import runs as verb
from regard.cli.main import run
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key
from regard.train import checkpoint, remove
from regard.train.recipe import DataConfig, Recipe, TrainConfig
from regard.train.run import Metrics, Run

LABELS = ("bad", "good")
FILMS = [(f"a {word} film, number {n}", word) for n in range(30) for word in LABELS]
HELD_OUT = 27  # of the 60 rows: the share is of chance, the same each time
SMALL = {"dim": 20, "depth": 1, "heads": 5, "hidden": 37, "context": 23}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGARD_LANG", "en")
    monkeypatch.setenv("COLUMNS", "110")
    torch.set_num_threads(1)
    lines = "".join(f'"{text}",{label}\n' for text, label in FILMS)
    (tmp_path / "films.csv").write_text("text,label\n" + lines, encoding="utf-8")


def made(name, seed=1, steps=20, finished=True, **data):
    """A run that says it was trained: metrics, three checkpoints, a model of random weights."""
    settings = DataConfig(train="films.csv", **{"share": 0.5, **data})
    recipe = Recipe(
        task={"name": "classification"}, model={"family": "bert"}, data=settings, train=TrainConfig(seed=seed, steps=20)
    )
    found = Run.create(f"runs/{name}", recipe)
    found.note("started")
    metrics = Metrics(found)
    for step in range(1, steps + 1):
        metrics.add({"step": step, "loss": 2 / step + seed / 100, "seconds": 0.5})
    for step, value in ((10, 0.6), (15, 0.8), (20, 0.7)):
        score = {"value": value, "low": value - 0.1, "high": value + 0.1}
        metrics.add({"step": step, "held_out": {"accuracy": score}, "seconds": 0.1})
    metrics.close()
    for step in (10, 15, 20):
        checkpoint.write(found.checkpoints, step, {"model": {"weight": torch.full((1000,), float(step))}}, {})
    if finished:
        found.note("finished", step=steps)
        tokenizer = Tokenizer.train("wordpiece", [text for text, _ in FILMS], vocab=200)
        config = models.config("bert", {"vocab": tokenizer.size, **SMALL, "head": "classify", "labels": LABELS})
        model = models.build(config, Key(seed)).eval()
        bundle.save(found.model, bundle.Bundle(model, tokenizer, "bert", "classification", LABELS))
    return found


def answered(capsys, *arguments):
    assert run([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_list_says_what_each_takes_and_what_could_be_freed(capsys):
    made("a"), made("b", finished=False)
    shutil.copytree("runs/a", "runs/.removed-old-1")
    found = answered(capsys, "runs")
    assert [line["run"] for line in found["runs"]] == ["runs/a", "runs/b"]
    assert found["runs"][0]["best"] == {"name": "accuracy", "value": 0.8, "step": 15}
    old = sum(path.stat().st_size for path in Run("runs/a").checkpoints.glob("step-00000010/*"))
    assert found["runs"][0]["spare"] == old, "the newest and the best stay"
    assert found["left_over"] == found["runs"][0]["bytes"]
    assert found["spare"] == 2 * old + found["left_over"]
    assert found["bytes"] == sum(line["bytes"] for line in found["runs"]) + found["left_over"]
    assert run(["runs"]) == 0
    assert "could be freed" in capsys.readouterr().out


def test_a_run_that_cannot_be_read_does_not_hide_the_others(capsys):
    made("a")
    made("b").folder.joinpath("recipe.toml").write_text("broken", encoding="utf-8")
    found = answered(capsys, "runs")["runs"]
    assert found[0]["status"] == "finished" and "b/recipe.toml" in found[1]["why"]


def test_show_draws_the_curves_and_tells_the_history(capsys, tmp_path):
    made("a")
    assert run(["runs", "show", "runs/a", "--html", "a.html"]) == 0
    out = capsys.readouterr().out
    assert "loss: 2.01 to 0.11" in out and "accuracy ↑: 0.6 to 0.7" in out and "accuracy 0.8 (15)" in out
    assert "┤" in out and "└" in out and any("⠀" < letter <= "⣿" for letter in out), "axes and a line"
    assert "started" in out and "finished" in out and "--checkpoints runs/a" in out
    assert "cli_runs." not in out and "tasks." not in out, "no hole in the table"
    assert (tmp_path / "a.html").stat().st_size > 10_000
    found = answered(capsys, "runs", "show", "runs/a")
    assert [line["step"] for line in found["scores"]] == [10, 15, 20] and len(found["updates"]) == 20


def test_show_of_a_run_that_has_not_begun(capsys):
    Run.create("runs/new", Recipe(task={"name": "causal-lm"}, model={"family": "gpt2"}))
    assert run(["runs", "show", "runs/new"]) == 0
    assert "not begun" in capsys.readouterr().out


def test_rm_deletes_the_run_and_nothing_else(capsys):
    size = made("a").size
    made("b")
    found = answered(capsys, "runs", "rm", "runs/a", "--yes")
    assert found["freed"] == {"runs/a": size}
    assert os.listdir("runs") == ["b"] and Run("runs/b").best() == ("accuracy", 0.8, 15)


def test_rm_of_old_checkpoints_keeps_the_newest_and_the_best(capsys):
    found = made("a")
    before = found.size
    freed = answered(capsys, "runs", "rm", "runs/a", "--checkpoints", "--yes")["freed"]["runs/a"]
    assert sorted(path.name for path in found.checkpoints.iterdir()) == ["step-00000015", "step-00000020"]
    assert freed > 4000 and found.size == before - freed
    assert found.model.is_dir() and len(found.updates()) == 20


def test_rm_of_old_checkpoints_never_takes_the_last_good_one(capsys):
    found = made("a")
    for step in (15, 20):
        (found.checkpoints / checkpoint.name(step) / "model.safetensors").write_bytes(b"damaged")
    assert run(["runs", "rm", "runs/a", "--checkpoints", "--yes"]) == 0
    assert checkpoint.newest(found.checkpoints, lambda error: None).step == 10


@pytest.mark.parametrize("folder", ["films", "films.csv", "nowhere", "runs", "."])
def test_rm_refuses_what_is_no_run_before_it_deletes_anything(capsys, tmp_path, folder):
    (tmp_path / "films").mkdir()
    made("a")
    assert run(["runs", "rm", "runs/a", folder, "--yes"]) == 1
    assert folder in capsys.readouterr().err and Run("runs/a").exists


def test_rm_refuses_a_link(capsys):
    made("a")
    os.symlink(os.path.abspath("runs/a"), "runs/link")
    assert run(["runs", "rm", "runs/link", "--yes"]) == 1
    assert "link" in capsys.readouterr().err and Run("runs/a").exists


@pytest.mark.parametrize("more", [[], ["--checkpoints"]])
def test_rm_refuses_a_run_in_use(capsys, more):
    found, free = made("a"), made("b")
    with found.locked():
        before = found.size
        assert run(["runs", "rm", "runs/b", "runs/a", "--yes", *more]) == 1
        assert str(os.getpid()) in capsys.readouterr().err and found.size == before
    assert free.exists and len(list(free.checkpoints.iterdir())) == 3, "nor the others that were named"


def test_rm_asks_first(capsys, monkeypatch):
    found = made("a")
    for arguments in (["runs", "rm", "runs/a"], ["runs", "rm", "runs/a", "--json"]):
        assert run(arguments) == 2
        assert "--yes" in capsys.readouterr().err and found.exists
    monkeypatch.setattr(verb.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(verb.click, "confirm", lambda text, err: "MB" not in text)
    assert run(["runs", "rm", "runs/a"]) == 1 and found.exists
    monkeypatch.setattr(verb.click, "confirm", lambda text, err: "cannot be undone" in text)
    assert run(["runs", "rm", "runs/a"]) == 0 and not found.exists


def test_half_a_run_never_stands_under_its_name(capsys, monkeypatch):
    """A deletion that fails midway leaves what no list shows as a run, and the next one takes it away."""
    found, other = made("a"), made("b")
    real = shutil.rmtree

    def broken(path, *arguments, **keywords):
        assert not found.folder.exists(), "renamed before the first file goes"
        real(path / "model")
        raise OSError(28, "no", str(path))

    monkeypatch.setattr(remove.shutil, "rmtree", broken)
    assert run(["runs", "rm", "runs/a", "--yes"]) == 1
    monkeypatch.setattr(remove.shutil, "rmtree", real)
    capsys.readouterr()
    found = answered(capsys, "runs")
    assert [line["run"] for line in found["runs"]] == ["runs/b"] and found["left_over"] > 0
    answered(capsys, "runs", "rm", str(other.folder), "--yes")
    assert os.listdir("runs") == []


# ---------------------------------------------------------------------------------------------------------------- diff


def test_diff_tells_settings_scores_and_a_verdict(capsys):
    made("a"), made("b", seed=2)
    found = answered(capsys, "diff", "runs/a", "runs/b")
    assert found["recipe"] == {"train.seed": [1, 2]} and found["results"]["step"] == [20, 20]
    names = [each["name"] for each in found["scores"]]
    assert names == ["accuracy", "macro_f1"] and found["rows"] == found["scores"][0]["examples"] == HELD_OUT
    first = found["scores"][0]
    assert first["low"] <= first["difference"] <= first["high"] and 0 < first["p"] <= 1
    assert "more than noise" in found["verdict"] and ("not more" in found["verdict"]) != first["more_than_noise"]
    assert run(["diff", "runs/a", "runs/b", "--html", "d.html"]) == 0
    out = capsys.readouterr().out
    assert "train.seed" in out and "another training seed" in out.replace("\n", " ").lower()
    assert answered(capsys, "runs", "diff", "runs/a", "runs/b") == found, "one function behind both"


def test_a_model_against_itself_is_no_difference(capsys):
    made("a"), made("b", seed=2)
    shutil.rmtree("runs/b/model")
    shutil.copytree("runs/a/model", "runs/b/model")
    found = answered(capsys, "diff", "runs/a", "runs/b")["scores"][0]
    assert found["difference"] == 0 and found["p"] == 1 and not found["more_than_noise"]


def test_runs_that_divided_their_data_otherwise_meet_on_what_both_held_out(capsys):
    one, other = made("a"), made("b", seed=3)
    moved = replace(other.recipe, data=replace(other.recipe.data, seed=5))
    other.save_recipe(moved)
    from regard.train import setup

    held = [{row["text"] for row in setup.rows(each.recipe.data)[1]} for each in (one, other)]
    found = answered(capsys, "diff", "runs/a", "runs/b")
    assert 0 < found["rows"] == len(held[0] & held[1]) < HELD_OUT


def test_rows_that_were_learnt_are_told(capsys):
    made("a"), made("b", seed=2)
    found = answered(capsys, "diff", "runs/a", "runs/b", "--data", "films.csv")
    assert found["rows"] == 60
    assert [remark[:2] for remark in found["remarks"][:2]] == [str(60 - HELD_OUT)] * 2, found["remarks"]


def test_an_unfinished_run_is_compared_without_scores(capsys):
    made("a"), made("b", finished=False)
    found = answered(capsys, "diff", "runs/a", "runs/b")
    assert "scores" not in found and "runs/b" in found["remarks"][0] and found["recipe"] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/a", "nowhere"], "nowhere"),
        (["nowhere", "elsewhere"], "nowhere"),
        (["runs/a", "runs/other"], "other"),
    ],
)
def test_what_cannot_be_compared_is_said(capsys, arguments, said):
    made("a")
    tokenizer = Tokenizer.train("bytes", ["abc"], vocab=300)
    config = models.config("gpt2", {"vocab": tokenizer.size, "dim": 20, "depth": 1, "heads": 5, "context": 23})
    bundle.save("runs/other", bundle.Bundle(models.build(config, Key(1)), tokenizer, "gpt2", "causal-lm"))
    assert run(["diff", *arguments]) == 1
    captured = capsys.readouterr()
    assert said in captured.err and "Traceback" not in captured.err


# ------------------------------------------------------------------------------------------------------------ eval


def test_several_runs_are_summarised(capsys):
    for seed in (1, 2, 3):
        made(f"a{seed}", seed=seed)
    found = answered(capsys, "eval", "runs/a1", "runs/a2", "runs/a3")
    values = [each["scores"]["accuracy"]["value"] for each in found["results"]]
    spread = found["spread"][0]
    assert spread["values"] == values and spread["mean"] == pytest.approx(sum(values) / 3)
    mean = spread["mean"]
    assert spread["deviation"] == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in values) / 2))
    assert found["remarks"] == []
    made("b", seed=4, rows=17)
    assert "data.rows" in answered(capsys, "eval", "runs/a1", "runs/b")["remarks"][0]
    assert run(["eval", "runs/a1", "runs/a2", "--slices"]) == 2
    assert "--slices" in capsys.readouterr().err


def test_everything_that_can_be_asked_of_a_classifier(capsys, tmp_path):
    made("a")
    asked = ["--calibration", "--robust", "--slices", "--html", "e.html", "--png", "e.png"]
    found = answered(capsys, "eval", "runs/a", *asked)
    assert found["calibration"]["examples"] == HELD_OUT and len(found["calibration"]["curve"]) <= 15
    kinds = [one["kind"] for one in found["robustness"]["disturbed"]]
    assert kinds == ["typos", "case", "spacing", "lookalikes", "order"] and found["robustness"]["idle"] == [
        "homophones"
    ]
    assert {one["kind"] for one in found["slices"]} == {"label", "length"}
    assert found["against_baseline"]["examples"] == HELD_OUT
    assert (tmp_path / "e.png").stat().st_size > 10_000 and (tmp_path / "e.html").stat().st_size > 10_000
    for language in ("en", "zh"):
        assert run(["eval", "runs/a", *asked[:3], "--lang", language]) == 0
        out = capsys.readouterr().out
        assert "tasks." not in out and "cli_eval." not in out and "{" not in out, "no hole in the table"


def test_what_a_language_model_cannot_be_asked_is_said_at_once(capsys):
    tokenizer = Tokenizer.train("bytes", ["abc"], vocab=300)
    config = models.config("gpt2", {"vocab": tokenizer.size, "dim": 20, "depth": 1, "heads": 5, "context": 23})
    bundle.save("writer", bundle.Bundle(models.build(config, Key(1)), tokenizer, "gpt2", "causal-lm"))
    for asked in ("--robust", "--calibration"):
        assert run(["eval", "writer", "--data", "films.csv", asked]) == 1
        assert asked in capsys.readouterr().err
    assert run(["eval", "writer", "--data", "films.csv", "--slices", "--json"]) == 0
    assert {one["kind"] for one in json.loads(capsys.readouterr().out)["slices"]} == {"length", "label"}
