"""Data larger than memory: what a process takes does not depend on the size of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).parent / "memory_probe.py"


@pytest.mark.parametrize(("form", "megabytes"), [("txt", 300), ("jsonl", 20), ("csv", 20)])
def test_a_large_file_is_read_in_constant_memory(form, megabytes):
    done = subprocess.run(
        [sys.executable, str(PROBE), "--form", form, "--megabytes", str(megabytes)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["file_mb"] > 0.9 * megabytes
    # The index of the text file alone is 58 MB, the file five times that; neither may be held.
    assert found["grown_mb"] < 32
