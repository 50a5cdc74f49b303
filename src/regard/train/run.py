"""A run: the one folder that holds everything a training leaves behind.

run.json           the format of all this, a number
asked.toml         the recipe as it was given
recipe.toml        the same with everything in it that had to be found out
data.json          the data's fingerprint, counts and report
first_batch.txt    what the model sees first, as text
tokenizer/         tokenizer.json, tokenizer_config.json
checkpoints/       see train/checkpoint.py
metrics.jsonl      a line for every update, and one for every scoring of held-out data
events/            the same for TensorBoard
history.jsonl      when it was started, resumed, stopped, finished, and with what
model/             the finished model in the Hugging Face layout
README.md          the model card
"""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from regard import config, limits
from regard.errors import BadFileError, RegardError
from regard.tasks.scores import LOWER_IS_BETTER
from regard.train import recipe as recipes
from regard.train.recipe import Recipe

LOCK, HOLDER = ".lock", ".holder.json"
MADE = "run.json"
FORMAT = 1  # of the whole folder; raise it when an older version would misread a newer run, and keep reading the old


class Run:
    """A run's folder, for whoever writes or reads it. Making one touches nothing on the disk."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.checkpoints = self.folder / "checkpoints"
        self.tokenizer = self.folder / "tokenizer"
        self.model = self.folder / "model"
        self.events = self.folder / "events"
        self.metrics = self.folder / "metrics.jsonl"

    @classmethod
    def create(cls, folder: str | os.PathLike[str], recipe: Recipe) -> Run:
        """A new run with this recipe; refuses a folder that has anything in it."""
        run = cls(folder)
        run.refuse_taken()
        limits.write(run.folder / MADE, json.dumps({"format": FORMAT}) + "\n")
        limits.write(run.folder / "asked.toml", config.to_toml(recipe))
        run.save_recipe(recipe)
        return run

    def refuse_taken(self) -> None:
        """Refuse a folder that is a run or has anything else in it."""
        if self.exists:
            raise RegardError("train.run_exists", run=self.folder)
        own = {LOCK, HOLDER, MADE}
        if self.folder.exists() and (not self.folder.is_dir() or any(e.name not in own for e in self.folder.iterdir())):
            raise RegardError("train.folder_taken", folder=self.folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Run:
        """A run that is there, in a format that is known; refuses one that a newer version made."""
        run = cls(folder)
        if not run.exists:
            raise BadFileError("train.no_run", folder=run.folder)
        made = run.folder / MADE
        told = limits.read_json(made) if made.exists() else {"format": 1}  # the first runs did not say
        limits.check_format(told.get("format") if isinstance(told, dict) else told, FORMAT, str(made))
        return run

    @property
    def exists(self) -> bool:
        return (self.folder / "asked.toml").is_file()

    @property
    def status(self) -> str:
        """The last thing that the history tells: started, resumed, stopped, not_finite, early, finished; or new."""
        return next((line["event"] for line in reversed(self.history())), "new")

    @cached_property
    def recipe(self) -> Recipe:
        return recipes.load(self.folder / "recipe.toml")

    @cached_property
    def asked(self) -> Recipe:
        return recipes.load(self.folder / "asked.toml")

    def save_recipe(self, recipe: Recipe) -> None:
        limits.write(self.folder / "recipe.toml", config.to_toml(recipe))
        self.__dict__.pop("recipe", None)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What data.json holds; empty before it is written."""
        path = self.folder / "data.json"
        found = limits.read_json(path) if path.exists() else {}
        if not isinstance(found, dict):
            raise BadFileError("train.damaged", file=path)
        return found

    def save_data(self, data: dict[str, Any]) -> None:
        limits.write(self.folder / "data.json", json.dumps(data, ensure_ascii=False, indent=1))
        self.__dict__.pop("data", None)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within, no other process can train in this folder; an operating system's lock, gone when its holder dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock, holder = FileLock(self.folder / LOCK), self.folder / HOLDER
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            who = limits.read_json(holder) if holder.exists() else {}
            pid, host = who.get("pid", "?"), who.get("host", "?")
            raise RegardError("train.in_use", run=self.folder, pid=pid, host=host) from error
        try:
            limits.write(holder, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def updates(self) -> list[dict[str, Any]]:
        """The line of each update: step, epoch, loss, targets, tokens, rate, gradient, seconds."""
        return [line for line in _lines(self.metrics) if "loss" in line]

    def scores(self) -> list[dict[str, Any]]:
        """The line of each scoring: step, held_out (score names to value, low and high), seconds."""
        return [line for line in _lines(self.metrics) if "held_out" in line]

    def best(self) -> tuple[str, float, int] | None:
        """(name, value, step) of the best of the primary scores; None where nothing was scored."""
        found = []
        for line in self.scores():
            name, score = next(iter(line["held_out"].items()))
            if isinstance(score["value"], int | float):
                found.append((name, score["value"], line["step"]))
        lower = bool(found) and found[0][0] in LOWER_IS_BETTER
        return min(found, key=lambda score: score[1] if lower else -score[1], default=None)

    def cut_metrics(self, step: int, scored: int) -> None:
        """Take back the lines of updates after `step` and of scorings after `scored`: they will be written again."""
        lines = [line for line in _lines(self.metrics) if line["step"] <= (scored if "held_out" in line else step)]
        limits.write(self.metrics, "".join(json.dumps(line) + "\n" for line in lines))

    def note(self, event: str, **values: Any) -> None:
        """Add a line to the history."""
        line = {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **values}
        with open(self.folder / "history.jsonl", "a", encoding="utf-8", newline="\n") as file:
            _write(file, line)

    def history(self) -> list[dict[str, Any]]:
        return [line for line in _lines(self.folder / "history.jsonl") if "event" in line]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # a checkpoint that is being deleted
                total += path.stat().st_size if path.is_file() else 0
        return total


class Metrics:
    """metrics.jsonl, open for adding lines; `flush` brings them to the disk."""

    def __init__(self, run: Run):
        self._file = open(run.metrics, "a", encoding="utf-8", newline="\n")  # noqa: SIM115, closed by close()

    def add(self, line: dict[str, Any]) -> None:
        _write(self._file, line)

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def runs(folder: str | os.PathLike[str] = "runs") -> list[Run]:
    """The runs directly in a folder, by name; what begins with a dot is half deleted (see train/remove.py)."""
    folder = Path(folder)
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    return [Run(path) for path in paths if Run(path).exists]


def fresh(name: str, folder: str | os.PathLike[str] = "runs") -> Path:
    """The next free folder for a run of this name: runs/NAME-1, runs/NAME-2, …"""
    number = 1
    while (path := Path(folder) / f"{name}-{number}").exists():
        number += 1
    return path


def versions() -> dict[str, str]:
    """What a result to the last bit depends on, apart from the machine."""
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    for package in ("regard", "torch", "numpy", "tokenizers", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[package] = "?"
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file that this package writes, without one at the end that a crash cut off."""
    if not path.exists():
        return []
    *whole, _ = limits.read_bytes(path, most=1 << 30).split(b"\n")
    lines = []
    for number, text in enumerate(whole, start=1):
        try:
            line = limits.parse_json(text, f"{path}:{number}")
        except BadFileError:
            if number < len(whole):
                raise
            continue
        if not _ours(line):
            raise BadFileError("train.damaged", file=f"{path}:{number}")
        lines.append(line)
    return lines


def _ours(line: Any) -> bool:
    """Whether a line has the form that everybody relies on who reads it: an event, an update or a scoring."""
    if not isinstance(line, dict):
        return False
    if "event" in line:
        return isinstance(line["event"], str)
    scores = line.get("held_out", {"": {"value": None}})
    good = isinstance(scores, dict) and all(isinstance(one, dict) and "value" in one for one in scores.values())
    return type(line.get("step")) is int and good and bool(scores)


def _write(file: TextIO, line: dict[str, Any]) -> None:
    try:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
    except OSError as error:
        raise RegardError("train.not_written", file=file.name, why=error.strerror) from error
