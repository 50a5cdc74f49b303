"""No file runs code: foreign pickles, a model's own Python, and our own files under an audit hook."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trial
from hostile import Payload, payloads

from regard import bundle, models
from regard.bundle import Bundle
from regard.errors import BadFileError
from regard.inputs.tokenizer import Tokenizer
from regard.models import gpt2

HERE = Path(__file__).parent
CODE = "import pathlib; pathlib.Path({canary!r}).mkdir(exist_ok=True)\n"


@pytest.fixture
def canary(tmp_path) -> Path:
    return tmp_path / "canary"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A whole model folder of a few kilobytes."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train("bytes", ["a"], 300)
    config = gpt2.Config(vocab=tokenizer.size, context=16, dim=4, depth=1, heads=1, hidden=4)
    bundle.save(folder, Bundle(models.build(config), tokenizer, "gpt2", "causal-lm"))
    return folder


def test_the_payloads_would_fire(canary):
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists()


def test_foreign_pickles_are_refused_wherever_they_stand(tmp_path, canary, model, capsys):
    """As weights, under the names of our own files, as data, as a recipe and as a checkpoint."""
    cases, made = [], payloads(canary)
    for number, (name, content) in enumerate(made.items()):
        alone, posing = tmp_path / f"alone-{number}", tmp_path / f"posing-{number}"
        shutil.copytree(model, alone)
        (alone / "model.safetensors").unlink()
        (alone / name).write_bytes(content)
        cases.append(("bundle", alone))
        for place, reader in (
            ("model.safetensors", "weights"),
            ("config.json", "bundle"),
            ("tokenizer.json", "tokenizer"),
            ("manifest.json", "checkpoint"),
            ("recipe.toml", "recipe"),
            ("data.csv", "source"),
            ("data.jsonl", "source"),
            (name, "source"),
        ):
            folder = posing / place.replace(".", "-")
            shutil.copytree(model, folder)
            (folder / place).write_bytes(content)
            whole = reader in ("weights", "bundle", "tokenizer", "checkpoint")
            cases.append((reader, folder if whole else folder / place))
    outcomes = trial.run(cases)
    for one in outcomes:
        # As text data a pickle of printable bytes is text, and nothing else.
        assert one.refused or (one.kind == "read" and one.reader == "source"), one
    assert not canary.exists()
    refused = sum(one.refused for one in outcomes)
    with capsys.disabled():
        print(f"\npickles: {len(made)} payloads in {len(cases)} places, {refused} refused, canary never made")


def test_weights_that_are_only_pickled_are_named(tmp_path, canary):
    for name, content in payloads(canary).items():
        for left in tmp_path.glob("*.*"):
            left.unlink()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFileError, match="pickle") as caught:
            bundle.files.Folder(tmp_path)
        assert name in str(caught.value) and "run code" in str(caught.value)


def watched(folder: Path, what: str, *arguments: str, cwd: Path | None = None, timeout: float = 280) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "REGARD_LANG": "en"}
    command = [sys.executable, str(HERE / "watch.py"), str(folder), what, *arguments]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["plain", "auto_map", "unknown type", "tokenizer", "kernels"])
def test_a_models_own_code_is_never_run(kind, tmp_path, canary, model):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    for name in ("modeling_x.py", "configuration_x.py", "tokenizer.py", "tokenization_x.py", "sitecustomize.py",
                 "usercustomize.py", "__init__.py", "conftest.py", "json.py", "tokenizers.py", "torch.py",
                 "x.pth", "regard.pth", "setup.py"):  # fmt: skip
        (folder / name).write_text(CODE.format(canary=str(canary)))
    config = json.loads((folder / "config.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    if kind == "auto_map":
        config["auto_map"] = {"AutoConfig": "configuration_x.C", "AutoModelForCausalLM": "modeling_x.M"}
    if kind == "unknown type":
        config |= {"model_type": "x", "architectures": ["modeling_x.M"]}
    if kind == "tokenizer":
        settings |= {"auto_map": {"AutoTokenizer": ["tokenization_x.T", None]}, "tokenizer_class": "tokenization_x.T"}
    if kind == "kernels":
        config |= {"_attn_implementation": "modeling_x", "use_kernels": True}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    found = watched(folder, "code", cwd=folder.parent)
    assert not found["found"] and not canary.exists() and found["seen"] > 0
    loads = kind in ("plain", "tokenizer")
    assert (found["said"][0] == "") == loads and found["said"][1] == ""
    if kind == "auto_map":
        assert "none is ever run here" in found["said"][0] and "config.json" in found["said"][0]


def test_the_folder_one_stands_in_is_not_looked_through(tmp_path, canary):
    """Python looks for modules where a program is, not where it is started: nor does `regard`, or what it starts."""
    for name in ("json.py", "torch.py", "click.py", "sitecustomize.py", "regard.py", "jinja2.py", "tokenizers.py"):
        (tmp_path / name).write_text(CODE.format(canary=str(canary)))
    code = (
        "import sys; from regard.inputs import chat, patterns; c = chat.Chat('{{ 1 }}', where='x');"
        "assert c.render([]) == '1'; c.close(); assert patterns.fault('ab?') is None"
    )
    for command in (["-P", "-m", "regard", "--help"], ["-P", "-c", code]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert not canary.exists()


@pytest.mark.slow
def test_a_whole_training_unpickles_nothing(tmp_path, capsys):
    """new, train, resume, eval, generate, show: not one `pickle.find_class`, in C or in Python."""
    (tmp_path / "lines.txt").write_text("".join(f"line {n} of a small text\n" for n in range(200)))
    tiny = ["--set", "model.dim=8", "--set", "model.depth=1",
            "--set", "model.attention={heads = 1, kv_heads = 1, head_dim = 8}",
            "--set", "model.hidden=8", "--set", "tokenizer.kind=bytes", "--set", "tokenizer.vocab=300",
            "--set", "train.machine.tensorboard=false"]  # fmt: skip
    lines = [
        ["new", "mine", "--data", "lines.txt", "--task", "causal-lm"],
        ["train", "mine/recipe.toml", "--steps", "4", "--threads", "1", *tiny],
        ["train", "--resume", "runs/recipe-1"],
        ["runs"],
        ["generate", "runs/recipe-1", "--prompt", "line", "--max-tokens", "3"],
        ["eval", "runs/recipe-1"],
    ]
    found = watched(tmp_path, "pickles", *map(json.dumps, lines), cwd=tmp_path)
    ours = [event for event in found["found"] if not event.startswith("marshal.loads")]
    assert not [event for event in ours if not allowed(event)], ours
    assert found["codes"][:2] == [0, 0] and found["codes"][4] == 0, found
    with capsys.disabled():
        print(f"\naudit: {len(lines)} commands, {found['seen']} kinds of events, {len(ours)} unpickled globals")


def allowed(event: str) -> bool:
    """Torch's own start may unpickle what it brought along; nothing that a file of a user holds."""
    return "torch/_" in event and "regard" not in event
