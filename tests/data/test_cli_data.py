from __future__ import annotations

import json

import pytest

from regard.cli.main import run

RECIPE = """
[task]
name = "causal-lm"
[model]
family = "qwen3"
dim = 16
depth = 1
hidden = 16
context = 23
attention = { heads = 2, kv_heads = 2, head_dim = 8 }
[data]
train = "sample:tang-poems"
rows = 40
[tokenizer]
kind = "characters"
rows = 300
[train.batch]
tokens = 128
"""


def test_check_reports_on_a_file(tmp_path, capsys):
    path = tmp_path / "reviews.csv"
    path.write_text("review,stars\ngood,5\nbad,1\ngood,5\n", encoding="utf-8")
    assert run(["data", "check", str(path), "--text", "review", "--label", "stars"]) == 0
    shown = capsys.readouterr().out
    assert "3 rows" in shown and f"{path}:4  good" in shown
    assert run(["data", "check", str(path), "--text", "review", "--held-out", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 3 and report["shared"]["count"] == 3


def test_check_says_what_is_wrong_in_both_languages(tmp_path, capsys):
    path = tmp_path / "reviews.csv"
    path.write_text("review,stars\ngood,5\n", encoding="utf-8")
    assert run(["data", "check", str(path)]) == 1
    assert "it has: review, stars" in capsys.readouterr().err
    assert run(["data", "check", str(path), "--lang", "zh"]) == 1
    assert "现有的列：review, stars" in capsys.readouterr().err


@pytest.mark.parametrize("language", ["en", "zh"])
def test_samples_are_listed(capsys, language):
    assert run(["data", "samples", "--lang", language]) == 0
    shown = capsys.readouterr().out
    assert "sample:tang-poems" in shown and "51,115" in shown and "MPL-2.0" in shown and "cli_data" not in shown
    assert run(["data", "samples", "--json"]) == 0
    assert {sample["name"] for sample in json.loads(capsys.readouterr().out)["samples"]} == {
        "sample:tang-poems",
        "sample:film-reviews",
        "sample:office-help",
        "sample:addresses",
        "sample:digits",
    }


def test_show_prints_the_first_batch_of_a_recipe(tmp_path, capsys):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    assert run(["data", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "40 rows to train on" in shown and "without padding" in shown and "── 1: sample:tang-poems:" in shown
    assert run(["data", "show", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["first_batch"] in shown and found["batches"] > 1
