"""A whole demo in seconds: the real data and the real steps, with models that learn nothing worth having."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from regard.journey import demo, plan
from regard.journey.screen import Screen
from regard.train.recipe import MachineConfig
from regard.train.stop import Stop
from regard.words import speaking

ATTENTION = "{heads = 2, kv_heads = 2, head_dim = 16}"
SETTINGS = MachineConfig(device="cpu", threads=1, tensorboard=False)


def tiny(encoder_folder: Path) -> plan.Plan:
    """The quick plan with small models, few data, and time for a handful of updates."""
    small = {"model.dim": "32", "model.depth": "1", "model.hidden": "48", "train.batch.tokens": "1024"}
    return replace(
        plan.QUICK,
        name="quick",
        target=3000,
        limit=3600,
        rows={"tang-poems": 700, "film-reviews": 1500, "office-help": 900},
        poems_scored=11,
        verses=3,
        verses_shown=2,
        reviews_scored=41,
        pairs_scored=13,
        curve=2,
        probe=1,
        sizes={
            "poems": small | {"model.attention": ATTENTION, "train.steps": "5"},
            "reviews": {"base": str(encoder_folder), "train.steps": "3"},
            "office-help": small | {"model.heads": "2", "tokenizer.vocab": "700", "train.steps": "3"},
        },
    )


class Walked:
    """A demo in a folder, and what the screen showed."""

    def __init__(self, folder: Path, encoder_folder: Path) -> None:
        self.folder, self.plan, self.seen = folder, tiny(encoder_folder), ""

    def go(self, prompt: str = "明月", stop: Stop | None = None, language: Any = "en") -> dict[str, Any] | None:
        screen = Screen(Console(file=io.StringIO(), width=160, highlight=False))
        with speaking(language):
            found = demo.run(self.folder, self.plan, prompt=prompt, screen=screen, stop=stop, settings=SETTINGS)
        self.seen = screen.console.file.getvalue()
        return found
