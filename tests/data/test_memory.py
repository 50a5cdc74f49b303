"""Data larger than memory: what a process takes does not depend on the size of the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).parent / "memory_probe.py"


SURVEY = Path(__file__).parent / "survey_probe.py"
SOAK = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
LARGE = [("txt", 8192), ("jsonl", 4096), ("csv", 2048)] if SOAK else [("txt", 300), ("jsonl", 20), ("csv", 20)]


def told(probe: Path, *options: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, str(probe), *options], capture_output=True, text=True, check=True)
    print(done.stdout)
    return json.loads(done.stdout)


@pytest.mark.timeout(7200 if SOAK else 300)
@pytest.mark.parametrize(("form", "megabytes"), LARGE)
def test_a_large_file_is_read_in_constant_memory(form, megabytes):
    found = told(PROBE, "--form", form, "--megabytes", str(megabytes))
    assert found["file_mb"] > 0.9 * megabytes
    # The index of the text file alone is 58 MB, the file five times that; neither may be held.
    assert found["grown_mb"] < 32


@pytest.mark.timeout(7200 if SOAK else 300)
def test_a_survey_takes_so_many_bytes_a_row(tmp_path):
    few, many = (50_000, 1_000_000) if SOAK else (2_000, 12_000)
    small, large = (told(SURVEY, "--rows", str(rows)) for rows in (few, many))
    # 64 bytes for the sketch, 32 for the two keys of a text, 24 to sort by; the rest is Python's for what was found.
    assert (large["grown_mb"] - small["grown_mb"]) * 1e6 / (many - few) < 600
    assert large["near"] >= 0.99 * large["planted"] and large["duplicates"] == large["planted_twice"]
