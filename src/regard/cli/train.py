"""`regard train`: train by a recipe, from scratch or from a model, or go on with a run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regard.cli.command import answer, argument, notes, option, verb, wants_json
from regard.words import say

if TYPE_CHECKING:
    from rich.console import Console

    from regard.train.ranks import Ranks
    from regard.train.recipe import Recipe
    from regard.train.run import Run
    from regard.train.stop import Stop

STOPPED = 130
SHORT = {  # options that stand for a key of the recipe
    "base": "base",
    "data": "data.train",
    "text": "data.text",
    "label": "data.label",
    "source": "data.source",
    "target": "data.target",
    "device": "train.machine.device",
    "threads": "train.machine.threads",
    "dtype": "train.machine.precision",
    "seed": "train.seed",
    "steps": "train.steps",
}

NEXT_OF_TEXT = ("predict {}", "eval {}", "explain {} --text TEXT")
NEXT = {
    "causal-lm": ("generate {}", "eval {}", "explain {} --text TEXT"),
    "image-classification": ("predict {} IMAGE.png", "eval {}", "doctor {}"),
    "ctc": ("transcribe {} SOUND.wav", "eval {}", "doctor {}"),
}


@verb("train")
@argument("recipe", required=False)
@option("--set", "changes", multiple=True, metavar="KEY=VALUE")
@option("--from", "base")
@option("--data")
@option("--text")
@option("--label")
@option("--source")
@option("--target")
@option("--out", type=click.Path())
@option("--resume", type=click.Path())
@option("--fork", type=click.Path())
@option("--at", type=click.IntRange(0))
@option("--fit", is_flag=True)
@option("--find-batch", is_flag=True)
@option("--find-lr", is_flag=True)
@option("--memory", type=click.FloatRange(0.0, min_open=True))
@option("--device")
@option("--threads", type=click.IntRange(1))
@option("--dtype", type=click.Choice(["float32", "bfloat16"]))
@option("--seed", type=click.IntRange(0, 2**63 - 1))
@option("--steps", type=click.IntRange(1))
@option("--ranks", type=click.IntRange(1))
@option("--max-restarts", type=click.IntRange(0), default=0)
def command(
    recipe: str | None,
    changes: tuple[str, ...],
    out: str | None,
    resume: str | None,
    fork: str | None,
    at: int | None,
    fit: bool,
    find_batch: bool,
    find_lr: bool,
    memory: float | None,
    ranks: int | None,
    max_restarts: int,
    **short: Any,
) -> None:
    if "RANK" in os.environ:  # PyTorch reads it when it is imported; DDP warns of what is meant to be so
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from regard.errors import ConfigError
    from regard.train import fork as forks
    from regard.train import start
    from regard.train.progress import Lines, Screen
    from regard.train.ranks import joined
    from regard.train.run import Run
    from regard.train.stop import on_signals

    overrides = {SHORT[name]: str(value) for name, value in short.items() if value is not None} | _pairs(changes)
    if fit or find_batch or find_lr:
        look = "fit" if fit else "find_batch" if find_batch else "find_lr"
        origin = resume or fork
        asked = _recipe(recipe, overrides, Run.open(origin) if origin else None)
        return _look(look, asked, Path(out or "runs"), memory)
    if ranks is not None:
        _launch(ranks, max_restarts, None if resume or out else _fresh(recipe, fork))
    watch = Lines() if wants_json() else Screen(notes())
    with joined() as group, on_signals() as stop:
        if group.count > 1:
            resume = _together(group, stop, out, resume)
        if resume is not None:
            asked = _recipe(recipe, overrides, Run.open(resume)) if recipe or overrides else None
            run, outcome = start.resume(resume, watch, stop, asked, group)
        elif fork is not None:
            asked = _recipe(recipe, overrides, Run.open(fork))
            folder = Path(out) if out else _fresh(recipe, fork)
            run, outcome = forks.fork(fork, folder, asked, step=at, watch=watch, stop=stop, ranks=group)
        elif recipe is not None:
            folder = Path(out) if out else _fresh(recipe, fork)
            run, outcome = start.start(_recipe(recipe, overrides), folder, watch, stop, group)
        else:
            raise ConfigError("cli_train.which")
    answer(_document(run, outcome), lambda screen: _show(screen, run, outcome))
    if outcome == "stopped":
        raise click.exceptions.Exit(STOPPED)


def _look(what: str, recipe: Recipe, folder: Path, memory: float | None) -> None:
    """Say beforehand what was asked for; nothing is trained."""
    from regard.cli import fit
    from regard.train.stop import Interrupted, on_signals

    with on_signals() as stop:
        try:
            if what == "fit":
                fit.fit(recipe, folder, memory, stop)
            elif what == "find_batch":
                fit.find_batch(recipe, memory, stop)
            else:
                fit.find_lr(recipe, stop)
        except Interrupted as error:
            raise click.exceptions.Exit(STOPPED) from error


def _fresh(recipe: str | None, fork: str | None) -> Path:
    """A folder for a run that was given none."""
    from regard.errors import ConfigError
    from regard.train.run import fresh

    if fork is not None:
        origin = Path(fork).resolve()
        return fresh(f"{origin.name}-fork", origin.parent)
    if recipe is None:
        raise ConfigError("cli_train.which")
    return fresh(Path(recipe).stem)


def _launch(ranks: int, restarts: int, folder: Path | None) -> None:
    """Run this very command as so many processes, and leave with their exit code."""
    from regard.train.together import for_ranks, launch
    from regard.words import language

    context = click.get_current_context()
    said = ["--lang", language(), *(["--json"] if wants_json() else [])]
    code = launch([*for_ranks(context.meta["regard.arguments"], folder), *said], ranks, restarts)
    raise click.exceptions.Exit(code)


def _together(ranks: Ranks, stop: Stop, out: str | None, resume: str | None) -> str | None:
    """The run that the first rank resumes, if any; started again by torchrun, it is the one that was begun.

    Another rank does not come back from here: it follows and leaves.
    """
    from regard.errors import ConfigError
    from regard.train.ranks import RankLost, restarted
    from regard.train.run import Run
    from regard.train.together import LINGER, follow

    folder = resume or out
    if folder is None:
        raise ConfigError("ranks.no_out")
    if ranks.leads:
        return folder if restarted() and Run(folder).exists else resume
    try:
        outcome = follow(folder, stop, ranks)
    except RankLost as error:  # the first rank says so, and has the time for it before the launcher ends all
        time.sleep(LINGER)
        raise click.exceptions.Exit(error.exit_code) from error
    raise click.exceptions.Exit(STOPPED if outcome == "stopped" else 0)


def _recipe(name: str | None, overrides: dict[str, str], run: Run | None = None) -> Recipe:
    from regard.config import override
    from regard.errors import ConfigError
    from regard.train import recipe as recipes

    if name is None and run is None:
        raise ConfigError("cli_train.which")
    recipe = run.asked if name is None and run is not None else recipes.load(recipes.find(str(name)))
    return override(recipe, overrides)


def _pairs(changes: tuple[str, ...]) -> dict[str, str]:
    from regard.errors import ConfigError

    pairs = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign or not key.strip():
            raise ConfigError("cli_train.not_a_pair", change=change)
        pairs[key.strip()] = value.strip()
    return pairs


def _document(run: Run, outcome: str) -> dict[str, Any]:
    updates, scores = run.updates(), run.scores()
    return {
        "run": str(run.folder),
        "outcome": outcome,
        "steps": len(updates),
        "loss": updates[-1]["loss"] if updates else None,
        "held_out": scores[-1]["held_out"] if scores else None,
        "model": str(run.model) if run.model.is_dir() else None,
    }


def _show(screen: Console, run: Run, outcome: str) -> None:
    folder = run.folder.as_posix()
    lines = [say(f"cli_train.outcome.{outcome}", run=folder, steps=len(run.updates()))]
    if outcome == "stopped":
        lines.append(f"  regard train --resume {folder}")
    else:
        lines.append(say("cli_train.next"))
        lines += [f"  regard {words.format(folder)}" for words in NEXT.get(run.recipe.task_name, NEXT_OF_TEXT)]
    screen.print("\n".join(lines), markup=False, soft_wrap=True)
