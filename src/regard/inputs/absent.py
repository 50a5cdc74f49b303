"""The tokenizer that a model of images or sound does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regard.errors import RegardError
from regard.inputs import pieces, tiktoken

_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", *pieces.FILES, *(f"{name}.tiktoken" for name in tiktoken.RULES))


class NoTokenizer:
    """Stands in a tokenizer's place; whoever asks it for anything is told that the model does not read text."""

    def __init__(self, family: str) -> None:
        self._family = family

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what Python itself looks for
            raise AttributeError(name)
        raise RegardError("inputs.reads_no_text", family=self._family)


def tokenizer_files(folder: Path) -> bool:
    """Whether a model's folder has a tokenizer's files."""
    return any((folder / name).is_file() for name in _FILES)
