"""Fuzz a reader with atheris: `python fuzz/run.py safetensors --seconds 60`, or all of them, one after another."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORPUS, FINDS = ROOT / "tests" / "fuzz", ROOT / "fuzz" / "finds"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="all of them, unless some are named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    given = parser.parse_args()
    names = given.targets or sorted(path.name for path in CORPUS.iterdir() if path.is_dir())
    return max(fuzzed(name, given.seconds) for name in names)


def fuzzed(name: str, seconds: int) -> int:
    """Fuzz one target in a process of its own (the fuzzer ends it) and print what came of it."""
    FINDS.mkdir(exist_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as grown:
        options = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=10", "-rss_limit_mb=3000"]
        command = [sys.executable, __file__, "--child", name, grown, str(CORPUS / name), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "fuzz"), "OMP_NUM_THREADS": "1"}
        command += [f"-artifact_prefix={FINDS}/{name}-"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        runs = re.findall(r"#(\d+)\s", done.stderr)
        kept = sum(1 for _ in Path(grown).iterdir())
    spent = time.perf_counter() - start
    print(f"{name}: {runs[-1] if runs else 0} inputs in {spent:.0f} s, {kept} that reach something new, "
          f"{'no find' if done.returncode == 0 else 'FOUND SOMETHING'}", flush=True)  # fmt: skip
    if done.returncode:
        print(done.stderr[-6000:])
    return 1 if done.returncode else 0


def child(name: str, options: list[str]) -> None:
    """The process that fuzzes: our code is instrumented as it is imported, other people's is not."""
    import atheris
    import torch  # noqa: F401, before the instrumentation: it takes an hour otherwise

    with atheris.instrument_imports(include=["regard"]):
        import targets

    atheris.Setup([sys.argv[0], *options], lambda data: (targets.refused(name, data), None)[1])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
