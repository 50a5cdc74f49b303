"""What runs take up on the disk, and taking it back: a whole run, or the checkpoints that nobody needs any more.

A run is renamed before it is deleted, so that half a run never stands under a run's name; what an interrupted deletion
leaves begins with GONE and goes with the next one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from regard.errors import BadFileError, RegardError
from regard.train import checkpoint
from regard.train.run import Run

GONE = ".removed-"


def size(path: Path) -> int:
    """Bytes of a file, or of everything in a folder."""
    total = 0
    for each in [path, *path.rglob("*")]:
        with suppress(FileNotFoundError):  # a checkpoint that is being deleted
            total += each.lstat().st_size if each.is_file() or each.is_symlink() else 0
    return total


def spare(run: Run) -> list[Path]:
    """The checkpoints of a run that `thin` would delete, by their names alone: all but the newest and the best."""
    steps = _steps(run)
    kept = {max(steps, default=None), *_best(run)}
    return [folder for step, folder in sorted(steps.items()) if step not in kept]


def left_over(folder: Path) -> list[Path]:
    """What interrupted deletions left in a folder of runs."""
    return sorted(folder.glob(f"{GONE}*")) if folder.is_dir() else []


def remove(run: Run) -> int:
    """Delete a run; the bytes that it took. Refuses what is no run, a link, and a run in use."""
    refuse(run)
    folder = run.folder.resolve()
    freed = size(folder)
    doomed = folder.with_name(f"{GONE}{folder.name}-{os.getpid()}")
    try:
        with run.locked():
            os.replace(folder, doomed)
    except PermissionError:  # Windows renames no folder in which a file is open, and the lock is one
        os.replace(folder, doomed)
    shutil.rmtree(doomed)
    return freed


def thin(run: Run, damaged: Callable[[BadFileError], None]) -> int:
    """Delete the checkpoints before the newest whole one, but for the best; the bytes that they took."""
    refuse(run)
    with run.locked():
        before = size(run.checkpoints)
        checkpoint.sweep(run.checkpoints)
        checkpoint.retain(run.checkpoints, 1, _best(run), damaged)
        return before - size(run.checkpoints)


def refuse(run: Run) -> None:
    """Raise unless this is the folder of a run that nobody trains."""
    if run.folder.is_symlink():
        raise RegardError("remove.link", run=run.folder)
    Run.open(run.folder)
    with run.locked():
        pass


def _steps(run: Run) -> dict[int, Path]:
    found = run.checkpoints.glob("step-*") if run.checkpoints.is_dir() else ()
    return {int(folder.name[5:]): folder for folder in found if folder.name[5:].isdecimal()}


def _best(run: Run) -> set[int]:
    """The step whose checkpoint the recipe keeps for its score."""
    best = run.best() if run.recipe.train.evaluate.best else None
    return set() if best is None else {best[2]}
