"""The one folder outside runs that is written to: indexes, and plain copies of packed files, named by their content."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import platformdirs

from regard.errors import RegardError


def folder() -> Path:
    """REGARD_CACHE, or the system's place for caches. Everything in it can be deleted at any time."""
    chosen = os.environ.get("REGARD_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("regard", appauthor=False))


def keep(name: str, build: Callable[[BinaryIO], None]) -> Path:
    """The cached file `name`; where it is missing, `build` writes it beside, and it appears only when whole."""
    path = folder() / "data" / name
    if path.exists():
        return path
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "xb") as file:
                build(file)
            os.replace(part, path)
        except PermissionError:  # Windows: another process has just made the same file and reads it
            if not path.exists():
                raise
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RegardError("data.cache", folder=folder(), why=error.strerror or str(error)) from error
    return path


def forget(name: str) -> None:
    """Delete a cached file that turned out damaged."""
    (folder() / "data" / name).unlink(missing_ok=True)
