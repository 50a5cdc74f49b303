"""Every command of the page on generation runs, in both languages, and the two pages have the same ones."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("generation.md", "generation.zh.md")]
TEXTS = ["The moon is far, the night is wet; one two three. As JSON: {} The year is 1900.", "Is it? 0123456789 +-"]
TEMPLATE = "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}"


def commands(page: Path) -> list[str]:
    return [found.replace("\\|", "|") for found in re.findall(r"`(regard [^`]+)`", page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny model under the names that the page uses."""
    tokenizer = Tokenizer.train("bpe", TEXTS * 3, 330)
    sizes = {"vocab": tokenizer.size, "context": 190, "dim": 24, "depth": 1, "hidden": 32}
    config = models.config("qwen3", {**sizes, "attention": {"heads": 2, "kv_heads": 1, "head_dim": 12}})
    model = models.build(config, Key(1)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(9.0)
    made = tmp_path_factory.mktemp("page")
    for name in ("smollm2", "my-model", "my-small-model"):
        bundle.save(made / name, Bundle(model, tokenizer, "qwen3", "causal-lm"))
        settings = json.loads((made / name / "tokenizer_config.json").read_text())
        (made / name / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    return made


def test_the_pages_have_the_same_commands():
    assert commands(PAGES[0]) == commands(PAGES[1]) and len(commands(PAGES[0])) > 25


@pytest.mark.parametrize("line", commands(PAGES[0]))
def test_a_command_runs(folder, monkeypatch, capsys, line):
    monkeypatch.chdir(folder)
    code = run([*shlex.split(line)[1:], "--device", "cpu", "--threads", "1"])
    out, error = capsys.readouterr()
    assert code == 0 and out.strip(), error
    if "--regex" in line:
        assert re.fullmatch("The year is (18|19)[0-9][0-9]", out.strip())
    if "--schema" in line:
        assert out.strip() in ('As JSON: {"wet": true}', 'As JSON: {"wet": false}')
    if "--force" in line:
        assert " night" in out
