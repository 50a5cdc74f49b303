"""The demo as somebody runs it: the command, in two minutes where the machine is free."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_demo_from_the_command_line(tmp_path):
    folder = tmp_path / "demo-run"
    line = [sys.executable, "-m", "regard", "demo", "--quick", "--json", "--lang", "zh", "--out", str(folder)]
    done = subprocess.run(line, check=False, capture_output=True, text=True, encoding="utf-8", timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (folder / "report.html").stat().st_size > 100_000 and len(found["next"]) == 3
    assert found["reviews"]["encoder"] and found["reviews"]["reviews"]["steps"] >= 1
    model = found["poems"]["model"]["result"]["scores"]["bits_per_character"]
    assert model["low"] < model["value"] < model["high"]
    assert "更新" in done.stderr and "5/5" in done.stderr
