"""What reading a file comes to: tried in a process of its own, which a hostile file may kill, fill or halt.

    outcome, = trial.run([("weights", folder)])
    outcome.refused, outcome.message, outcome.seconds, outcome.grown

One process reads many files. Memory is the high-water mark of what is resident while one file is read, over what was
resident before; so the packages imported count for none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
ROOM = 64 * MIB  # beside the size of the file
SECONDS = 1.0  # for a file of at most a MiB
PATIENCE = 60.0  # until a file counts as one that is never done


@dataclass(frozen=True)
class Outcome:
    """kind: "read", "refused" (a RegardError: BadFileError, ConfigError, …) or the name of any other exception."""

    reader: str
    path: str
    kind: str
    message: str
    seconds: float
    grown: int

    @property
    def refused(self) -> bool:
        return self.kind == "refused"


def run(cases: Iterable[tuple[str, Path]], *, environment: dict[str, str] | None = None) -> list[Outcome]:
    """Reads each path by the reader of that name (READERS) and tells what became of it."""
    wanted = [(reader, str(path)) for reader, path in cases]
    child = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "REGARD_LANG": "en", "PYTHONUTF8": "1", **(environment or {})},
    )
    watch = threading.Timer(PATIENCE + 5.0 * len(wanted), child.kill)
    watch.start()
    out, _ = child.communicate(json.dumps(wanted))
    watch.cancel()
    found = [Outcome(**json.loads(line)) for line in out.splitlines() if line.startswith("{")]
    if len(found) < len(wanted):
        raise AssertionError(f"{wanted[len(found)]}: the process ended by {child.returncode}")
    return found


def holds(found: Iterable[Outcome], *, may_read: bool = False, named: str | None = None) -> str:
    """Fails unless each was refused as it should be, naming the file (`named`: its name, if it is not the path's last);
    returns the line of figures to print."""
    outcomes = list(found)
    for one in outcomes:
        size = _size(Path(one.path))
        assert one.refused or (may_read and one.kind == "read"), one
        assert one.kind == "read" or (named or Path(one.path).name) in one.message, one
        assert one.grown <= size + ROOM, one
        assert one.seconds <= SECONDS * max(1.0, size / MIB), one
    slowest, largest = max(one.seconds for one in outcomes), max(one.grown for one in outcomes)
    return f"{len(outcomes)} files, slowest {slowest:.2f} s, most memory +{largest / MIB:.0f} MiB"


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size if path.is_file() else 0


def _weights(path: str) -> Any:
    from regard.weights.folder import Folder

    folder = Folder(Path(path))
    return [folder.read(name) for name in folder.names()]


def _bundle(path: str) -> Any:
    from regard import bundle

    return bundle.load(path)


def _tokenizer(path: str) -> Any:
    from regard.inputs.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path)
    return tokenizer.decode(tokenizer.encode("床前明月光 the quick brown fox"))


def _source(path: str) -> Any:
    from regard.data import sources

    rows = sources.open(path)
    return [rows[number] for number in range(min(len(rows), 3))]


def _json(path: str) -> Any:
    from regard import limits

    return limits.read_json(path)


def _toml(path: str) -> Any:
    from regard import limits

    return limits.read_toml(path)


def _recipe(path: str) -> Any:
    from regard import config
    from regard.train import recipe

    return config.to_toml(recipe.load(path))


def _run(path: str) -> Any:
    from regard.train.run import Run

    run = Run.open(path)
    return run.recipe, run.asked, run.data, run.history(), run.updates(), run.scores(), run.best(), run.status


def _checkpoint(path: str) -> Any:
    from regard.train import checkpoint

    found = checkpoint.verify(Path(path))
    return [found.tensors(name) for name in ("model", "optimizer")]


READERS: dict[str, Callable[[str], Any]] = {
    "weights": _weights,
    "bundle": _bundle,
    "tokenizer": _tokenizer,
    "source": _source,
    "json": _json,
    "toml": _toml,
    "recipe": _recipe,
    "run": _run,
    "checkpoint": _checkpoint,
}


def _resident() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def _forget_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _warm(names: set[str]) -> None:
    """Everything imported and each library used once, so that no file is charged for it."""
    import regard.limits
    import regard.train.recipe

    if names <= {"json", "toml", "recipe"}:
        return
    import torch

    import regard.bundle
    import regard.data.sources
    import regard.train.run  # noqa: F401
    from regard import models
    from regard.inputs.tokenizer import Tokenizer

    torch.set_num_threads(1)
    Tokenizer.train("bpe", ["a b c"], 300)
    models.empty(models.family("gpt2").Config())  # PyTorch loads its rules for tensors without memory at the first


def _main() -> None:
    from regard.errors import RegardError

    wanted = json.loads(sys.stdin.read())
    _warm({reader for reader, _ in wanted})
    for reader, path in wanted:
        _forget_peak()
        before, start = _resident(), time.perf_counter()
        kind, message = "read", ""
        try:
            READERS[reader](path)
        except RegardError as error:
            kind, message = "refused", str(error)
        except BaseException as error:
            kind, message = type(error).__name__, str(error)[:500]
        seconds, grown = time.perf_counter() - start, max(_peak() - before, 0)
        found = {"reader": reader, "path": path, "kind": kind, "message": message, "seconds": seconds, "grown": grown}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _main()
