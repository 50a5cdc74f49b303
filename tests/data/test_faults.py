"""Files with lines that cannot be read: all are listed by file:line, and the other rows keep their places."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data import sources
from regard.data.faults import EXAMPLES, Faults
from regard.errors import BadFileError
from regard.limits import LONGEST_LINE


def read(path, **asked) -> tuple[dict[int, str], Faults]:
    """({line: text} of what can be read, the faults)."""
    faults = Faults()
    rows = sources.open(path, passed=faults, **asked)
    assert all(row["where"].rpartition(":")[0] == str(path) for row in rows)
    return {int(row["where"].rpartition(":")[2]): row["text"] for row in rows}, faults


def places(faults: Faults) -> list[str]:
    return [why.split(":")[1].split(",")[0].split(" ")[0] for why, _ in faults.examples]


def test_encodings_mixed_in_one_file_are_told_apart(tmp_path):
    path = tmp_path / "a.txt"
    lines = [
        "明月".encode(),
        "明月几时有".encode("gb18030"),
        b"plain",
        "caf\xe9 noir".encode("latin-1"),
        b"a\0b",
        "青天".encode(),
    ]
    path.write_bytes(b"\r\n".join(lines))
    rows, faults = read(path)
    assert rows == {1: "明月", 3: "plain", 6: "青天"} and faults.count == 3 and places(faults) == ["2", "4", "5"]
    assert faults.encodings == {"GB18030": 1, "Windows-1252": 1}
    assert [piece for _, piece in faults.examples] == ["明月几时有", "café noir", "a\\x00b"]


def test_rows_of_json_that_are_none_are_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [
        '\ufeff{"body": "one", "n": 1}', '{"body": "two"', "[1]", "", '{"body": 3}', '{"n": 4}',
        '{"body": "five", "n": 1e999}',
        '{"body": "six"}', '{"body": "seven", "body": "7"}', '{"body": "eight"}', "{" * 5000, '{"body": "\\ud800"}',
    ]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")
    rows, faults = read(path, text="body")
    assert rows == {1: "one", 8: "six", 10: "eight"} and places(faults) == ["2", "3", "5", "6", "7", "9", "11", "12"]


def test_records_of_a_table_that_are_none_are_passed_over(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'text,label\n"two\nlines",1\nshort\n"a" b,2\nb,\xff\nok,3\nlong,4,5\n\n'
        b'"over\nthree\nlines",5,6\nok,7\n"open,8\nrest,9\n'
    )
    rows, faults = read(path)
    assert rows == {2: "two\nlines", 7: "ok", 13: "ok", 15: "rest"}
    assert sorted(map(int, places(faults))) == [4, 5, 6, 8, 10, 14]
    assert faults.count == 8, "a record of three lines counts three"


def test_quotes_in_plain_tsv_are_no_fault(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b'text\tlabel\nsay "x" y\t1\n"open\t2\nbad\n"a" b\t3\n')
    rows, faults = read(path)
    assert rows == {2: 'say "x" y', 3: '"open', 5: '"a" b'} and places(faults) == ["4"]


def test_a_line_too_long_is_passed_over_without_being_held(tmp_path):
    path = tmp_path / "a.txt"
    with open(path, "wb") as file:
        file.write(b"one\n")
        for _ in range(LONGEST_LINE // (1 << 20) + 2):
            file.write(b"x" * (1 << 20))
        file.seek(1 << 28)
        file.write(b"end\nlast\n")
    tracemalloc.start()
    try:
        rows, faults = read(path)
        assert tracemalloc.get_traced_memory()[1] < 6 * LONGEST_LINE
    finally:
        tracemalloc.stop()
    assert rows == {1: "one", 3: "last"} and places(faults) == ["2"]


def test_what_cannot_be_passed_over_is_refused_as_ever(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n\ntwo\xff\n")
    for unit in ("paragraph", "file"):
        with pytest.raises(BadFileError, match=r"a\.txt:3"):
            read(tmp_path / "a.txt", unit=unit)
    (tmp_path / "b.txt").write_bytes("全都不是".encode("utf-16"))
    with pytest.raises(BadFileError, match="UTF-16"):
        read(tmp_path / "b.txt")
    (tmp_path / "c.csv").write_bytes(b"text,text\na,b\n")
    with pytest.raises(BadFileError, match="column 2"):
        read(tmp_path / "c.csv")


def test_many_faults_are_counted_and_the_first_kept(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + "x\n" * (EXAMPLES + 5), encoding="utf-8")
    _, faults = read(tmp_path / "a.jsonl")
    assert (faults.count, len(faults.examples), faults.more) == (EXAMPLES + 5, EXAMPLES, 5)


pieces = st.lists(st.sampled_from([b'"', b",", b"\n", b"a", b"\r\n", b"\xff", b"\0", "月".encode(), b" "]), max_size=40)


@given(pieces.map(b"".join))
def test_what_is_left_of_any_table_can_be_read_and_keeps_its_places(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\nfirst,1\n" + content)
    rows, _ = read(path)
    raw = path.read_bytes().split(b"\n")
    for line, text in rows.items():
        assert text.split("\n")[0].strip('"').replace('"', "").encode() in raw[line - 1].replace(b'"', b"")


@given(pieces.map(b"".join))
def test_a_file_without_faults_is_read_the_same_either_way(tmp_path, content):
    path = tmp_path / "a.jsonl"
    sound = json.dumps({"text": content.decode("utf-8", "replace").replace("\0", "")})
    path.write_text(sound + "\n", encoding="utf-8")
    faults = Faults()
    assert list(sources.open(path, passed=faults)) == list(sources.open(path)) and faults.count == 0
