"""What can go wrong for a user, as exceptions whose text is a sentence of the message table.

    raise BadFileError("limits.not_utf8", where=f"{path}:{line}")

The command line prints the sentence alone and leaves with `exit_code`; nobody sees a traceback for these.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from regard.words import say

LONGEST = 2000  # characters of a message


class RegardError(Exception):
    """A refusal with its reason and remedy; `key` `values` name its sentence."""

    exit_code = 1

    def __init__(self, key: str, /, **values: Any) -> None:
        super().__init__(key, values)
        self.key = key
        self.values = values

    def __str__(self) -> str:
        text = say(self.key, **self.values)
        # A value out of a file may be as long as the file: what and where stand first, what to do last.
        return text if len(text) <= LONGEST else f"{text[: LONGEST * 3 // 4]} … {text[-LONGEST // 4 :]}"


class BadFileError(RegardError):
    """A file that is damaged, in the wrong form, too large, or not where it was said to be."""


class ConfigError(RegardError):
    """A setting that is unknown, of the wrong type, or out of range."""

    exit_code = 2


class MissingPackage(RegardError):
    """An optional package that the thing asked for needs and that is not installed."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra of ours brings it (`pip install "regard[text]"`)."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingPackage("errors.missing_package", package=module, extra=extra) from error
