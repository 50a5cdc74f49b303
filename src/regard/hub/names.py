"""What models of hubs are called, and where they lie once they are here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from regard.errors import ConfigError

KINDS = ("hf", "ms")
USUAL = {"hf": "main", "ms": "master"}
ORIGIN = "origin.json"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(hf|ms):({_PART})/({_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,95}}))?")
_LOCAL = re.compile(_PART)


@dataclass(frozen=True)
class Reference:
    """A model of a hub; or, of the kind "local", one that was brought in from this machine under a name."""

    kind: str
    owner: str
    name: str
    revision: str = ""

    def __str__(self) -> str:
        revision = "" if self.revision in ("", USUAL.get(self.kind)) else f"@{self.revision}"
        return self.name if self.kind == "local" else f"{self.kind}:{self.owner}/{self.name}{revision}"

    @property
    def home(self) -> Path:
        """Where it lies, or will."""
        below = [self.kind, self.owner, self.name, self.revision.replace("/", "--")]
        return _cache() / "hub" / Path(*[part for part in below if part])


def is_name(text: str) -> bool:
    """Whether a text looks like a hub's name, so that it is not taken for a path."""
    return text.partition(":")[0] in KINDS and ":" in text


def reference(text: str) -> Reference:
    """The model that `hf:org/name[@revision]` or `ms:org/name[@revision]` names; a ConfigError if it names none."""
    found = _NAME.fullmatch(text)
    if found is None or ".." in text:
        raise ConfigError("hub.name", name=text[:120])
    kind, owner, name, revision = found.groups()
    return Reference(kind, owner, name, revision or USUAL[kind])


def local(name: str) -> Reference:
    """A model under a name of one's own."""
    if not _LOCAL.fullmatch(name) or ".." in name:
        raise ConfigError("hub.own_name", name=name[:80])
    return Reference("local", "", name)


def place(ref: Reference) -> Path | None:
    """The folder of a model that is here, or its one GGUF file; None where it was not fetched."""
    if not (ref.home / ORIGIN).is_file():
        return None
    files = sorted(ref.home.glob("*.gguf"))
    return files[0] if len(files) == 1 and not (ref.home / "config.json").is_file() else ref.home


def kept() -> Iterator[tuple[Reference, Path]]:
    """Every model that is here, in order of their names."""
    root = _cache() / "hub"
    for origin in sorted(root.rglob(ORIGIN)):
        parts = origin.parent.relative_to(root).parts
        if len(parts) == 4 and parts[0] in KINDS:
            yield Reference(parts[0], parts[1], parts[2], parts[3].replace("--", "/")), origin.parent
        elif len(parts) == 2 and parts[0] == "local":
            yield Reference("local", "", parts[1]), origin.parent


def _cache() -> Path:
    chosen = os.environ.get("REGARD_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("regard", appauthor=False))
