"""Every command of the page on models runs, a hub on this machine in the place of those on the network."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from regard import bundle, models, named
from regard.bundle import Bundle
from regard.cli.main import run
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "using"))

from hub_server import Hub  # noqa: E402

PAGES = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("models.md", "models.zh.md")]


def commands(page: str) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line]


def test_every_short_name_is_on_the_page() -> None:
    for name in named.NAMES:
        assert all(f"`{name}`" in page for page in PAGES), name


def test_both_languages_show_the_same_commands() -> None:
    assert commands(PAGES[0]) == commands(PAGES[1])


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A tiny Llama, whose tokenizer llama.cpp knows, as `my-model`."""
    import tokenizers

    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = tokenizers.decoders.ByteLevel()
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|pad|>", "<|bos|>", "<|eos|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280, special_tokens=specials, initial_alphabet=letters, show_progress=False
    )
    rust.train_from_iterator(["the quick brown fox"] * 9, trainer)
    rust.save(str(tmp_path / "tokenizer.json"))
    words = Tokenizer.load(tmp_path / "tokenizer.json")
    sizes = {"vocab": words.size, "context": 64, "dim": 48, "depth": 1, "hidden": 96}
    config = models.config("llama", {**sizes, "attention": {"heads": 6, "kv_heads": 2, "head_dim": 8}})
    bundle.save(tmp_path / "my-model", Bundle(models.build(config, Key(2)).eval(), words, "llama", "causal-lm"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    return tmp_path


def test_the_commands_run(place: Path, monkeypatch, capsys) -> None:
    from regard import export

    monkeypatch.setattr(named, "fetch", lambda name: place / "my-model")
    export.export(bundle.load(place / "my-model"), place / "x.gguf", "gguf")
    files = {path.name: path.read_bytes() for path in (place / "my-model").iterdir()}
    files["model.Q4_K_M.gguf"] = (place / "x.gguf").read_bytes()
    with Hub(files) as hub:
        for kind in ("HF", "MS"):
            monkeypatch.setenv(f"REGARD_{kind}_MIRRORS", hub.url)
        for line in commands(PAGES[0]):
            told = [hub.url if part == "https://hf-mirror.com" else part for part in line[1:]]
            if "--file" in told:  # another file of a model that is here already
                for left in sorted((place / "cache" / "hub" / "hf").rglob("*"), reverse=True):
                    left.rmdir() if left.is_dir() else left.unlink()
            assert run(told) == 0, (line, capsys.readouterr().err)
            assert capsys.readouterr().out.strip(), line
    assert bundle.load("poet").family == "llama"
