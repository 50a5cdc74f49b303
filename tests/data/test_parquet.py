"""Parquet files that lie about their sizes or bring types of their own."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from regard.data import sources
from regard.errors import RegardError

PROBE = Path(__file__).parent / "parquet_probe.py"


def test_sizes_that_lie_are_refused_without_memory(tmp_path):
    done = subprocess.run([sys.executable, str(PROBE), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["refused"] > 1000 and found["grown_mb"] < 64


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_type_of_ones_own_runs_no_code(tmp_path):
    """CVE-2023-47248: the type's pickled self stands in the schema's metadata."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Canary(tmp_path / "canary")),
    }
    fields = [arrow.field("text", arrow.string(), metadata=metadata), arrow.field("other", arrow.string())]
    parquet.write_table(arrow.table([["a"], ["b"]], schema=arrow.schema(fields)), tmp_path / "a.parquet")
    rows = sources.open(tmp_path / "a.parquet", text="other")
    assert rows[0]["text"] == "b" and not (tmp_path / "canary").exists()


def test_a_pyarrow_that_runs_code_is_refused(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table({"text": ["a"]}), tmp_path / "a.parquet")
    for version, good in (("14.0.0", False), ("13.0.0", False), ("14.0.1", True), ("21.0.0", True)):
        monkeypatch.setattr(arrow, "__version__", version)
        if good:
            assert len(sources.open(tmp_path / "a.parquet")) == 1
            continue
        with pytest.raises(RegardError, match=r"Install 14\.0\.1 or newer"):
            sources.open(tmp_path / "a.parquet")
