"""Names in files: none leads out of the folder it stands in; the Hub's own cache works."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from regard import bundle, limits, models
from regard.bundle import Bundle
from regard.errors import BadFileError
from regard.inputs.tokenizer import Tokenizer
from regard.models import gpt2
from regard.train import checkpoint

OUTSIDE = [
    "../x", "../../x", "a/../../x", "/etc/passwd", "//etc/passwd", "C:\\x", "C:x", "c:/x", "\\\\host\\share\\x",
    "\\x",
    "..\\x", "a\\..\\..\\x", "a\0b", "\0", "", " ", ".", "..", "./..", "...//..//..", "~/../..//../x", "CON:",
    "x:y/../..",
]  # fmt: skip
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train("bytes", ["a"], 300)
    config = gpt2.Config(vocab=tokenizer.size, context=16, dim=4, depth=1, heads=1, hidden=4)
    bundle.save(folder, Bundle(models.build(config), tokenizer, "gpt2", "causal-lm"))
    return folder


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_refused(name, tmp_path):
    (tmp_path / "x").write_text("")
    root = tmp_path / "root"
    root.mkdir()
    for call in (limits.inside, limits.member):
        with pytest.raises(BadFileError, match="leads out"):
            call(root, name)


def sealed(body: dict) -> str:
    return json.dumps({**body, "sha256": checkpoint._seal(body)})


@pytest.mark.parametrize("name", ["../x", "/dev/zero", "/etc/passwd", "a\0b", "C:\\x", ""])
def test_a_manifest_names_nothing_outside(name, tmp_path):
    folder = tmp_path / checkpoint.name(3)
    folder.mkdir()
    (tmp_path / "x").write_bytes(b"")
    entry = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    body = {"format": 1, "step": 3, "state": {}, "files": {name: entry}}
    (folder / "manifest.json").write_text(sealed(body))
    with pytest.raises(BadFileError):
        checkpoint.verify(folder)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("file", FILES)
def test_a_link_out_of_a_model_folder_is_not_followed(file, model, tmp_path):
    folder, outside = tmp_path / "model", tmp_path / "outside"
    shutil.copytree(model, folder)
    outside.mkdir()
    (folder / file).rename(outside / file)
    (folder / file).symlink_to(outside / file)
    with pytest.raises(BadFileError, match="leads out") as caught:
        bundle.load(folder)
    assert file in str(caught.value)
    (folder / file).unlink()
    (folder / file).symlink_to(folder / file)  # a link to itself
    with pytest.raises(BadFileError):
        bundle.load(folder)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_the_hubs_cache_works_and_only_its_own_store(model, tmp_path):
    """models--who--what/snapshots/COMMIT/file is a link to ../../blobs/HASH, and so for every file."""
    hub = tmp_path / "hub" / "models--who--what"
    snapshot, blobs = hub / "snapshots" / "0a1b2c", hub / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in model.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blobs / digest)
        (snapshot / file.name).symlink_to(Path("../../blobs") / digest)
    assert bundle.load(snapshot).family == "gpt2"
    other = tmp_path / "hub" / "models--who--else" / "blobs"
    other.mkdir(parents=True)
    shutil.copy(model / "config.json", other / "config")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(other / "config")
    with pytest.raises(BadFileError, match="leads out"):
        bundle.load(snapshot)


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_pipes_and_devices_are_not_read(model, tmp_path):
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        folder = tmp_path / file
        shutil.copytree(model, folder)
        (folder / file).unlink()
        os.mkfifo(folder / file)
        with pytest.raises(BadFileError):
            bundle.load(folder)
    for path in ("/dev/zero", "/dev/null", "/dev/stdin"):
        with pytest.raises(BadFileError):
            limits.read_json(path)
