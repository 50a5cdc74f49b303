"""How long each part of the demo may take, and how many updates that is on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

PARTS = ("pace", "data", "poems", "reviews", "reviews-scratch", "office-help", "page")
TRAININGS = PARTS[2:-1]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Seconds: `train` for updates, `around` for what stands before and after them on two cores of a usual laptop."""

    train: float = 0.0
    around: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`target` is what it should take in seconds, `limit` what it must not exceed. The rest says how much is done."""

    name: str
    target: float
    limit: float
    parts: Mapping[str, Part]
    rows: Mapping[str, int] = field(default_factory=dict)  # of a sample that are used, where not all are
    poems_scored: int = 1000
    verses: int = 16  # written and searched for copies; the first of them are shown
    verses_shown: int = 4
    reviews_scored: int = 1000
    pairs_scored: int = 300
    curve: int = 8  # scorings of held-out data during a training
    probe: int = 3  # updates by which the pace is measured
    sizes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # changes to the recipe of a training


FULL = Plan(
    name="full",
    target=580,
    limit=700,
    parts={
        "pace": Part(around=10),
        "data": Part(around=20),
        "poems": Part(train=230, around=45),
        "reviews": Part(train=40, around=15),
        "reviews-scratch": Part(train=40, around=15),
        "office-help": Part(train=120, around=20),
        "page": Part(around=25),
    },
)
QUICK = Plan(
    name="quick",
    target=108,
    limit=120,
    parts={
        "pace": Part(around=8),
        "data": Part(around=8),
        "poems": Part(train=25, around=12),
        "reviews": Part(train=9, around=5),
        "reviews-scratch": Part(train=9, around=5),
        "office-help": Part(train=12, around=5),
        "page": Part(around=8),
    },
    rows={"tang-poems": 12_000},
    poems_scored=200,
    verses=8,
    reviews_scored=300,
    pairs_scored=100,
    curve=4,
    probe=2,
)


class Budget:
    """The time of one demo: what is left of it, and what that allows.

    What a part takes beside its updates is expected to be as much slower than planned as the parts without a training
    were; updates get what then remains until the target, each training its share. A training is cut off only where the
    limit would be in danger.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.began = time.monotonic()
        self.ahead = list(PARTS)
        self.slow = 1.0
        self.drift = 1.0  # how much slower updates were than the pace that was measured first
        self.pace: dict[str, float] = {}  # seconds an update takes
        self.most: dict[str, int] = {}  # updates that the recipe asks for

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def measured(self, part: str, pace: float, most: int) -> None:
        """An update of this training takes `pace` seconds, and its recipe asks for `most` of them."""
        self.pace[part], self.most[part] = pace, most

    def steps(self, part: str) -> int:
        """How many updates of this training there is time for now."""
        fitting = SPARE * self.training(part) / (self.pace[part] * self.drift)
        return max(LEAST, min(self.most[part], int(fitting)))

    def training(self, part: str) -> float:
        """The seconds for the updates of this training, now."""
        room = self.plan.target - self.elapsed - self._around(self._from(part))
        wanted = sum(self.plan.parts[each].train for each in self._from(part))
        return self.plan.parts[part].train * max(0.0, min(1.0, room / wanted))

    def deadline(self, part: str) -> float:
        """When (by time.monotonic) the updates of this training must end, so that the rest is done before the limit."""
        later = [each for each in self._from(part) if each != part]
        kept = self._around(self._from(part)) + KEPT * sum(self.plan.parts[each].train for each in later)
        return self.began + self.plan.limit - kept

    def expected(self, part: str) -> float:
        """The seconds that a part should take, as far as one knows."""
        around = self.slow * self.plan.parts[part].around
        if part not in self.pace:
            return around
        return around + self.steps(part) * self.pace[part] * self.drift / SPARE

    @property
    def left(self) -> float:
        """The seconds that everything from the present part on should take."""
        return sum(self.expected(part) for part in self.ahead)

    def done(self, part: str, seconds: float | None = None) -> None:
        """A part is behind us; `seconds` where it was really done, and not taken over from before."""
        self.ahead = [each for each in self.ahead if each != part]
        planned = self.plan.parts[part]
        if seconds is not None and not planned.train:
            self.slow = max(0.5, seconds / planned.around)

    def trained(self, part: str, steps: int, seconds: float) -> None:
        """This many updates took so long."""
        if steps and part in self.pace:
            self.drift = max(0.5, min(4.0, seconds / (steps * self.pace[part])))

    def _from(self, part: str) -> tuple[str, ...]:
        return PARTS[PARTS.index(part) :]

    def _around(self, parts: tuple[str, ...]) -> float:
        return self.slow * sum(self.plan.parts[each].around for each in parts)


SPARE = 0.9  # of a training's time goes into updates, the rest into scoring for its curve
KEPT = 0.3  # of what later trainings should have is kept for them when one takes too long
LEAST = 2
