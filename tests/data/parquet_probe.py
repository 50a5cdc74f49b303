"""Opens many damaged Parquet files, each with a few bytes that say something enormous, and prints as JSON how many were
refused, how many were read, and by how many MB the peak of resident memory rose. tests/data/test_parquet.py runs it.

    python tests/data/parquet_probe.py FOLDER
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pyarrow
from memory_probe import peak
from pyarrow import parquet

from regard.data import sources
from regard.errors import BadFileError

HUGE = (
    b"\xfe\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x02",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
)


def files() -> list[bytes]:
    """Small files in the packings that there are, with and without a dictionary."""
    table = pyarrow.table({"text": [f"some text {number % 7}" for number in range(40)], "label": list(range(40))})
    found = []
    for packing, dictionary in (("NONE", False), ("SNAPPY", True), ("ZSTD", False), ("GZIP", True)):
        out = io.BytesIO()
        parquet.write_table(table, out, compression=packing, use_dictionary=dictionary, store_schema=False)
        found.append(out.getvalue())
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    os.environ["REGARD_CACHE"] = str(folder / "cache")
    path = folder / "a.parquet"
    good = files()
    for content in good:
        path.write_bytes(content)
        assert len(sources.open(path)) == 40
    before, refused, read = peak(), 0, 0
    for content in good:
        for lie in HUGE:
            for at in range(4, len(content) - len(lie) - 8, 3):
                path.write_bytes(content[:at] + lie + content[at + len(lie) :])
                try:
                    sources.open(path)
                    read += 1
                except BadFileError:
                    refused += 1
    print(json.dumps({"refused": refused, "read": read, "grown_mb": round(peak() - before, 1)}))


if __name__ == "__main__":
    main()
