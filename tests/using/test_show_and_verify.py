"""What is here, what a model is made of, and how far it is from the reference."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.doctor import beside, given
from regard.errors import MissingPackage, RegardError
from regard.hub import shelf
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Context, Key
from regard.models.anatomy import examine

PUBLISHED = Path(__file__).parents[1] / "families"
TEXTS = [*given.TEXTS, "a quiet film", "今天天气很好"] * 5
SIZES = {"dim": 24, "depth": 2, "hidden": 37, "context": 80}
TINY = {
    "bert": {**SIZES, "heads": 2},
    "llama": {**SIZES, "attention": {"heads": 4, "kv_heads": 2, "head_dim": 6}},
    "gpt2": {key: value for key, value in SIZES.items() if key != "hidden"} | {"heads": 2},
    "bart": {**SIZES, "heads": 2, "decoder_depth": 3, "decoder_heads": 3, "decoder_hidden": 41},
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train("bpe", TEXTS, 320)


def tiny(family: str, tokenizer: Tokenizer, folder: Path) -> Path:
    told = {"vocab": tokenizer.size, **TINY[family]}
    model = models.build(models.config(family, told), Key(2)).eval()
    with torch.no_grad():
        for one in model.parameters():
            one.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(one.numel()))
    bundle.save(folder, Bundle(model, tokenizer, family, bundle._usual(model)))
    return folder


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "bart"])
def test_ours_equals_the_reference_layer_by_layer(family, tokenizer, tmp_path, capsys):
    folder = tiny(family, tokenizer, tmp_path)
    assert run(["verify", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["within"] and told["inputs"] == len(given.TEXTS) and "transformers" in told["reference"]
    names = [row["name"] for row in told["rows"]]
    config = bundle.describe(folder).config
    depth = getattr(config, "decoder_depth", config.depth)
    assert names[-1] == "output" and len([name for name in names if name.startswith("stack.")]) == depth + 1
    assert all(row["relative"] < 1e-5 and row["largest"] > 0 for row in told["rows"])
    assert run(["verify", str(folder)]) == 0
    assert "Equal to" in capsys.readouterr().out


def test_a_model_that_is_another_is_told_where(tokenizer, tmp_path, monkeypatch, capsys):
    """A fault in one layer: the layers before it are equal, that one and those after it are not."""
    folder = tiny("llama", tokenizer, tmp_path)
    load = bundle.load

    def faulty(path):
        found = load(path)
        with torch.no_grad():
            found.model.stack.blocks[1].attention.k.weight.mul_(1.05)
        return found

    monkeypatch.setattr(beside.bundles, "load", faulty)
    assert run(["verify", str(folder), "--json"]) == 1
    far = {row["name"]: row["relative"] > 1e-4 for row in json.loads(capsys.readouterr().out)["rows"]}
    assert far == {"stack.in": False, "stack.0": False, "stack.1": True, "output": True}
    assert run(["verify", str(folder)]) == 1
    assert "Not equal" in capsys.readouterr().out
    assert run(["verify", str(folder), "--tolerance", "1000"]) == 0


def test_numbers_that_are_none_are_never_equal(tokenizer, tmp_path, monkeypatch, capsys):
    folder, load = tiny("llama", tokenizer, tmp_path), bundle.load

    def faulty(path):
        found = load(path)
        with torch.no_grad():
            found.model.stack.norm.weight.fill_(float("nan"))
        return found

    monkeypatch.setattr(beside.bundles, "load", faulty)
    assert run(["verify", str(folder)]) == 1
    capsys.readouterr()


def test_without_the_reference_it_is_one_sentence(tokenizer, tmp_path, monkeypatch):
    folder = tiny("bert", tokenizer, tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackage, match="transformers"):
        beside.compare(folder)


def test_what_the_reference_refuses_is_told_as_its_answer(tokenizer, tmp_path):
    folder = tiny("bert", tokenizer, tmp_path)
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "dtype": "float99"}))
    with pytest.raises(RegardError, match="The reference cannot read"):
        beside._reference(__import__("transformers"), folder)


@pytest.mark.parametrize("name", ["google-bert/bert-base-uncased", "google-t5/t5-small", "google/gemma-2-2b",
                                  "allenai/OLMo-2-0425-1B", "deepseek-ai/DeepSeek-V3, as unpacked"])  # fmt: skip
def test_parameters_are_counted_as_published(name, tmp_path, capsys):
    """From config.json alone, of models that no machine here could hold."""
    files = [PUBLISHED / f"published_{kind}.json" for kind in ("encoders", "decoders")]
    (row,) = [one for file in files for one in json.loads(file.read_text()) if one["name"] == name]
    place = tmp_path / "config.json"
    place.write_text(json.dumps(row["config"]))
    assert run(["show", str(place), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == row["parameters"] == sum(part["parameters"] for part in told["parts"])
    assert told["memory"]["float32"] == 4 * row["parameters"]
    assert run(["show", str(place)]) == 0
    assert f"{row['parameters']:,}" in capsys.readouterr().out


def test_the_cache_is_what_a_pass_leaves_behind(tokenizer, tmp_path):
    for family in ("llama", "gpt2"):
        model = bundle.load(tiny(family, tokenizer, tmp_path / family)).model
        found = examine(model.config).cache
        cache = model.cache()
        with torch.no_grad():
            model(torch.tensor([[1, 2, 3, 4, 5]]), Context(cache=cache))
        held = [state for memory in dict.fromkeys(cache.layers) for state in memory.states.values()]
        count = sum(each.numel() for state in held for each in state)
        assert count == 5 * found.numbers, family
    assert examine(models.family("bert").Config()).cache is None
    gemma = examine(models.family("gemma2").Config()).cache
    assert (gemma.layers, gemma.local, gemma.window) == (26, 13, 4096) and gemma.numbers == 2 * 26 * 4 * 256


@pytest.mark.parametrize("name", ["llama", "mistral", "marian", "xlm-roberta", "vit"])
def test_a_family_or_a_type_in_its_usual_size(name, capsys):
    assert run(["show", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] > 1e7 and told["family"] in models.families() and told["stored"] == ""


def test_what_is_no_model_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "nobody"}')
    assert run(["show", str(tmp_path / "config.json")]) == 1
    assert run(["show", "no-such-model"]) == 1
    assert "regard models" in capsys.readouterr().err
    assert run(["generate", "smolm2", "--prompt", "The"]) == 1
    assert "smollm2" in capsys.readouterr().err


def test_a_folder_of_ctranslate2_is_known_without_a_config(tmp_path):
    (tmp_path / "model.bin").write_bytes((6).to_bytes(4, "little") + (12).to_bytes(2, "little") + b"WhisperSpec\0")
    assert shelf._lying("kept", "ct2", tmp_path).model_type == shelf.CT2


def test_what_is_known_and_what_is_here(tokenizer, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REGARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    tiny("bert", tokenizer, tmp_path / "hf" / "models--org--name" / "snapshots" / "abc")
    tiny("gpt2", tokenizer, tmp_path / "runs" / "poems" / "model")
    other = tmp_path / "ms" / "models" / "org" / "name"
    other.mkdir(parents=True)
    (other / "config.json").write_text('{"model_type": "nobody"}')
    assert run(["import", str(tmp_path / "hf" / "models--org--name" / "snapshots" / "abc"), "--name", "mine"]) == 0
    capsys.readouterr()
    assert run(["models", str(tmp_path / "runs"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["family"] for one in told["families"]} == set(models.families())
    types = [name for one in told["families"] for name in one["model_types"]]
    assert sorted(types) == sorted(models.model_types())
    bert = next(one for one in told["families"] if one["family"] == "bert")
    assert bert["heads"][:2] == ["language", "classify"] and bert["reads"] == ["text"]
    here = {one["origin"]: (one["model_type"], one["known"]) for one in told["here"] if one["origin"] != "named"}
    assert here == {"kept": ("bert", True), "huggingface": ("bert", True), "modelscope": ("nobody", False),
                    "run": ("gpt2", True)}  # fmt: skip
    for one in told["here"]:
        if one["known"]:
            assert bundle.describe(one["name"]).config
    assert run(["models", str(tmp_path / "runs")]) == 0
    assert "nobody, not read here" in capsys.readouterr().out
