"""Every bad input is refused by one sentence that names the place."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from regard.data import sources
from regard.errors import BadFileError, RegardError
from regard.limits import LONGEST_LINE


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


BAD = {
    "empty file": ("a.txt", b"", "a.txt holds no text"),
    "blanks only": ("a.txt", b" \n\r\n\t\n", "a.txt holds no text"),
    "only a line of names": ("a.csv", b"text,label\n", "a.csv holds no text"),
    "GB18030": ("a.txt", "好\n明月几时有".encode("gb18030"), r"a.txt:1 \(byte 0: 0xBA\): .*GB18030"),
    "Latin-1": ("a.txt", "fine\ncaf\xe9 noir\n".encode("latin-1"), r"a.txt:2 \(byte 8: 0xE9\): .*Windows-1252"),
    "UTF-16": ("a.txt", "月\n".encode("utf-16"), r"a.txt:1 \(byte 0: 0xFF\).*UTF-16"),
    "UTF-8 cut short": ("a.txt", "a\n月".encode()[:-1], r"a.txt:2 \(byte 2: 0xE6\)"),
    "NUL": ("a.txt", b"one\ntwo\0\n", r"a.txt:2 \(byte 7: 0x00\).*NUL"),
    "bad encoding in a table": ("a.csv", b"text\nok\nb\xffd\n", r"a.csv:3 \(byte 9: 0xFF\)"),
    "bad JSON": ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', "a.jsonl:2, column"),
    "JSON that is no object": ("a.jsonl", b'{"text": "a"}\n"b"\n', "a.jsonl:2: in JSONL"),
    "a JSON array": ("a.jsonl", b'[\n{"text": "a"}]\n', "a.jsonl:1: this is one JSON array"),
    "a key twice": ("a.jsonl", b'{"text": "a", "text": "b"}\n', "a.jsonl:1"),
    "deep JSON": ("a.jsonl", b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "a.jsonl:1"),
    "half a character": ("a.jsonl", b'{"text": "\\ud800"}\n', "a.jsonl:1"),
    "no text in a row": ("a.jsonl", b'{"text": "a"}\n{"text": 3}\n', "a.jsonl:2: the column 'text'.*whole number"),
    "a row without the column": ("a.jsonl", b'{"text": "a"}\n\n{"texts": "b"}\n', "a.jsonl:3: the column 'text'"),
    "null for a label": ("a.jsonl", b'{"text": "a", "label": null}\n', "a.jsonl:1: the column 'label'.*null"),
    "ragged": ("a.csv", b'text,label\n"a\nb",1\nc\n', "a.csv:4: 1 fields, where the first line has 2"),
    "open quote": ("a.csv", b'text,label\na,1\n"b,2\nc,3\n', "a.csv:3: a field opens"),
    "text after a quote": ("a.csv", b'text,label\n"a" b,1\n', 'a.csv:2: a closing quote.*" b,1'),
    "a name twice": ("a.csv", b"text,text\na,b\n", "a.csv:1: column 2.*'text'"),
    "a column without a name": ("a.csv", b"text,\na,b\n", "a.csv:1: column 2.*''"),
    "damaged gzip": ("a.txt.gz", gzip.compress(b"a\n" * 999)[:-9], "a.txt.gz cannot be unpacked"),
    "no gzip": ("a.txt.gz", b"plain text", "a.txt.gz cannot be unpacked"),
    "damaged xz": ("a.txt.xz", lzma.compress(b"a\n" * 999)[:40] + b"x" * 40, "a.txt.xz cannot be unpacked"),
    "damaged bz2": ("a.txt.bz2", b"BZh9" + bz2.compress(b"a\n" * 9)[5:], "a.txt.bz2 cannot be unpacked"),
    "packed parquet": ("a.parquet.gz", gzip.compress(b"x"), "unpack this file first"),
    "no parquet": ("a.parquet", b"PAR1 not really PAR1", "a.parquet cannot be read as Parquet"),
    "empty parquet": ("a.parquet", b"", "a.parquet cannot be read as Parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content(tmp_path, case, own_cache):
    name, content, wanted = BAD[case]
    with pytest.raises(RegardError, match=wanted):
        sources.open(put(tmp_path / name, content))
    assert not list(own_cache.rglob("*.part"))


def test_places_that_hold_no_data(tmp_path):
    with pytest.raises(BadFileError, match="sample:NAME"):
        sources.open(tmp_path / "nothing")
    with pytest.raises(BadFileError, match=r"bad\\x00name does not exist"):
        sources.open("bad\0name")
    with pytest.raises(BadFileError, match="cannot be read"):
        sources.open("x" * 5000)
    with pytest.raises(BadFileError, match="holds no files"):
        sources.open(tmp_path)
    put(tmp_path / "mixed" / "a.txt", "x")
    put(tmp_path / "mixed" / "b.csv", "text\nx\n")
    with pytest.raises(BadFileError, match=r"b\.csv"):
        sources.open(tmp_path / "mixed")
    put(tmp_path / "both" / "a.txt", "x")
    put(tmp_path / "both" / "label" / "b.txt", "x")
    with pytest.raises(BadFileError, match="label"):
        sources.open(tmp_path / "both")
    put(tmp_path / "blank" / "a.txt", "x")
    put(tmp_path / "blank" / "b.txt", " \n")
    with pytest.raises(BadFileError, match=r"b\.txt holds no text"):
        sources.open(tmp_path / "blank")
    with pytest.raises(RegardError, match="sample:tang-poems"):
        sources.open("sample:tang-poem")


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    # Whoever runs the tests may be allowed everything, so the refusal is the system's words, put in its mouth.
    put(tmp_path / "a.txt", "x")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BadFileError, match="Permission denied"):
        sources.open(tmp_path)


@pytest.mark.parametrize(("name", "size"), [("a.txt", 1 << 30), ("a.jsonl", 1 << 25), ("a.csv", 1 << 25)])
def test_a_line_of_a_gigabyte_is_refused_without_being_held(tmp_path, name, size):
    path = tmp_path / name
    with open(path, "wb") as file:
        file.write(b'{"text": "a"}\n\n')
        # Letters as far as a line may go, so that its length is refused and no NUL byte; then a hole, without room.
        for _ in range(LONGEST_LINE // (1 << 20) + 2):
            file.write(b"x" * (1 << 20))
        file.seek(size)
        file.write(b"end\n")
    tracemalloc.start()
    try:
        with pytest.raises(BadFileError, match=f"{name}:3: this line is longer than 16 MiB"):
            sources.open(path)
        assert tracemalloc.get_traced_memory()[1] < 6 * LONGEST_LINE
    finally:
        tracemalloc.stop()


def test_a_record_over_many_lines_has_a_limit_too(tmp_path):
    lines = b"x" * 1023 + b"\n"
    path = put(tmp_path / "a.csv", b'text,label\na,1\n"' + lines * (LONGEST_LINE // 1024 + 2))
    with pytest.raises(BadFileError, match=r"a\.csv:3: a field opens"):
        sources.open(path)
    path = put(tmp_path / "a.txt", lines * (LONGEST_LINE // 1024 + 2))
    assert len(sources.open(path)) == LONGEST_LINE // 1024 + 2
    for unit in ("paragraph", "file"):
        with pytest.raises(BadFileError, match=r"a\.txt:1: this line is longer"):
            sources.open(path, unit=unit)


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path, own_cache, monkeypatch):
    monkeypatch.setattr("regard.data.plain.MOST_MORE", 1 << 20)
    path = put(tmp_path / "a.txt.xz", lzma.compress(b"a" * 50_000_000))
    with pytest.raises(BadFileError, match="unpacks to more than"):
        sources.open(path)
    assert sum(file.stat().st_size for file in own_cache.rglob("*") if file.is_file()) == 0


def test_lines_with_ever_new_columns_are_refused(tmp_path):
    lines = [json.dumps({f"{row}-{column}": 1 for column in range(100)}) for row in range(50)]
    with pytest.raises(BadFileError, match=r"a.jsonl:41: more than 4096 columns"):
        sources.open(put(tmp_path / "a.jsonl", "\n".join(lines)))


def test_parquet_with_nothing_to_read(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table({"raw": [b"a"]}), tmp_path / "a.parquet")
    with pytest.raises(BadFileError, match="no column of text"):
        sources.open(tmp_path / "a.parquet")
    out = io.BytesIO()
    parquet.write_table(arrow.table({"text": ["some text"] * 1000}), out)
    good = out.getvalue()
    for at in range(0, len(good), max(len(good) // 40, 1)):
        bad = good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :]
        with suppress(RegardError):
            list(sources.open(put(tmp_path / "b.parquet", bad)))


pieces = st.lists(
    st.sampled_from(
        [
            b"\n",
            b"\r\n",
            b'"',
            b",",
            b"\t",
            b"{",
            b"}",
            b'{"text": "a"}',
            b"\xef\xbb\xbf",
            b"\0",
            b"[]",
            b"\xff",
            "月".encode(),
            b" ",
            b"text",
            b'"text": 1',
            b"1e999",
            b"\xc2",
            b"\x1f\x8b\x08",
        ]
    ),
    max_size=40,
).map(b"".join)


@pytest.mark.parametrize(
    "name", ["a.txt", "a.jsonl", "a.csv", "a.tsv", "a.txt.gz", "a.txt.xz", "a.txt.bz2", "a.parquet"]
)
@given(content=st.one_of(st.binary(max_size=200), pieces), unit=st.sampled_from(["line", "paragraph", "file"]))
@example(content=b"\xef\xbb\xbf", unit="line")
@example(content=b"\xef\xbb\xbf\n\n", unit="paragraph")
@example(content=b"text\r\n\r\r\n", unit="line")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_whatever_raise_anything_but_our_own_error(tmp_path, name, content, unit):
    path = put(tmp_path / name, content)
    for columns in ({}, {"text": "1"}):
        try:
            rows = sources.open(path, unit=unit, **columns)
        except RegardError as error:
            assert str(error) and "{" not in str(error).replace(content.decode("latin-1"), "")[:20]
            continue
        for row in rows:
            assert row["text"] is not None and row["where"].startswith(str(path))
            assert os.fspath(path) in row["where"]
