"""`regard new`, `regard train` and `regard runs`, from the command line to what they print."""

from __future__ import annotations

import json
import tomllib

import pytest
import torch

from regard.cli.main import run
from regard.train import draft
from regard.train.recipe import Recipe, load
from regard.train.run import Run
from regard.words import LANGUAGES, speaking


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    torch.set_num_threads(1)


@pytest.fixture
def reviews(tmp_path):
    lines = [f'"a {word} film, number {n}",{stars},{n}' for n in range(40) for word, stars in (("good", 5), ("bad", 1))]
    (tmp_path / "reviews.csv").write_text("review,stars,id\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return "reviews.csv"


SMALL = ["--set", "model.dim=10", "--set", "model.heads=2", "--set", "model.depth=1", "--set", "model.hidden=11"]
QUICK = [*SMALL, "--set", "tokenizer.vocab=300", "--set", "train.machine.tensorboard=false", "--threads", "1"]


def said(capsys) -> tuple[str, str]:
    found = capsys.readouterr()
    return found.out, found.err


def test_new_train_runs(reviews, capsys):
    """A table with columns of any names, to a trained model, with nothing typed but commands that were shown."""
    assert run(["new", "mine", "--data", reviews]) == 0
    out, _ = said(capsys)
    assert "column 'review'" in out and "column 'stars'" in out and "regard train mine/recipe.toml" in out
    recipe = load("mine/recipe.toml")
    assert recipe.task == {"name": "classification"} and (recipe.data.text, recipe.data.label) == ("review", "stars")

    assert run(["train", "mine/recipe.toml", "--steps", "3", *QUICK]) == 0
    out, err = said(capsys)
    assert "Finished runs/recipe-1 after 3 updates." in out and "regard eval runs/recipe-1" in out and "3/3" in err
    assert Run("runs/recipe-1").recipe.model["labels"] == ("1", "5")

    assert run(["train", "mine/recipe.toml", "--steps", "2", *QUICK, "--json"]) == 0
    lines = [json.loads(line) for line in said(capsys)[0].splitlines()]
    assert [line["step"] for line in lines if line.get("event") == "update"] == [1, 2]
    assert lines[-1]["run"] == "runs/recipe-2" and lines[-1]["outcome"] == "finished"

    assert run(["runs"]) == 0
    out, _ = said(capsys)
    assert "recipe-1" in out and "recipe-2" in out and "accuracy" in out and "finished" in out
    assert run(["runs", "--json"]) == 0
    found = json.loads(said(capsys)[0])["runs"]
    assert [(line["step"], line["steps"]) for line in found] == [(3, 3), (2, 2)]
    assert run(["runs", "show", "runs/recipe-1"]) == 0
    assert "loss:" in said(capsys)[0]
    assert run(["runs", "diff", "runs/recipe-1", "runs/recipe-2", "--json"]) == 0
    assert json.loads(said(capsys)[0])["recipe"] == {"train.steps": [3, 2]}


def test_options_stand_for_keys(reviews, capsys):
    run(["new", "mine", "--data", "sample:film-reviews", "--task", "classification"])
    columns = ["--text", "review", "--label", "stars"]
    options = ["--data", reviews, *columns, "--seed", "7", "--steps", "1", "--out", "here"]
    assert run(["train", "mine/recipe.toml", *QUICK, *options]) == 0, said(capsys)
    recipe = Run("here").recipe
    assert (recipe.data.text, recipe.data.label, recipe.train.seed, recipe.train.steps) == ("review", "stars", 7, 1)
    assert recipe.data.train.endswith("reviews.csv") and recipe.train.machine.threads == 1
    capsys.readouterr()
    assert run(["train", "--resume", "here", "--seed", "8"]) == 1
    assert "train.seed: 7 → 8" in said(capsys)[1]
    assert run(["train", "--resume", "here"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 2, "--resume RUN"),
        (["train", "nothing.toml"], 1, "nothing.toml does not exist"),
        (["train", "nothing"], 2, "no built-in recipe"),
        (["train", "--resume", "nowhere"], 1, "nowhere is no run"),
        (["train", "mine/recipe.toml", "--set", "steps"], 2, "no KEY=VALUE"),
        (["train", "mine/recipe.toml", "--set", "train.stops=3"], 2, "Did you mean train.steps?"),
        (["train", "mine/recipe.toml", "--set", "train.steps=0"], 2, "train.steps"),
        (["train", "mine/recipe.toml", "--set", "model.dimm=3"], 2, "Did you mean dim?"),
        (["train", "mine/recipe.toml", "--label", "nope"], 1, "no column 'nope'"),
        (["train", "mine/recipe.toml", "--dtype", "bfloat16", "--device", "cpu"], 2, "bfloat16"),
        (["train", "mine/recipe.toml", "--out", "mine"], 1, "mine has something in it"),
        (["new", "mine"], 1, "is there already"),
        (["new", "pairs", "--task", "seq2seq", "--data", "reviews.csv"], 1, "--source … --target …"),
        (["runs", "show", "nowhere"], 1, "nowhere is no run"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(reviews, capsys, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    run(["new", "mine", "--data", reviews])
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    capsys.readouterr()
    assert run(arguments) == code
    out, err = said(capsys)
    assert message in err and "Traceback" not in err and out == ""
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize(
    ("header", "row", "task", "columns"),
    [
        ("review,stars", '"it was good {n}",{m}', "classification", {"text": "review", "label": "stars"}),
        ("en,zh", '"number {n}","数字 {n}"', "seq2seq", {"source": "en", "target": "zh"}),
        ("question,answer,id", '"what is {n}?","it is {n}",{n}', "seq2seq", {"source": "question", "target": "answer"}),
        ("title,body_text", 'x{n},"a long story {n} with no end"', "causal-lm", {"text": "body_text"}),
        ("text,label", '"row {n}",unique {n}', "causal-lm", {"text": "text"}),  # as many labels as rows are no labels
    ],
)
def test_task_and_columns_are_guessed(tmp_path, header, row, task, columns):
    lines = [row.format(n=n, m=n % 2) for n in range(30)]
    (tmp_path / "table.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    assert draft.guess(draft.look("table.csv", {}), {}, None) == (task, columns)


def test_what_is_named_is_not_guessed(reviews):
    table = draft.look(reviews, {"text": "review"})
    assert draft.guess(table, {"text": "review"}, None) == ("causal-lm", {"text": "review"})
    assert draft.guess(table, {}, "masked-lm") == ("masked-lm", {"text": "review"})
    named = {"text": "review", "label": "id"}
    assert draft.guess(table, named, "classification") == ("classification", named)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", draft.ROLES)
def test_every_draft_is_a_recipe(tmp_path, language, task):
    (tmp_path / "t.jsonl").write_text(
        '{"text": "明月", "label": "a", "source": "x", "target": "y"}\n' * 9,
        encoding="utf-8",
    )
    table = draft.look("t.jsonl", {})
    found = draft.draft(table, {role: role for role in draft.ROLES[task]}, task)
    with speaking(language):
        text = draft.text(found, 'a "quoted" \\ path', "cost", ["guess"])
    recipe = tomllib.loads(text)
    assert recipe["data"]["train"] == 'a "quoted" \\ path' and recipe["task"]["name"] == task
    from regard.config import from_dict

    made = from_dict(Recipe, recipe)
    assert made.task_settings and draft.parameters(found) > 0


def test_cost_is_operations_over_speed(monkeypatch, reviews):
    monkeypatch.setattr(draft, "products", lambda: 6e9)
    found = draft.draft(draft.look(reviews, {}), {"text": "review", "label": "stars"}, "classification")
    weights = draft.parameters(found)
    assert draft.seconds(found, weights) == pytest.approx(2 * weights * found.tokens * found.steps / 1e9)
