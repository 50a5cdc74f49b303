"""Ctrl-C and SIGTERM as an event that the work polls, so that a run is saved before it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Raised at the next poll after a signal came."""


class Stop:
    """Whether the user asked to stop."""

    def __init__(self) -> None:
        self._asked = Event()

    def ask(self) -> None:
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def poll(self) -> None:
        if self._asked.is_set():
            raise Interrupted


@contextmanager
def on_signals() -> Iterator[Stop]:
    """Within, the first signal asks to stop, and a second one ends the process at once, as if nobody listened."""
    stop = Stop()

    def first(number: int, frame: object) -> None:
        stop.ask()
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    if current_thread() is not main_thread():  # only the main thread may listen; from another, `stop.ask()` does it
        yield stop
        return
    before = {each: signal.signal(each, first) for each in SIGNALS}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
