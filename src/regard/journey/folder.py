"""The folder of a demo: what is in it, whether it may be written to, and what of an unfinished one is done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from regard import limits
from regard.errors import RegardError
from regard.journey.plan import TRAININGS
from regard.train.run import versions

MARK, LOCK = "demo.json", ".demo.lock"
PAGE, PICTURE = "report.html", "report.png"
OWN = (*TRAININGS, "data", "results", "tokenizer", PAGE, PICTURE, MARK)

State = Literal["new", "continued", "replaced"]


class Folder:
    """Making one touches nothing on the disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.page, self.picture = self.path / PAGE, self.path / PICTURE
        self.tokenizer = self.path / "tokenizer"

    def run(self, name: str) -> Path:
        """The folder of a training."""
        return self.path / name

    def data(self, name: str) -> Path:
        """The file of cleaned data."""
        return self.path / "data" / f"{name}.jsonl"

    @contextmanager
    def claimed(self, plan: str, prompt: str) -> Iterator[State]:
        """Within, this folder is this demo's. Whatever an earlier one of the same plan has trained is taken over,
        unless that one is whole and had the same prompt: then, or where the plan is another, it makes way. Anything
        else in the folder is refused, and nothing but a demo's own is deleted.
        """
        found = self._mark()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RegardError("journey.in_use", folder=self.path) from error
        try:
            state = _state(found, plan, prompt)
            if state == "replaced":
                self._clear()
            limits.write(self.path / MARK, json.dumps(_asked(plan, prompt)))
            yield state
        finally:
            lock.release()

    def finish(self, plan: str, prompt: str) -> None:
        """Remember that this demo is whole."""
        limits.write(self.path / MARK, json.dumps({**_asked(plan, prompt), "finished": True}))

    def result(self, step: str) -> dict[str, Any] | None:
        """What a step found, if it is done."""
        path = self._result(step)
        return limits.read_json(path) if path.exists() else None

    def keep(self, step: str, found: dict[str, Any]) -> None:
        """Remember what a step found."""
        limits.write(self._result(step), json.dumps(found, ensure_ascii=False, indent=1))

    def _result(self, step: str) -> Path:
        return self.path / "results" / f"{step}.json"

    def _mark(self) -> dict[str, Any] | None:
        """What the mark of a demo says, None where the folder is free."""
        if (self.path / MARK).is_file():
            return limits.read_json(self.path / MARK)
        if self.path.exists() and (not self.path.is_dir() or any(e.name != LOCK for e in self.path.iterdir())):
            raise RegardError("journey.taken", folder=self.path)
        return None

    def _clear(self) -> None:
        for name in OWN:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _asked(plan: str, prompt: str) -> dict[str, Any]:
    return {"plan": plan, "prompt": prompt, "version": versions()["regard"]}


def _state(found: dict[str, Any] | None, plan: str, prompt: str) -> State:
    if found is None:
        return "new"
    asked = _asked(plan, prompt)
    if any(found.get(key) != asked[key] for key in ("plan", "version")):
        return "replaced"
    return "replaced" if found.get("finished") and found["prompt"] == prompt else "continued"
