from __future__ import annotations

import copy
import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from regard.data import sources
from regard.data.sources import Subset


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(source) -> list[str]:
    return [row["text"] for row in source]


def test_a_text_file_is_a_text_a_line(tmp_path):
    path = put(tmp_path / "a.txt", "﻿第一\r\n\r\nsecond \n   \n\tthird")
    rows = sources.open(path)
    assert texts(rows) == ["第一", "second ", "\tthird"]
    assert [row["where"] for row in rows] == [f"{path}:1", f"{path}:3", f"{path}:5"]
    assert len(rows) == 3 and rows[-1] == rows[2] and rows.columns == ("text",)
    with pytest.raises(IndexError):
        rows[3]


def test_paragraphs_and_whole_files(tmp_path):
    path = put(tmp_path / "a.txt", "\n\none\r\ntwo\n \nthree\n\n\nfour\n")
    assert texts(sources.open(path, unit="paragraph")) == ["one\ntwo", "three", "four"]
    assert [row["where"][-2:] for row in sources.open(path, unit="paragraph")] == [":3", ":6", ":9"]
    assert texts(sources.open(path, unit="file")) == ["one\ntwo\n \nthree\n\n\nfour"]


def test_records_that_straddle_the_pages_of_a_pass(tmp_path, monkeypatch):
    lines = [f"{number} " + "月" * (number % 7) for number in range(101)]
    whole = "\n\n".join(lines)
    csv = "text,n\n" + "".join(f'"{line}\n""x""",{number}\n' for number, line in enumerate(lines))
    for size in (1, 2, 3, 5, 13, 97, 1 << 20):
        monkeypatch.setattr("regard.data.pages.PAGE", size)
        folder = tmp_path / str(size)
        monkeypatch.setenv("REGARD_CACHE", str(folder / "cache"))
        assert texts(sources.open(put(folder / "a.txt", whole))) == lines
        assert texts(sources.open(put(folder / "a.txt", whole), unit="paragraph")) == lines
        rows = sources.open(put(folder / "a.csv", csv))
        assert texts(rows) == [f'{line}\n"x"' for line in lines]
        assert [row["where"].rpartition(":")[2] for row in rows] == [str(2 + 2 * number) for number in range(101)]


def test_jsonl(tmp_path):
    lines = [{"text": "a\nb", "label": 3, "other": [1]}, {"text": "月", "label": True}]
    path = put(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n\n" for line in lines))
    rows = sources.open(path)
    assert rows[0] == {"text": "a\nb", "label": "3", "where": f"{path}:1"}
    assert rows[1] == {"text": "月", "label": "true", "where": f"{path}:3"}
    assert rows.record(0)["other"] == [1] and rows.columns == ("text", "label", "other")


def test_csv_with_every_kind_of_quoting(tmp_path):
    path = put(tmp_path / "a.csv", 'review,stars\r\n"a, ""b""\r\nc",5\r\n5" disk,4\r\n,3\r\n')
    rows = sources.open(path, text="review", label="stars")
    assert texts(rows) == ['a, "b"\nc', '5" disk', ""]
    assert [row["label"] for row in rows] == ["5", "4", "3"]
    assert [row["where"].rpartition(":")[2] for row in rows] == ["2", "4", "5"]


def test_tsv_with_quotes_that_quote_and_with_quotes_that_are_characters(tmp_path):
    quoted = put(tmp_path / "a.tsv", 'text\tlabel\n"say ""hi""\tnow"\t1\n')
    assert texts(sources.open(quoted)) == ['say "hi"\tnow']
    literal = put(tmp_path / "b.tsv", 'text\tlabel\n"Foo" bar\t1\n"open\t2\n')
    assert texts(sources.open(literal)) == ['"Foo" bar', '"open']


def test_a_table_without_a_line_of_names(tmp_path):
    path = put(tmp_path / "a.tsv", "p1\tcat\t猫\np2\tdog\t狗\n")
    rows = sources.open(path, source="2", target="3")
    assert [(row["source"], row["target"]) for row in rows] == [("cat", "猫"), ("dog", "狗")]
    assert rows.record(1) == {"1": "p2", "2": "dog", "3": "狗"}


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
def test_packed_files_are_read_as_if_they_were_not(tmp_path, suffix):
    import bz2
    import gzip
    import lzma

    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}[suffix]
    lines = "".join(f"第{number}行\n" for number in range(1000))
    path = put(tmp_path / f"a.txt{suffix}", pack(lines.encode()))
    plain = put(tmp_path / "a.txt", lines)
    rows = sources.open(path)
    assert texts(rows) == lines.split() and rows[6]["where"] == f"{path}:7"
    assert rows.fingerprint == sources.open(plain).fingerprint


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table(
        {
            "text": ["a", "月\n亮", "c"],
            "label": arrow.array(["x", "y", "x"]).dictionary_encode(),
            "score": [1.5, float("nan"), 2.0],
            "many": [[1], [2], []],
            "raw": [b"\x00", b"", b"\xff"],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    rows = sources.open(tmp_path / "a.parquet")
    assert rows[1] == {"text": "月\n亮", "label": "y", "where": f"{tmp_path / 'a.parquet'}:2"}
    assert rows.columns == ("text", "label", "score") and rows.record(1)["score"] is None


def test_a_dataset_saved_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    data.save_to_disk(tmp_path / "one")
    rows = sources.open(tmp_path / "one")
    assert [(row["text"], row["label"]) for row in rows] == [("a", "good"), ("b", "bad"), ("c", "-1")]
    datasets.DatasetDict({"train": data, "test": data.select([2])}).save_to_disk(tmp_path / "two")
    assert len(sources.open(f"datasets:{tmp_path / 'two'}#test")) == 1
    with pytest.raises(Exception, match="train, test"):
        sources.open(f"datasets:{tmp_path / 'two'}")


def test_a_folder_of_texts_and_a_folder_per_label(tmp_path):
    put(tmp_path / "flat" / "b.txt", "two\nlines")
    put(tmp_path / "flat" / "a.txt", "one")
    put(tmp_path / "flat" / ".hidden", b"\xff")
    rows = sources.open(tmp_path / "flat")
    assert texts(rows) == ["one", "two\nlines"] and rows[1]["where"] == str(tmp_path / "flat" / "b.txt")
    assert texts(sources.open(tmp_path / "flat", unit="line")) == ["one", "two", "lines"]
    for label in ("neg", "pos"):
        for number in range(3):
            put(tmp_path / "labelled" / label / f"{number}.txt", f"{label} {number}")
    rows = sources.open(tmp_path / "labelled")
    assert [row["label"] for row in rows] == ["neg"] * 3 + ["pos"] * 3
    assert rows[4]["text"] == "pos 1" and rows.columns == ("text", "label")


def test_a_folder_of_tables_is_one_table(tmp_path):
    put(tmp_path / "a.jsonl", '{"text": "1"}\n{"text": "2"}\n')
    put(tmp_path / "b.csv", "text,label\n3,x\n")
    rows = sources.open(tmp_path)
    assert texts(rows) == ["1", "2", "3"] and rows.columns == ("text",)
    assert rows[2]["where"] == f"{tmp_path / 'b.csv'}:2"


def test_slices_and_subsets_are_sources(tmp_path):
    rows = sources.open(put(tmp_path / "a.txt", "0\n1\n2\n3\n4\n"))
    assert texts(rows[1:4]) == ["1", "2", "3"] and texts(rows[::-1]) == ["4", "3", "2", "1", "0"]
    some = Subset(rows, [4, 0])
    assert texts(some) == ["4", "0"] and some.record(0) == {"text": "4"}
    assert len({rows.fingerprint, some.fingerprint, rows[1:4].fingerprint, rows[0:3].fingerprint}) == 4


def test_the_fingerprint_is_of_the_content_and_of_how_it_is_read(tmp_path):
    one = sources.open(put(tmp_path / "a.csv", "text,other\nx,y\n"))
    state = os.stat(tmp_path / "a.csv")
    same = sources.open(put(tmp_path / "b.csv", "text,other\nx,y\n"))
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != sources.open(tmp_path / "a.csv", text="other").fingerprint
    put(tmp_path / "a.csv", "text,other\nz,y\n")
    os.utime(tmp_path / "a.csv", ns=(state.st_atime_ns, state.st_mtime_ns))  # the same size and time, other content
    changed = sources.open(tmp_path / "a.csv")
    assert changed.fingerprint != one.fingerprint and changed[0]["text"] == "z"


def test_columns_are_found_or_listed(tmp_path):
    path = put(tmp_path / "a.csv", "review,stars\ngood,5\n")
    with pytest.raises(Exception, match=r"review, stars.*--text"):
        sources.open(path)
    with pytest.raises(Exception, match=r"'reviews'.*review, stars.*--text"):
        sources.open(path, text="reviews")
    with pytest.raises(Exception, match=r"--label"):
        sources.open(path, text="review", label="grade")


def test_a_file_that_changes_under_us_is_noticed(tmp_path):
    path = put(tmp_path / "a.txt", "one\ntwo\nthree\n")
    rows = sources.open(path)
    assert rows[0]["text"] == "one"
    put(path, "uno\ndos\n")
    with pytest.raises(Exception, match="has changed"):
        rows[1]


def test_a_damaged_cache_is_made_again(tmp_path, own_cache):
    import gzip

    path = put(tmp_path / "a.txt.gz", gzip.compress(b"one\ntwo\nthree\n"))
    sources.open(path)
    kept = sorted((own_cache / "data").iterdir())
    assert len(kept) == 3 and not [file for file in kept if file.suffix == ".part"]
    for file in kept:
        content = file.read_bytes()
        for damaged in (content[:-1], b"", content[:5] + bytes([content[5] ^ 1]) + content[6:]):
            file.write_bytes(damaged)
            assert texts(sources.open(path)) == ["one", "two", "three"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("REGARD_CACHE", str(put(tmp_path / "file", "x")))
    with pytest.raises(Exception, match="REGARD_CACHE"):
        sources.open(put(tmp_path / "a.txt", "x"))


def test_a_source_can_be_copied_and_read_from_threads(tmp_path):
    lines = [f"line {number}" for number in range(997)]
    rows = sources.open(put(tmp_path / "a.txt", "\n".join(lines)))
    assert texts(copy.deepcopy(rows)) == lines
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(texts(rows) == lines)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4


def _read_all(rows, lines, answers, together):
    try:
        together.wait(timeout=60)  # a shared place in the file shows only when two read at once
        numbers = [number for _ in range(20) for number in range(len(lines))]
        answers.put(all(rows[number]["text"] == lines[number] for number in numbers))
    except Exception:
        answers.put(False)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_source_can_be_read_from_processes(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no fork")
    lines = [f"line {number}" for number in range(997)]
    rows = sources.open(put(tmp_path / "a.txt", "\n".join(lines)))
    assert rows[5]["text"] == "line 5"  # opens the file in the parent
    context = multiprocessing.get_context(method)
    answers, together = context.Queue(), context.Barrier(2)
    children = [context.Process(target=_read_all, args=(rows, lines, answers, together)) for _ in range(2)]
    for child in children:
        child.start()
    found = [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert found == [True, True]
