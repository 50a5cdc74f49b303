"""`regard eval` and `regard predict`, from the command line to what they print."""

from __future__ import annotations

import io
import json
import sys

import pytest
import torch

from regard import bundle, models
from regard.cli.main import run
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key
from regard.train.recipe import DataConfig, Recipe
from regard.train.run import Run

FILMS = [("a good film", "good"), ("a bad film", "bad"), ("good, very good", "good"), ("bad, very bad", "bad")] * 5
SMALL = {
    "bert": {"dim": 20, "depth": 1, "heads": 5, "hidden": 37, "context": 23},
    "gpt2": {"dim": 20, "depth": 1, "heads": 5, "context": 23},
    "vaswani": {"dim": 20, "depth": 1, "heads": 5, "hidden": 37, "context": 23},
}


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("REGARD_LANG", "en")
    monkeypatch.setenv("COLUMNS", "120")
    torch.set_num_threads(1)


@pytest.fixture
def films(tmp_path):
    path = tmp_path / "films.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in FILMS), encoding="utf-8")
    return path


def save(folder, family, task, kind, **changes):
    tokenizer = Tokenizer.train(kind, [text for text, _ in FILMS], vocab=300)
    config = models.config(family, {"vocab": tokenizer.size, **SMALL[family], **changes})
    labels = changes.get("labels", ())
    bundle.save(folder, bundle.Bundle(models.build(config, Key(1)).eval(), tokenizer, family, task, labels))
    return str(folder)


@pytest.fixture
def classifier(tmp_path):
    labels = ("bad", "good")
    return save(tmp_path / "model", "bert", "classification", "wordpiece", head="classify", labels=labels)


def test_model_stands_beside_its_baselines(classifier, films, capsys):
    assert run(["eval", classifier, "--data", str(films), "--train", str(films), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["results"]] == ["majority", "naive_bayes", "logistic_regression", "model"]
    assert found["primary"] == "accuracy" and found["rows"] == 20
    accuracy = found["results"][1]["scores"]["accuracy"]
    assert accuracy["value"] == 1.0 and accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_table_for_people(classifier, films, capsys):
    assert run(["eval", classifier, "--data", str(films), "--rows", "7"]) == 0
    out = capsys.readouterr().out
    assert "7 held-out examples" in out and "macro F1" in out and "95 % interval" in out
    assert "--train" in out, "it says why there is no baseline"


def test_a_run_brings_its_own_data(tmp_path, films, capsys):
    folder = tmp_path / "run"
    recipe = Recipe(task={"name": "causal-lm"}, model={"family": "gpt2"}, data=DataConfig(train=str(films), share=0.5))
    save(Run.create(folder, recipe).model, "gpt2", "causal-lm", "bytes")
    assert run(["eval", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["results"]] == ["unigram", "bigram", "5-gram", "model"]
    assert 0 < found["rows"] < 20
    model = found["results"][-1]["scores"]["bits_per_character"]["value"]
    assert model > found["results"][-2]["scores"]["bits_per_character"]["value"], "the model was never trained"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--data"),
        (["--data", "nowhere.csv"], "nowhere.csv"),
        (["--data", "LABELS"], r"awful"),
    ],
)
def test_what_cannot_be_scored_is_said(classifier, tmp_path, capsys, arguments, said):
    unseen = tmp_path / "unseen.csv"
    unseen.write_text("text,label\nx y,awful\nz,good\n", encoding="utf-8")
    arguments = [str(unseen) if each == "LABELS" else each for each in arguments]
    assert run(["eval", classifier, *arguments]) != 0
    captured = capsys.readouterr()
    assert said in captured.err and captured.out == "" and "Traceback" not in captured.err


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_classes_of_texts(classifier, capsys):
    assert run(["predict", classifier, "a good film", "bad"]) == 0
    found = lines(capsys)
    assert [each["text"] for each in found] == ["a good film", "bad"]
    assert all(set(each["probabilities"]) == {"bad", "good"} for each in found)
    assert run(["predict", classifier, "bad", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == found[1:]


def test_lines_of_a_pipe(classifier, capsys, monkeypatch):
    text = "\ufeffa good film\r\n\nbad\n" * 40
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert run(["predict", classifier]) == 0
    assert len(lines(capsys)) == 80
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("坏".encode("gb18030") * 5)))
    assert run(["predict", classifier]) == 1
    assert "UTF-8" in capsys.readouterr().err


def test_continuations_and_answers(tmp_path, capsys):
    writer = save(tmp_path / "writer", "gpt2", "causal-lm", "bytes")
    assert run(["predict", writer, "a g", "--max-tokens", "3"]) == 0
    (found,) = lines(capsys)
    assert found["text"] == "a g" and found["ended"] in ("length", "eos")
    assert run(["predict", writer, "a" * 40]) == 1
    assert "23" in capsys.readouterr().err
    answerer = save(tmp_path / "answerer", "vaswani", "seq2seq", "bytes")
    for more in ([], ["--beams", "2"]):
        assert run(["predict", answerer, "a g", *more]) == 0
        assert lines(capsys)[0].keys() == {"text", "target", "ended"}


def test_gaps(tmp_path, capsys):
    filler = save(tmp_path / "filler", "bert", "masked-lm", "wordpiece")
    assert run(["predict", filler, "a [MASK] film", "--candidates", "2"]) == 0
    assert len(lines(capsys)[0]["masks"][0]) == 2


def test_an_option_that_does_nothing_is_refused(classifier, capsys):
    assert run(["predict", classifier, "bad", "--beams", "2"]) == 2
    assert "--beams" in capsys.readouterr().err
    assert run(["predict", classifier, "word " * 40]) == 1
    assert "23" in capsys.readouterr().err
