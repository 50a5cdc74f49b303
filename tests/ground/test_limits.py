"""Bounded readers and whole writes: whatever the bytes, a BadFileError or the content."""

from __future__ import annotations

import json
import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard import limits
from regard.errors import BadFileError, RegardError
from regard.limits import MIB, decode, inside, open_text, parse_json, read_bytes, read_json, read_text, read_toml, write
from regard.words import speaking


def refused(call, *arguments, **settings) -> str:
    with pytest.raises(BadFileError) as caught, speaking("en"):
        call(*arguments, **settings)
    with speaking("en"):
        return str(caught.value)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"{", "x.json, column 2"),
        (b'{"a": 1,\n "a": 2}', "twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "1e999"),
        (b"[" + b"9" * 65 + b"]", "too many digits"),
        (b"[" * 66 + b"]" * 66, "64 levels"),
        (b"[" * 100_000, "levels"),
        (b'{"a":' * 66 + b"1" + b"}" * 66, "64 levels"),
        (b'["\\ud800"]', "half a character"),
        (b'{"\\udfff": 1}', "half a character"),
        (b'["\xff"]', "not UTF-8"),
        (b'["\x00"]', "NUL"),
        ("[1]".encode("utf-16"), "UTF-16"),
        (b"", "column 1"),
        (b"[1] 2", "Extra data"),
    ],
)
def test_json_is_refused_naming_the_place(data, named):
    message = refused(parse_json, data, "x.json")
    assert message.startswith("x.json") and named in message


def test_json_names_the_line_of_a_document_of_several():
    assert refused(parse_json, b'{\n"a": 1,\n"b": }\n', "x.json").startswith("x.json:3, column 6")


def test_json_takes_what_is_good():
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, "\\ud83d\\ude00", null, true]}', "x") == {
        "a": [1, 2.5, "😀", None, True]
    }
    assert parse_json(b"[" * 64 + b"]" * 64, "x") is not None
    assert parse_json(b"1000000000000000019884624838656", "x") == 1000000000000000019884624838656


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,0123456789eE.-+\\untrfalsd \n', max_size=80).map(str.encode))
def test_json_raises_nothing_else(data):
    try:
        parsed = parse_json(data, "x")
    except RegardError as error:
        assert str(error)
    else:
        assert json.loads(data.removeprefix(b"\xef\xbb\xbf")) == parsed


@given(st.text(alphabet="[]{}=\".'#abc0123456789-:TZ+_inf \n\r\t\\u", max_size=80) | st.text(max_size=40))
def test_toml_raises_nothing_else(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        parsed = read_toml(path)
    except RegardError as error:
        assert str(error)
    else:
        assert tomllib.loads(text.removeprefix("\ufeff").replace("\r\n", "\n")) == parsed


def test_toml_is_refused_naming_the_place(tmp_path):
    path = tmp_path / "r.toml"
    for text, named in [
        ("a = \n", "line 1"),
        ("a = inf", "inf"),
        ("a = " + "[" * 5000, "TOML"),
        ("a = 1\na = 2\n", "line 2"),
    ]:
        path.write_text(text)
        assert named in refused(read_toml, path)


def test_sizes_are_bounded(tmp_path):
    path = tmp_path / "large.json"
    path.write_bytes(b" " * (MIB + 1))
    assert "1 MiB" in refused(read_json, path, most=MIB)
    assert read_bytes(path, most=MIB + 1) == b" " * (MIB + 1)


def test_missing_files_and_folders_are_named(tmp_path):
    assert "does not exist" in refused(read_json, tmp_path / "none.json")
    assert "is a folder" in refused(read_text, tmp_path)
    assert "does not exist" in refused(lambda path: list(open_text(path)), tmp_path / "none.txt")
    assert refused(read_bytes, "a\0b", most=1)
    assert refused(read_bytes, "a" * 5000, most=1)


def test_text_is_read_line_by_line_with_numbers(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeff明\r\nb\n\n last".encode())
    assert list(open_text(path)) == [(1, "明"), (2, "b"), (3, ""), (4, " last")]
    assert read_text(path) == "明\nb\n\n last"


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ("今天天气很好".encode("gb18030"), "GB18030"),
        ("café".encode("latin-1"), "Windows-1252"),
        (b"a\0b", "NUL"),
        (b"x" * 2000, "longer than 1000 B"),
    ],
)
def test_text_faults_are_named_by_line(tmp_path, second, named):
    path = tmp_path / "t.txt"
    path.write_bytes(b"fine\n" + second + b"\n")
    message = refused(lambda: list(open_text(path, longest=1000)))
    assert message.startswith(f"{path}:2:") and named in message
    if len(second) < 1000:
        assert refused(read_text, path).startswith(f"{path}:2:")


def test_utf16_is_recognised(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("今天\n".encode("utf-16"))
    assert "UTF-16" in refused(lambda: list(open_text(path)))


def test_an_endless_line_is_not_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "line.txt"
    path.write_bytes(b"x" * 5000)
    asked = []
    real = open

    def spying(*arguments, **settings):
        file = real(*arguments, **settings)
        line = file.readline

        class Spy:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def readline(self, most):
                asked.append(most)
                return line(most)

        return Spy()

    monkeypatch.setattr(limits, "open", spying, raising=False)
    assert "longer than 100 B" in refused(lambda: list(open_text(path, longest=100)))
    assert asked == [101]


@given(st.binary(max_size=60))
def test_decode_raises_nothing_else(raw):
    try:
        assert decode(raw, "x").encode() == raw.removeprefix(b"\xef\xbb\xbf")
    except BadFileError as error:
        assert str(error)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "C:\\x",
        "C:x",
        "\\\\host\\share",
        "..\\x",
        "a\\..\\..\\x",
        "a\0b",
        "",
        " ",
        ".",
    ],
)
def test_a_name_that_leads_outside_is_refused(tmp_path, name):
    assert "leads out" in refused(inside, tmp_path, name)


def test_a_link_that_leads_outside_is_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    try:
        (root / "link").symlink_to(tmp_path / "secret")
        (root / "loop").symlink_to(root / "loop")
        (root / "fine").symlink_to(root / "a.txt")
    except OSError:
        pytest.skip("this system makes no links")
    assert "leads out" in refused(inside, root, "link")
    assert inside(root, "fine") == root / "fine"
    assert inside(root, "a/b.txt") == root / "a" / "b.txt"


@given(st.text(max_size=30))
def test_inside_is_inside_or_refused(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    try:
        found = inside(root, name)
    except BadFileError:
        return
    assert os.path.commonpath([os.path.realpath(found), os.path.realpath(root)]) == os.path.realpath(root)


def test_a_write_is_whole_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.txt"
    write(path, "明")
    assert path.read_bytes() == "明".encode()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(limits.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"new")
    assert path.read_bytes() == "明".encode()
    assert os.listdir(path.parent) == ["file.txt"]
