"""When a training of the demo stops before its last update."""

from __future__ import annotations

import time

from regard.train.stop import Interrupted, Stop

TRIAL = 4  # updates after which the pace is known
FASTER, SLOWER = 0.6, 1.6  # times the pace it was planned with, beyond which it is planned again


class Until(Stop):
    """Stops where the user asks to, where the time is over (but never before an update was made), and where its first
    updates show that it was planned with a wrong pace: `wrong` is then the right one.

    `expected` are the seconds an update should take, None where there is nothing to compare; `steps` are planned, and
    `most` are asked for.
    """

    def __init__(self, user: Stop, end: float, *, expected: float | None = None, steps: int = 0, most: int = 0) -> None:
        super().__init__()
        self.user, self.end, self.expected = user, end, expected
        self.wrong: float | None = None
        self._grows = steps < most
        self._trial = min(TRIAL, max(1, steps - 1))
        self._seen: list[float] = []

    def saw(self, seconds: float) -> None:
        """An update was made."""
        self._seen.append(seconds)
        if self.expected is None or len(self._seen) != self._trial:
            return
        fastest = min(self._seen)  # what else runs on the machine makes an update slower, never faster
        faster = self._grows and fastest < FASTER * self.expected
        if faster or (len(self._seen) > 1 and fastest > SLOWER * self.expected):
            self.wrong = fastest

    def poll(self) -> None:
        self.user.poll()
        if self.wrong is not None or (self._seen and time.monotonic() > self.end):
            raise Interrupted
