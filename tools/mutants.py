"""Shows that the tests can fail: applies each committed fault to a copy of the tree and runs the test it names.

    python tools/mutants.py [--only WORD] [--jobs 2]

The faults stand in tests/mutants/*.toml as

    [[mutant]]
    name = "what is broken"
    file = "src/regard/...py"
    old = "exact source text, once in the file"
    new = "broken text"
    test = "tests/room/test_x.py::test_y"          # or a list of tests, of which one must turn red

First every named test has to pass on the tree as it is. Exit code 1 if a fault survives or cannot be applied.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", "*.egg-info", "runs", "demo-run", "build", "dist", ".*_cache"
)
TIMEOUT = 300

KILLED, SURVIVED, BROKEN, TIMED_OUT = "killed", "SURVIVED", "CANNOT APPLY", "killed (time)"


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
    parser.add_argument("--only", default="", help="faults with this word in their area or name")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    mutants = [one for one in read(ROOT / "tests" / "mutants") if options.only in f"{one.area} {one.name}"]
    if not mutants:
        print("no such fault")
        return 1
    tests = sorted({test for one in mutants for test in one.tests})
    print(f"{len(mutants)} faults, {len(tests)} tests. The tests on the tree as it is:", flush=True)
    code, output = pytest(ROOT, tests, timeout=TIMEOUT * 6)
    if code != 0:
        print(output[-4000:])
        print("They do not pass, so they show nothing.")
        return 1
    return judge(mutants, options.jobs)


def read(folder: Path) -> list[Mutant]:
    """Every fault of every file in the folder."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []):
            test = entry.pop("test")
            found.append(Mutant(area=path.stem, tests=(test,) if isinstance(test, str) else tuple(test), **entry))
    return found


def judge(mutants: Sequence[Mutant], jobs: int) -> int:
    """Try all of them, print a line for each, and return the exit code."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        trees = [copied(Path(folder) / str(number)) for number in range(jobs)]
        free = list(trees)

        def tried(mutant: Mutant) -> str:
            tree = free.pop()  # as many trees as threads, so there is always one
            try:
                return verdict(mutant, tree)
            finally:
                free.append(tree)

        results = []
        for mutant, result in zip(mutants, pool.map(tried, mutants), strict=True):
            print(f"{result:<14} {mutant.area:<10} {mutant.name}", flush=True)
            results.append(result)
    bad = sum(not result.startswith(KILLED) for result in results)
    print(f"{len(results) - bad} of {len(results)} killed in {time.perf_counter() - started:.0f} s")
    return 1 if bad else 0


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
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    finally:
        path.write_bytes(original)
    # 1: a test failed; 2: the test file could not even be read, which a fault may well do. 4 and 5: no such test.
    if code in (1, 2):
        return KILLED
    return SURVIVED if code == 0 else f"{BROKEN} {code} {output[-200:]}"


def pytest(tree: Path, tests: Sequence[str], timeout: float) -> tuple[int, str]:
    """Run tests against the package of this tree, whatever is installed."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", *tests]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.returncode, done.stdout + done.stderr


def copied(tree: Path) -> Path:
    shutil.copytree(ROOT, tree, ignore=LEFT_BEHIND)
    return tree


if __name__ == "__main__":
    sys.exit(main())
