"""Shows that the tests can fail: applies each committed fault to a copy of the tree and runs the test it names.

    python tools/mutants.py [--area core,data] [--only WORD] [--jobs 2] [--state build/mutants.json]

The faults stand in tests/mutants/AREA.toml as

    [[mutant]]
    name = "what is broken"
    file = "src/regard/...py"
    old = "exact source text, once in the file"
    new = "broken text"
    test = "tests/room/test_x.py::test_y"          # or a list of tests, of which one must turn red

First every named test has to pass on the tree as it is, area by area; what does not is told and its faults count as not
shown. With --state, verdicts are kept in a file as they come, and a fault that was killed is not tried again while its
text, its file and its tests' files are what they were: a run of an hour can be ended at any moment and gone on with.
The faults are made in copies, so the tree itself is never touched, whatever happens. Exit code 1 if a fault survives,
cannot be applied or was not shown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", "*.egg-info", "runs", "demo-run", "build", "dist", ".*_cache"
)
TIMEOUT = 300

KILLED, SURVIVED, BROKEN, TIMED_OUT, RED = "killed", "SURVIVED", "CANNOT APPLY", "killed (time)", "TEST IS RED"
# Tests begin in a process that has loaded what takes longest, so that a fault costs a second instead of eight.
SERVER: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
SERVER.set_forkserver_preload(["torch", "transformers.modeling_utils", "transformers.generation", "tokenizers"])
RUNNING: set[BaseProcess] = set()


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One fault: where, what, and the tests of which at least one must see it."""

    area: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description="Show that each committed fault turns its test red.")
    parser.add_argument("--area", default="", help="areas, with commas between them")
    parser.add_argument("--only", default="", help="faults with this word in their area or name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--state", type=Path, help="a file of verdicts to go on from")
    options = parser.parse_args()
    areas = set(filter(None, options.area.split(",")))
    mutants = [one for one in read(ROOT / "tests" / "mutants") if options.only in f"{one.area} {one.name}"]
    mutants = [one for one in mutants if not areas or one.area in areas]
    if not mutants:
        print("no such fault")
        return 1
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # of tests that are ended in the middle
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that copies are taken away and tests ended
    state = State(options.state)
    started = time.perf_counter()
    try:
        results = {one: verdict for one in mutants if (verdict := state.known(one))}
        print(f"{len(mutants)} faults, {len(results)} of them known from before", flush=True)
        for area in dict.fromkeys(one.area for one in mutants):
            todo = [one for one in mutants if one.area == area and one not in results]
            results |= judge(todo, options.jobs, state)
    except KeyboardInterrupt:
        print("ended early" + (f"; go on with --state {options.state}" if options.state else ""))
        return 130
    return summary(mutants, results, time.perf_counter() - started)


class State:
    """Verdicts by fault, in a JSON file if one is given. One holds as long as all that it came from is the same."""

    def __init__(self, file: Path | None):
        self.file = file
        self.verdicts: dict[str, str] = {}
        if file is not None and file.exists():
            self.verdicts = json.loads(file.read_text(encoding="utf-8"))

    def known(self, mutant: Mutant) -> str | None:
        verdict = self.verdicts.get(self._key(mutant))
        return verdict if verdict and verdict.startswith(KILLED) else None  # others are tried again

    def keep(self, mutant: Mutant, verdict: str) -> None:
        self.verdicts[self._key(mutant)] = verdict
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            part.write_text(json.dumps(self.verdicts, indent=1), encoding="utf-8")
            part.replace(self.file)

    def _key(self, mutant: Mutant) -> str:
        digest = hashlib.sha256(repr(mutant).encode())
        for file in (mutant.file, *(test.partition("::")[0] for test in mutant.tests)):
            path = ROOT / file
            digest.update(path.read_bytes() if path.is_file() else b"")
        return f"{mutant.area}: {mutant.name}: {digest.hexdigest()[:16]}"


def summary(mutants: Sequence[Mutant], results: dict[Mutant, str], seconds: float) -> int:
    """A line for each area, then each fault that was not killed; the exit code."""
    print()
    for area in dict.fromkeys(one.area for one in mutants):
        own = [one for one in mutants if one.area == area]
        print(f"{area:<14} {sum(results[one].startswith(KILLED) for one in own):>4} of {len(own)} killed")
    bad = [one for one in mutants if not results[one].startswith(KILLED)]
    for one in bad:
        print(f"{results[one]:<14} {one.area}: {one.name} ({one.file})")
    print(f"{len(results) - len(bad)} of {len(results)} killed in {seconds:.0f} s")
    return 1 if bad else 0


def read(folder: Path) -> list[Mutant]:
    """Every fault of every file in the folder."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []):
            test = entry.pop("test")
            found.append(Mutant(area=path.stem, tests=(test,) if isinstance(test, str) else tuple(test), **entry))
    return found


def judge(mutants: Sequence[Mutant], jobs: int, state: State) -> dict[Mutant, str]:
    """Try those of one area, and print a line for each."""
    results: dict[Mutant, str] = {}
    if not mutants:
        return results
    red = unshown(sorted({test for one in mutants for test in one.tests}))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        trees = [copied(Path(folder) / str(number)) for number in range(jobs)]
        free = list(trees)

        def tried(mutant: Mutant) -> str:
            if red & set(mutant.tests):
                return RED
            tree = free.pop()  # as many trees as threads, so there is always one
            try:
                return verdict(mutant, tree)
            finally:
                free.append(tree)

        try:
            for mutant, result in zip(mutants, pool.map(tried, mutants), strict=True):
                print(f"{result:<14} {mutant.area:<10} {mutant.name}", flush=True)
                state.keep(mutant, result)
                results[mutant] = result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for each in list(RUNNING):
                end(each)
            raise
    return results


def unshown(tests: Sequence[str]) -> set[str]:
    """Those of the tests that do not pass on the tree as it is, and so show nothing."""

    def passes(some: Sequence[str]) -> bool:
        try:
            code, output = pytest(ROOT, some, timeout=TIMEOUT * 6)
        except TimeoutError:
            return False
        if code:
            print(output[-2000:])
        return code == 0

    return set() if passes(tests) else {test for test in tests if not passes([test])}


def verdict(mutant: Mutant, tree: Path) -> str:
    """What became of one fault."""
    path = tree / mutant.file
    original = path.read_bytes() if path.is_file() else b""
    text = original.decode("utf-8")
    if text.count(mutant.old) != 1 or mutant.old == mutant.new:
        return BROKEN
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8", newline="")
    try:
        code, output = pytest(tree, mutant.tests, timeout=TIMEOUT)
    except TimeoutError:
        return TIMED_OUT
    finally:
        path.write_bytes(original)
    # 1: a test failed; 2: the test file could not even be read, which a fault may well do. 4 and 5: no such test.
    if code in (1, 2):
        return KILLED
    return SURVIVED if code == 0 else f"{BROKEN} {code} {output[-200:]}"


def pytest(tree: Path, tests: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run tests against the package of this tree, whatever is installed. Raises TimeoutError."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        started = SERVER.Process(target=tested, args=(str(tree), list(tests), str(said)))
        started.start()
        RUNNING.add(started)
        try:
            started.join(timeout)
            code = started.exitcode
        finally:
            end(started)
            RUNNING.discard(started)
        if code is None:
            raise TimeoutError
        return code, said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""


def tested(tree: str, tests: list[str], said: str) -> None:
    """In a process of its own: the tests, and their exit code as the process's."""
    if hasattr(os, "setsid"):
        os.setsid()
    file = os.open(said, os.O_WRONLY | os.O_CREAT)  # a pipe would wait for grandchildren
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": f"{tree}/src", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:1] = [tree, f"{tree}/src"]  # as `python -m pytest` has them, also for processes that a test starts
    import pytest as runner

    # What was loaded beforehand is not rewritten, and need not be: none of it is a test.
    code = runner.main(["-x", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning", *tests])
    sys.stdout.flush()
    os._exit(int(code))


def end(process: BaseProcess) -> None:
    """It, and what it started, where the system can do that."""
    with suppress(ProcessLookupError):
        if process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    process.join()


def copied(tree: Path) -> Path:
    shutil.copytree(ROOT, tree, ignore=LEFT_BEHIND)
    return tree


if __name__ == "__main__":
    sys.exit(main())
