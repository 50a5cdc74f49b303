from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from regard.data import catalog, samples, sources
from regard.errors import RegardError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sample", catalog.SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_is_what_the_catalogue_says(sample):
    rows = samples.open(sample.name)
    assert len(rows) == sample.rows and rows.columns == sample.columns
    assert rows.fingerprint == sources.open(f"sample:{sample.name}").fingerprint
    assert rows[0]["where"] == f"sample:{sample.name}:1"
    assert set(rows[len(rows) - 1]) - {"where"} <= {"text", "label", "source", "target"}


def test_all_samples_together_are_small_and_attributed():
    assert sum(file.stat().st_size for file in catalog.FOLDER.iterdir()) < 9.9e6
    attribution = (ROOT / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for sample in catalog.SAMPLES:
        assert f"| `{sample.name}` | {sample.rows:,} " in attribution and sample.licence in attribution
    assert {file.name for file in catalog.FOLDER.iterdir()} == {
        "MPL-2.0.txt",
        *(sample.path.name for sample in catalog.SAMPLES),
    }


def test_a_sample_that_was_changed_is_refused(tmp_path, monkeypatch):
    import lzma

    monkeypatch.setattr(catalog, "FOLDER", tmp_path)
    for name in samples.names():
        (tmp_path / f"{name}.jsonl.xz").write_bytes(lzma.compress(b'{"text": "not what was packed"}\n'))
    with pytest.raises(RegardError, match="Install regard again"):
        samples.open("film-reviews")


def test_samples_can_be_joined():
    rows = sources.open("sample:addresses+tang-poems")
    assert len(rows) == 233 + 51_115 and rows.columns == ("text",)
    assert rows[232]["where"] == "sample:addresses:233" and rows[233]["where"] == "sample:tang-poems:1"
    with pytest.raises(RegardError, match="tang-poems"):
        sources.open("sample:addresses+poems")


def test_the_poems_are_whole():
    rows = samples.open("tang-poems")
    assert rows[0]["text"].startswith("秦川雄帝宅，函谷壮皇居。")
    content = hashlib.sha256("".join(row["text"] for row in rows).encode()).hexdigest()
    assert content == "42983dc8a8e879a5362afa959e81d82a15fcc6c39e72890aa101c97369fdf12d"


def test_the_labels_follow_the_ratings():
    rows = samples.open("film-reviews")
    records = [rows.record(number) for number in range(len(rows))]
    assert all((record["rating"] > 0.5) == (record["label"] == "positive") for record in records)
    assert all(abs(record["rating"]) > 0.5 for record in records)
    assert sum(record["label"] == "positive" for record in records) == 4982
    assert not any("\u00c3" in record["text"] or "&amp;" in record["text"] for record in records)
