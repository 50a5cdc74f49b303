"""What is fuzzed: for each name a function that takes bytes and may raise a RegardError, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from regard import config, limits, models
from regard.data import sources
from regard.errors import RegardError
from regard.inputs import sound
from regard.inputs.tokenizer import Tokenizer
from regard.train import checkpoint, recipe
from regard.train.run import Run
from regard.weights import header
from regard.weights.ct2 import container as ct2
from regard.weights.folder import FILE, Folder

LARGEST = 1 << 16  # bytes of one input


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="regard-fuzz-"))


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def safetensors(data: bytes) -> None:
    """The header's rules; and where it holds, the library must open the file and find the same in it."""
    folder = _folder() / "weights"
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(data)
    entries = header.check(folder / FILE)
    opened = Folder(folder)
    assert {one.name for one in entries} == opened.names()
    for one in entries:
        assert opened.shape(one.name) == one.shape


def json(data: bytes) -> None:
    limits.parse_json(data, "x.json")


def toml(data: bytes) -> None:
    limits.read_toml(_file("x.toml", data))


def recipes(data: bytes) -> None:
    """A recipe that is read is written, and read again as the same."""
    found = recipe.load(_file("recipe.toml", data))
    again = recipe.load(_file("again.toml", config.to_toml(found).encode()))
    assert again == found


def configs(data: bytes) -> None:
    """config.json of whatever family it says."""
    document = limits.parse_json(data, "config.json")
    name = document.get("model_type") if isinstance(document, dict) else None
    family = models.of_type(name) if isinstance(name, str) else None
    if family is not None:
        models.read(family, document, "config.json")


def tokenizer(data: bytes) -> None:
    """What is loaded must cut a text and put it together."""
    folder = _folder() / "tokenizer"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_bytes(data)
    found = Tokenizer.load(folder)
    for text in ("床前明月光 the quick", "<|eos|>[MASK]\n\ta  b", "\u0301\ufdfa\U0001f600"):
        found.decode(found.encode(text), special=True)


def _cut(name: str, data: bytes) -> None:
    found = Tokenizer.load(_file(name, data))
    for text in ("床前明月光 the quick", "<|eos|>[MASK]<0x0A>\n\ta  b", "\u0301\ufdfa\U0001f600\u1100\u1161"):
        found.decode(found.encode(text), special=True)


def pieces(data: bytes) -> None:
    """A SentencePiece model."""
    _cut("tokenizer.model", data)


def ranks(data: bytes) -> None:
    """tiktoken's lines."""
    _cut("gpt2.tiktoken", data)


def _table(suffix: str, data: bytes) -> None:
    rows = sources.open(_file(f"data{suffix}", data))
    for number in range(min(len(rows), 5)):
        assert all(isinstance(value, str) for value in rows[number].values())


def jsonl(data: bytes) -> None:
    _table(".jsonl", data)


def csv(data: bytes) -> None:
    _table(".csv", data)


def text(data: bytes) -> None:
    _table(".txt", data)


def manifest(data: bytes) -> None:
    folder = _folder() / checkpoint.name(1)
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(data)
    checkpoint.verify(folder)


def run(data: bytes) -> None:
    """A run's folder: what stands in metrics.jsonl, history.jsonl, data.json and run.json, one after another."""
    folder = _folder() / "run"
    folder.mkdir(exist_ok=True)
    parts = [*data.split(b"\0", 3), b"", b"", b""]
    for name, part in zip(("run.json", "metrics.jsonl", "history.jsonl", "data.json"), parts, strict=False):
        (folder / name).unlink(missing_ok=True)
        if part:
            (folder / name).write_bytes(part)
    (folder / "asked.toml").write_bytes(b"")
    found = Run.open(folder)
    _ = found.status, found.updates(), found.scores(), found.best(), found.data


def wav(data: bytes) -> None:
    """Sound of this library's own reading: nothing is made that the bytes do not pay for."""
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        assert len(sound.decoded(data, "x.wav").samples) <= len(data)


def ctranslate(data: bytes) -> None:
    """The rules of model.bin; and where they hold, every number can be read."""
    found = ct2.open_file(_file("model.bin", data))
    assert sum(info.size for info in found.variables.values()) <= len(data)
    for name in found.variables:
        found.tensor(name)


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        safetensors,
        json,
        toml,
        recipes,
        configs,
        tokenizer,
        pieces,
        ranks,
        jsonl,
        csv,
        text,
        manifest,
        run,
        wav,
        ctranslate,
    )
}


def refused(name: str, data: bytes) -> bool:
    """Feed the bytes to a target; True if they were refused as they may be. Whatever else it raises comes out."""
    try:
        TARGETS[name](data[:LARGEST])
    except RegardError as error:
        assert str(error)
        return True
    return False
