"""Models that lie on this machine: what was fetched, other libraries' caches, the runs below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard import limits, named
from regard.errors import RegardError
from regard.hub.names import kept
from regard.weights.ct2.container import is_ct2
from regard.weights.gguf.container import is_gguf

MOST = 500  # of one place
GGUF, CT2 = "gguf", "ctranslate2"  # formats whose files say themselves which kind of model they hold


@dataclass(frozen=True)
class Lying:
    """origin: named, kept, huggingface, modelscope or run. name: what to write where a model is asked for.
    model_type: as its config.json says; "gguf" or "ctranslate2"; or "" where nothing says it."""

    origin: str
    name: str
    path: Path
    model_type: str
    bytes: int


def found(folder: Path) -> Iterator[Lying]:
    """Everything that is here; what cannot be read is left out."""
    for name in named.NAMES:
        if (path := named.place(name)) is not None:
            yield _lying("named", name, path)
    for ref, path in kept():
        yield _lying("kept", str(ref), path)
    for path in sorted(_hugging_face().glob("models--*/snapshots/*"))[:MOST]:
        if (path / "config.json").is_file():
            yield _lying("huggingface", str(path), path)
    for path in sorted(_modelscope().glob("*/*"))[:MOST]:
        if (path / "config.json").is_file():
            yield _lying("modelscope", str(path), path)
    for path in sorted(folder.glob("*/model/config.json"))[:MOST]:
        yield _lying("run", path.parent.parent.as_posix(), path.parent)


def _lying(origin: str, name: str, path: Path) -> Lying:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    size = sum(one.stat().st_size for one in files)
    return Lying(origin, name, path, _model_type(path), size)


def _model_type(path: Path) -> str:
    if is_gguf(path):
        return GGUF
    if is_ct2(path):
        return CT2
    try:
        told: Any = limits.read_json(limits.member(path, "config.json"))
    except RegardError:
        return ""
    name = told.get("model_type") if isinstance(told, dict) else None
    return name if isinstance(name, str) else ""


def _hugging_face() -> Path:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def _modelscope() -> Path:
    home = os.environ.get("MODELSCOPE_CACHE")
    return (Path(home) if home else Path.home() / ".cache" / "modelscope" / "hub") / "models"
