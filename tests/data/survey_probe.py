"""How fast `regard data check` goes through many rows, and in how much memory.

Makes rows, half of them English and half Chinese, of which one in fifty stands twice and one in fifty nearly; surveys
them; prints JSON: rows, rows_per_s (by the clock), rows_per_cpu_s (by this process's time), grown_mb (how much the peak
of resident memory rose), and what was planted and found.

    python tests/data/survey_probe.py --rows 200000
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from memory_probe import peak

WORDS, CHARACTERS = 20_000, 3_000
EVERY = 50


def lines(rows: int):
    """The JSON lines, and on each whether it was planted: "", "twice" or "near"."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(WORDS)]
    pieces: list[str] = []
    for number in range(rows):
        chinese = number % 2
        if number % EVERY not in (3, 5):
            pool, size = (CHARACTERS, rng.integers(20, 80)) if chinese else (WORDS, rng.integers(8, 24))
            drawn = (rng.random(size) ** 2 * pool).astype(int).tolist()  # some words are common and most are rare
            pieces = [chr(0x4E00 + at) for at in drawn] if chinese else [words[at] for at in drawn]
            if number % EVERY in (2, 4):
                held = list(pieces)
        elif number % EVERY == 3:
            pieces = held
        else:
            pieces = [*held, held[0]]
        joined = ("" if ord(pieces[0][0]) > 0x4DFF else " ").join(pieces)
        yield json.dumps({"text": joined}, ensure_ascii=False) + "\n", {3: "twice", 5: "near"}.get(number % EVERY, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REGARD_CACHE"] = folder
        path = Path(folder, "rows.jsonl")
        planted = {"twice": 0, "near": 0}
        with open(path, "w", encoding="utf-8") as file:
            for line, kind in lines(asked.rows):
                file.write(line)
                if kind:
                    planted[kind] += 1
        from regard.data import sources
        from regard.data.survey import survey

        source = sources.open(path)
        survey(source[:50])
        before, start, used = peak(), time.perf_counter(), time.process_time()
        found = survey(source)
        seconds, used = time.perf_counter() - start, time.process_time() - used
    answer = {
        "rows": asked.rows,
        "seconds": round(seconds, 1),
        "rows_per_s": round(asked.rows / seconds),
        "rows_per_cpu_s": round(asked.rows / used),
        "grown_mb": round(peak() - before, 1),
        "planted": planted["near"],
        "near": found.near.count,
        "planted_twice": planted["twice"],
        "duplicates": found.dropped["duplicate"].count,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
