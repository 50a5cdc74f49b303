"""How much memory a large source takes. Makes a file, opens it, reads it in random order and from end to end.

    python tests/data/memory_probe.py --megabytes 4096 --form jsonl

Prints JSON: file_mb, rows, opened_s, reopened_s, rows_per_s and grown_mb, by how much the peak of resident memory rose
above what it was with everything imported. tests/data/test_memory.py runs it small; run it large by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

LINE = {
    "txt": "明月松间照，清泉石上流。 The quick brown fox jumps over the lazy dog. ",
    "jsonl": '{"text": "明月松间照，清泉石上流。", "label": "good", "note": "The quick brown fox jumps over the dog"}',
    "csv": 'good,"明月松间照，""清泉""石上流。",The quick brown fox jumps over the lazy dog',
}


def peak() -> float:
    """Largest resident memory so far, in MB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def make(path: Path, form: str, megabytes: int) -> None:
    line = (LINE[form] + "\n").encode()
    block = line * 4096
    with open(path, "wb") as file:
        if form == "csv":
            file.write(b"label,text,note\n")
        for _ in range(max(megabytes * 1_000_000 // len(block), 1)):
            file.write(block)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--form", choices=sorted(LINE), default="txt")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REGARD_CACHE"] = str(Path(folder, "cache"))
        path = Path(folder, f"large.{given.form}")
        make(path, given.form, given.megabytes)
        from regard.data import order, sources

        order.permutation(0, 0, 10)
        before, start = peak(), time.perf_counter()
        rows = sources.open(path)
        opened = time.perf_counter() - start
        start = time.perf_counter()
        rows = sources.open(path)
        reopened = time.perf_counter() - start
        start = time.perf_counter()
        picks = (order.uniform(0, 0, 0, 20_000, stream=order.EXAMPLES) * len(rows)).astype(int)
        characters = sum(len(rows[int(number)]["text"]) for number in picks)
        rate = len(picks) / (time.perf_counter() - start)
        for number in range(0, len(rows), max(len(rows) // 20_000, 1)):
            characters += len(rows[number]["text"])
        found = {
            "file_mb": path.stat().st_size / 1e6,
            "rows": len(rows),
            "opened_s": round(opened, 2),
            "reopened_s": round(reopened, 2),
            "rows_per_s": round(rate),
            "grown_mb": round(peak() - before, 1),
        }
        print(json.dumps(found))


if __name__ == "__main__":
    main()
