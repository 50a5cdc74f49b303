"""What is seen of a demo while it goes on: text that stays, and one line beneath it that moves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn

from regard.errors import BadFileError
from regard.journey.plan import Budget
from regard.journey.until import Until
from regard.report import terminal
from regard.report.sections import Section
from regard.train.progress import Pace, Silent, clock
from regard.words import say

EVERY = 15.0  # seconds between two lines where nothing can move


class Screen:
    """Prints to `console`; in a file or a pipe the moving line becomes a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.moves = console.is_terminal
        self._line: _Line | None = None
        self._printed = time.monotonic()

    @contextmanager
    def moving(self, budget: Budget) -> Iterator[None]:
        """Within, the line at the bottom shows how far the whole demo is."""
        self._line = _Line(self.console, budget.began, disable=not self.moves)
        with self._line:
            yield
        self._line = None

    def at(self, what: str, left: float) -> None:
        """What is being done, and the seconds that the whole demo will still take."""
        if self._line is None:
            return
        self._line.at(what, left)
        if not self.moves and time.monotonic() - self._printed > EVERY:
            self._printed = time.monotonic()
            self.text(f"{self._line.share:4.0%}  {self._line.said}")

    def text(self, line: str = "", style: str = "") -> None:
        """A line as it is."""
        self.console.print(line, style=style, markup=False)

    def say(self, key: str, **values: Any) -> None:
        """A sentence of the message table."""
        self.text(say(key, **values))

    def head(self, number: int, of: int, title: str) -> None:
        """The beginning of a step."""
        self.console.print()
        self.console.rule(f"[bold]{number}/{of}  {title}", align="left", style="dim")

    def show(self, *sections: Section) -> None:
        """Sections as a terminal shows them."""
        for section in sections:
            self.console.print(terminal.rendered(section))
            self.console.print()


class _Line(Progress):
    """A bar with what is being done and the time left, which runs down between two reports."""

    def __init__(self, console: Console, began: float, *, disable: bool) -> None:
        self.began, self.what, self.end = began, "", time.monotonic()
        said = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(24), TextColumn("{task.percentage:>3.0f} %"), said)
        super().__init__(*columns, console=console, transient=True, disable=disable, refresh_per_second=4)
        self.add_task("", total=1.0)

    def at(self, what: str, left: float) -> None:
        self.what, self.end = what, time.monotonic() + left

    @property
    def left(self) -> float:
        return max(self.end - time.monotonic(), 0.0)

    @property
    def share(self) -> float:
        gone = time.monotonic() - self.began
        return gone / max(gone + self.left, 1e-9)

    @property
    def said(self) -> str:
        return f"{self.what} · {say('journey.left', time=clock(self.left))}"

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            task.completed, task.description = self.share, self.said
        return super().get_renderables()


class Stage:
    """One part of the demo on the screen: tells what is done, and what the whole will still take."""

    def __init__(self, screen: Screen, budget: Budget, part: str, what: str) -> None:
        self.screen, self.what = screen, what
        self.end = time.monotonic() + budget.expected(part)
        self.later = budget.left - budget.expected(part)
        self.at()

    def at(self, what: str | None = None) -> None:
        """`what` is done now, or still the same."""
        self.what = what or self.what
        self.screen.at(self.what, max(self.end - time.monotonic(), 0.0) + self.later)


class Follow(Silent):
    """Shows a training as a share of its part."""

    def __init__(self, stage: Stage, until: Until) -> None:
        self.stage, self.until, self.pace, self.steps = stage, until, Pace(), 1

    def begin(self, step: int, steps: int) -> None:
        self.steps = steps

    def update(self, line: dict[str, Any]) -> None:
        self.until.saw(line["seconds"])
        self.pace.add(line)
        left = (self.steps - line["step"]) * self.pace.step
        said = say("journey.training", loss=line["loss"], speed=self.pace.tokens, step=line["step"], steps=self.steps)
        self.stage.screen.at(f"{self.stage.what} · {said}", left + self.stage.later)

    def say(self, key: str, **values: Any) -> None:
        if key in ("train.little_space", "train.moved"):
            self.stage.screen.say(key, **values)

    def damaged(self, error: BadFileError) -> None:
        self.stage.screen.text(str(error))
