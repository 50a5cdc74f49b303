"""What is seen of a training as it goes on: a line that moves, lines of JSON, or nothing; and TensorBoard's files."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from regard.data import show
from regard.errors import BadFileError, MissingPackage, need
from regard.words import say

if TYPE_CHECKING:
    from regard.data.show import Document


class Watch(Protocol):
    """Is told what happens."""

    def first(self, batch: list[Document]) -> None:
        """What the model will be given first."""
        ...

    def begin(self, step: int, steps: int) -> None:
        """Training goes on from `step`."""
        ...

    def update(self, line: dict[str, Any]) -> None:
        """An update was made; `line` is what metrics.jsonl got."""
        ...

    def score(self, line: dict[str, Any]) -> None:
        """Held-out data were scored."""
        ...

    def say(self, key: str, **values: Any) -> None:
        """Something worth a sentence."""
        ...

    def damaged(self, error: BadFileError) -> None:
        """A checkpoint was found damaged and passed over."""
        ...

    def end(self) -> None: ...


class Silent:
    """Shows nothing."""

    def first(self, batch: list[Document]) -> None:
        pass

    def begin(self, step: int, steps: int) -> None:
        pass

    def update(self, line: dict[str, Any]) -> None:
        pass

    def score(self, line: dict[str, Any]) -> None:
        pass

    def say(self, key: str, **values: Any) -> None:
        pass

    def damaged(self, error: BadFileError) -> None:
        pass

    def end(self) -> None:
        pass


class Lines(Silent):
    """A line of JSON for everything, as it happens."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout

    def first(self, batch: list[Document]) -> None:
        self._put({"event": "first_batch", "documents": show.plain(batch)})

    def begin(self, step: int, steps: int) -> None:
        self._put({"event": "begin", "step": step, "steps": steps})

    def update(self, line: dict[str, Any]) -> None:
        self._put({"event": "update", **line})

    def score(self, line: dict[str, Any]) -> None:
        self._put({"event": "score", **line})

    def say(self, key: str, **values: Any) -> None:
        self._put({"event": "note", "key": key, "text": say(key, **values)})

    def damaged(self, error: BadFileError) -> None:
        self._put({"event": "note", "key": error.key, "text": str(error)})

    def _put(self, line: dict[str, Any]) -> None:
        self.stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.stream.flush()


class Screen:
    """A progress line for people: loss, tokens a second, time left. In a file or a pipe, a line now and then."""

    def __init__(self, console: Any = None):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.console = console or Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.completed}/{task.total}"), BarColumn(), TextColumn("{task.fields[what]}"))
        self.bar = Progress(*columns, console=self.console)
        self.pace, self.task, self.steps, self.printed = Pace(), None, 0, 0.0

    def first(self, batch: list[Document]) -> None:
        self.console.print(show.glance(batch), soft_wrap=False)

    def begin(self, step: int, steps: int) -> None:
        self.steps, self.task = steps, self.bar.add_task("", total=steps, completed=step, what="")
        if self.console.is_terminal:
            self.bar.start()

    def update(self, line: dict[str, Any]) -> None:
        self.pace.add(line)
        left = (self.steps - line["step"]) * self.pace.step
        what = say("train.line", loss=line["loss"], speed=self.pace.tokens, left=clock(left))
        if self.console.is_terminal:
            assert self.task is not None
            self.bar.update(self.task, completed=line["step"], what=what)
        elif time.monotonic() - self.printed > 10 or line["step"] == self.steps:
            self.printed = time.monotonic()
            self.console.print(f"{line['step']}/{self.steps} {what}")

    def score(self, line: dict[str, Any]) -> None:
        name, score = next(iter(line["held_out"].items()))
        value = math.nan if score["value"] is None else score["value"]
        self.say("train.scored", step=line["step"], name=name, value=value)

    def say(self, key: str, **values: Any) -> None:
        self.console.print(say(key, **values), markup=False)

    def damaged(self, error: BadFileError) -> None:
        self.console.print(str(error), markup=False)

    def end(self) -> None:
        if self.bar.live.is_started:
            self.bar.stop()


class Pace:
    """Seconds a step and tokens a second over the last updates."""

    def __init__(self, window: int = 20):
        self._seen: deque[tuple[float, int]] = deque(maxlen=window)

    def add(self, line: dict[str, Any]) -> None:
        self._seen.append((line["seconds"], line["tokens"]))

    @property
    def step(self) -> float:
        return sum(seconds for seconds, _ in self._seen) / max(len(self._seen), 1)

    @property
    def tokens(self) -> float:
        return sum(tokens for _, tokens in self._seen) / max(sum(seconds for seconds, _ in self._seen), 1e-9)


class Board:
    """Passes everything on to another watch, and updates and scores to TensorBoard's event files as well."""

    def __init__(self, watch: Watch, folder: Path):
        self.watch, self.folder, self.writer = watch, folder, None

    def first(self, batch: list[Document]) -> None:
        self.watch.first(batch)

    def begin(self, step: int, steps: int) -> None:
        try:
            need("tensorboard", extra="board")
        except MissingPackage as missing:
            self.watch.say("train.no_board", why=missing)
        else:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder), purge_step=step + 1)
        self.watch.begin(step, steps)

    def update(self, line: dict[str, Any]) -> None:
        if self.writer:
            for name in ("loss", "rate", "gradient"):
                self.writer.add_scalar(f"train/{name}", line[name], line["step"])
        self.watch.update(line)

    def score(self, line: dict[str, Any]) -> None:
        if self.writer:
            for name, score in line["held_out"].items():
                if score["value"] is not None:
                    self.writer.add_scalar(f"held_out/{name}", score["value"], line["step"])
        self.watch.score(line)

    def say(self, key: str, **values: Any) -> None:
        self.watch.say(key, **values)

    def damaged(self, error: BadFileError) -> None:
        self.watch.damaged(error)

    def end(self) -> None:
        if self.writer:
            self.writer.close()
        self.watch.end()


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
