"""The demo from its first line to its last."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from regard.journey import data, pace, page, poems, reviews, translation
from regard.journey.folder import Folder
from regard.journey.plan import TRAININGS, Budget, Plan
from regard.journey.screen import Screen
from regard.journey.walk import Walk
from regard.report.sections import Section, Table, message
from regard.train import machine
from regard.train.progress import clock
from regard.train.recipe import MachineConfig
from regard.train.stop import Interrupted, Stop
from regard.words import say

Found = dict[str, Any]
STEPS: dict[str, tuple[Callable[[Walk], Found], Callable[[Found], list[Section]], tuple[str, ...]]] = {
    # what it does, what of it the screen shows, the parts of the plan that it is
    "data": (data.work, data.sections, ("data",)),
    "poems": (poems.work, poems.brief, ("poems",)),
    "reviews": (reviews.work, reviews.brief, ("reviews", "reviews-scratch")),
    "translation": (translation.work, translation.brief, ("office-help",)),
}


def run(
    path: str | os.PathLike[str],
    plan: Plan,
    *,
    prompt: str,
    screen: Screen,
    stop: Stop | None = None,
    settings: MachineConfig | None = None,
) -> Found | None:
    """The whole demo in the folder `path`, or the rest of it; None where it was stopped.

    Raises RegardError for a folder that is not a demo's and for a prompt that cannot be written on from.
    """
    prompt = poems.check_prompt(prompt)
    settings = machine.resolve(settings or MachineConfig(tensorboard=False))
    torch.set_num_threads(settings.threads or torch.get_num_threads())
    folder = Folder(path)
    with folder.claimed(plan.name, prompt) as state:
        budget = Budget(plan)
        walk = Walk(
            folder=folder, plan=plan, budget=budget, screen=screen, stop=stop or Stop(), prompt=prompt, machine=settings
        )
        screen.say(f"journey.begin.{state}", folder=folder.path.as_posix())
        try:
            with screen.moving(budget):
                found = _walk(walk)
        except Interrupted:
            return None
        folder.finish(plan.name, prompt)
        return {**found, "seconds": round(budget.elapsed, 1)}


def _walk(walk: Walk) -> Found:
    _measure(walk)
    _promise(walk)
    results: Found = {}
    for number, (name, (work, shown, parts)) in enumerate(STEPS.items(), start=1):
        walk.screen.head(number, len(STEPS) + 1, say(f"journey.{name}.title"))
        results[name] = _done(walk, name) or _do(walk, name, work, parts[0])
        for part in parts:
            walk.budget.done(part)
        walk.screen.show(*shown(results[name]))
    walk.screen.head(len(STEPS) + 1, len(STEPS) + 1, say("journey.page.step"))
    results["page"] = page.work(walk, results)
    walk.screen.show(*page.brief(results["page"]))
    return results


def _measure(walk: Walk) -> None:
    walk.stage("pace", say("journey.measuring"))
    began = walk.budget.elapsed
    pace.measure(walk)
    walk.budget.done("pace", walk.budget.elapsed - began if walk.budget.pace else None)


def _done(walk: Walk, name: str) -> Found | None:
    """What a step found before, if it was asked the same."""
    found = walk.folder.result(name)
    if found is None or found.get("prompt", walk.prompt) != walk.prompt:
        return None
    walk.screen.say("journey.taken_over")
    return found


def _do(walk: Walk, name: str, work: Callable[[Walk], Found], part: str) -> Found:
    began = walk.budget.elapsed
    found = work(walk)
    walk.folder.keep(name, found)
    walk.budget.done(part, walk.budget.elapsed - began)
    return found


def _promise(walk: Walk) -> None:
    """The plan with what was measured, before it begins."""
    budget = walk.budget
    rows = []
    for part in budget.ahead:
        steps = budget.steps(part) if part in budget.pace else None
        skipped = part in TRAININGS and steps is None
        seconds = 0.0 if skipped else budget.expected(part)
        measured = round(budget.pace[part], 2) if part in budget.pace else None
        rows.append((message(f"journey.part.{part}"), steps, measured, clock(seconds)))
    columns = [message(f"journey.promise.{name}") for name in ("part", "updates", "pace", "time")]
    whole, limit = budget.elapsed + budget.left, walk.plan.limit
    key = "journey.promise.note" if whole <= limit else "journey.promise.slow"
    about = message(key, time=clock(whole), limit=clock(limit))
    walk.screen.show(Table(columns=columns, rows=rows, note=about))


def next_commands(path: str | os.PathLike[str], found: Found) -> list[str]:
    """Three commands that go on from here."""
    folder = Folder(path)

    def place(name: str) -> str:
        return folder.run(name).as_posix()

    prompt = found["poems"]["prompt"].split("\n")[0] or "明月"
    lines = [f'regard generate {place("poems")} --prompt "{prompt}" --temperature 0.8 --top-p 0.95 --samples 3']
    if found["reviews"]["encoder"] is not None:
        lines.append(f'regard explain {place("reviews")} --text "A film of rare warmth and wit."')
    else:
        lines.append(f'regard explain {place("poems")} --text "{prompt}"')
    lines.append(f'regard predict {place("office-help")} "Delete the selected rows."')
    return lines
