"""A run that this version's first format left behind keeps being read; a newer one is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from regard import bundle
from regard.cli.main import run as regard
from regard.errors import BadFileError, ConfigError
from regard.train import checkpoint
from regard.train.run import FORMAT, Run, runs

KEPT = Path(__file__).parent / "kept"


@pytest.fixture
def old(tmp_path) -> Path:
    """A copy of the run of format 1: `regard train` of a few steps on the built-in poems, and never touched since."""
    shutil.copytree(KEPT / "format-1", tmp_path / "format-1")
    return tmp_path / "format-1"


def test_every_format_there_ever_was_is_kept():
    assert sorted(path.name for path in KEPT.iterdir()) == [f"format-{number}" for number in range(1, FORMAT + 1)]
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) < 100_000 * FORMAT


def test_an_old_run_is_read(old):
    found = Run.open(old)
    assert found.status == "finished" and found.recipe.task_name == "causal-lm" and found.asked.train.steps == 4
    assert [line["step"] for line in found.updates()] == [1, 2, 3, 4]
    assert found.best() is not None and found.data and found.history()
    assert [one.folder.name for one in runs(old.parent)] == ["format-1"]
    newest = checkpoint.newest(found.checkpoints, pytest.fail)
    assert newest is not None and newest.step == 4 and newest.tensors("model") and newest.tensors("optimizer")
    loaded = bundle.load(old)
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("明月")) == "明月"


@pytest.mark.slow
def test_an_old_run_goes_on(old, capsys):
    """Stopped before its end (its last checkpoint and model are taken away), it is resumed to the end."""
    shutil.rmtree(old / "model")
    shutil.rmtree(old / "checkpoints" / checkpoint.name(4))
    assert regard(["train", "--resume", str(old)]) == 0, capsys.readouterr().err
    assert Run.open(old).status == "finished" and bundle.load(old).family == "gpt2"


@pytest.mark.parametrize("told", [FORMAT + 1, 0, -1, "1", None, 1.5, [1], {}])
def test_a_run_of_another_format_is_refused_by_name(told, old, capsys):
    (old / "run.json").write_text(json.dumps({"format": told}))
    with pytest.raises(BadFileError, match=r"run\.json: written in format"):
        Run.open(old)
    assert regard(["train", "--resume", str(old)]) != 0
    assert "run.json" in capsys.readouterr().err


def test_a_run_that_does_not_say_is_of_the_first_format(old):
    (old / "run.json").unlink()
    assert Run.open(old).status == "finished"


@pytest.mark.parametrize("told", [checkpoint.FORMAT + 1, 0, "1", None])
def test_a_checkpoint_of_another_format_is_refused_by_name(told, old):
    folder = old / "checkpoints" / checkpoint.name(4)
    manifest = json.loads((folder / "manifest.json").read_text())
    body = {key: value for key, value in manifest.items() if key != "sha256"} | {"format": told}
    (folder / "manifest.json").write_text(json.dumps({**body, "sha256": checkpoint._seal(body)}))
    with pytest.raises(BadFileError, match=r"manifest\.json: written in format"):
        checkpoint.verify(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("recipe.toml", "a ="),
        ("recipe.toml", ""),
        ("asked.toml", '[task]\nname = "fly"\n'),
        ("data.json", "[]"),
        ("data.json", '{"a": NaN}'),
        ("history.jsonl", "[1]\n"),
        ("history.jsonl", '{"event": 5}\n'),
        ("history.jsonl", "{\n{}\n"),
        ("metrics.jsonl", "5\n"),
        ("metrics.jsonl", '{"loss": 1}\n'),
        ("metrics.jsonl", '{"step": "1", "loss": 1}\n'),
        ("metrics.jsonl", '{"step": 1, "held_out": {}}\n'),
        ("metrics.jsonl", '{"step": 1, "held_out": {"loss": 5}}\n'),
    ],
)
def test_a_damaged_file_of_a_run_is_named(file, content, old):
    (old / file).write_text(content)
    with pytest.raises((BadFileError, ConfigError)) as caught:
        found = Run.open(old)
        _ = found.recipe, found.asked, found.data, found.history(), found.updates(), found.scores(), found.best()
    assert file in str(caught.value)
