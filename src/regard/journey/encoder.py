"""The pretrained encoder that the demo fine-tunes: all-MiniLM-L6-v2 as an installed package has it, by its hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from regard import bundle
from regard.errors import BadFileError, RegardError

NAME = "all-MiniLM-L6-v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


def locate(base: str) -> Path | None:
    """The folder that a recipe's `base` names, its files what they should be; None where it is not installed."""
    try:
        folder = bundle.find(Path(base))
    except RegardError as error:
        if error.key == "bundle.no_package":
            return None
        raise
    for name, expected in SHA256.items():
        with open(folder / name, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise BadFileError("journey.other_encoder", file=folder / name)
    return folder
