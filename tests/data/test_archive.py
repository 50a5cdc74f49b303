"""Data sets packed as zip and tar: read like folders, and refused when they lie."""

from __future__ import annotations

import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data import archive, sources
from regard.errors import BadFileError, RegardError

TRAIN = b"text,label\ngood,1\nbad,0\n"


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def files_below(folder: Path) -> set[str]:
    return {os.fspath(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


PACKED = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda path, members: tarred(path, members, "w:gz"),
    "tgz": lambda path, members: tarred(path, members, "w:gz"),
    "tar.xz": lambda path, members: tarred(path, members, "w:xz"),
    "tar.bz2": lambda path, members: tarred(path, members, "w:bz2"),
}


@pytest.mark.parametrize("form", PACKED)
def test_an_archive_is_read_as_its_folder_would_be(tmp_path, form):
    one = PACKED[form](tmp_path / f"one.{form}", {"set/train.csv": TRAIN, "__MACOSX/x": b"x", "set/.DS_Store": b"x"})
    rows = sources.open(one)
    assert [dict(row) for row in rows] == [
        {"text": "good", "label": "1", "where": f"{one}#set/train.csv:2"},
        {"text": "bad", "label": "0", "where": f"{one}#set/train.csv:3"},
    ]
    two = PACKED[form](
        tmp_path / f"two.{form}", {"b.jsonl": b'{"text": "second"}\n', "a.jsonl": b'{"text": "first"}\n'}
    )
    assert [row["text"] for row in sources.open(two)] == ["first", "second"]
    assert [row["text"] for row in sources.open(f"{two}#b.jsonl")] == ["second"]
    labelled = {"set/good/1.txt": "很好".encode(), "set/bad/1.txt": "很差\n两行".encode()}
    classes = PACKED[form](tmp_path / f"classes.{form}", labelled)
    assert [(row["text"], row["label"]) for row in sources.open(classes)] == [("很差\n两行", "bad"), ("很好", "good")]
    assert [row["text"] for row in sources.open(f"{classes}#set/bad/1.txt")] == ["很差", "两行"]
    with pytest.raises(BadFileError, match=r"holds no file c\.jsonl. Did you mean .*\.jsonl"):
        sources.open(f"{two}#c.jsonl")
    with pytest.raises(BadFileError, match=r"holds train\.csv beside README"):
        sources.open(PACKED[form](tmp_path / f"mixed.{form}", {"README.md": b"x", "train.csv": TRAIN}))


def test_the_same_bytes_have_the_same_fingerprint_in_any_packing(tmp_path):
    (tmp_path / "train.csv").write_bytes(TRAIN)
    plain = sources.open(tmp_path / "train.csv").fingerprint
    for form, pack in PACKED.items():
        assert sources.open(pack(tmp_path / f"x.{form}", {"train.csv": TRAIN})).fingerprint == plain


def test_names_of_chinese_systems_are_read(tmp_path):
    path = zipped(tmp_path / "a.zip", {"xxxx.csv": TRAIN})
    path.write_bytes(path.read_bytes().replace(b"xxxx.csv", "训练".encode("gb18030") + b".csv"))
    assert sources.open(f"{path}#训练.csv")[0]["where"] == f"{path}#训练.csv:2"


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


OUTSIDE = [
    "../evil.csv",
    "a/../../evil.csv",
    "/etc/evil.csv",
    "C:\\evil.csv",
    "C:evil.csv",
    "..\\evil.csv",
    "\\\\host\\x.csv",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_nothing_is_written_outside(tmp_path, own_cache, form, name):
    folder = tmp_path / "here"
    folder.mkdir()
    path = PACKED[form](folder / f"a.{form}", {"x.csv": TRAIN, name: TRAIN})
    with pytest.raises(BadFileError, match="leads out of"):
        sources.open(path)
    assert files_below(tmp_path) == {os.path.join("here", f"a.{form}")}
    assert not files_below(own_cache) and not Path("/etc/evil.csv").exists()


@pytest.mark.parametrize(
    "member",
    [
        link("x.csv", "/etc/passwd"),
        link("x.csv", "y.csv", tarfile.LNKTYPE),
        link("x.csv", "", tarfile.FIFOTYPE),
        link("x.csv", "", tarfile.CHRTYPE),
    ],
)
def test_links_and_devices_are_refused(tmp_path, member):
    with pytest.raises(BadFileError, match=r"x\.csv is a link or device"):
        sources.open(tarred(tmp_path / "a.tar", {"y.csv": TRAIN, "x.csv": member}))
    info = zipfile.ZipInfo("x.csv")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(BadFileError, match=r"x\.csv is a link or device"):
        sources.open(tmp_path / "a.zip")


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.xz"])
def test_what_unpacks_to_too_much_is_refused_before_it_fills_the_disk(tmp_path, own_cache, monkeypatch, form):
    monkeypatch.setattr("regard.data.plain.MOST_MORE", 1 << 20)
    monkeypatch.setattr("regard.data.plain.MOST_TIMES", 20)
    path = PACKED[form](tmp_path / f"a.{form}", {"a.txt": b"a" * 30_000_000})
    with pytest.raises(BadFileError, match="unpacks to more than"):
        sources.open(path)
    assert sum((own_cache / name).stat().st_size for name in files_below(own_cache)) == 0


def test_a_size_that_lies_is_noticed(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.txt": b"a" * 3_000_000})
    data = path.read_bytes()
    said = struct.pack("<I", 3_000_000)
    assert data.count(said) == 2
    for lie in (10, 3_000_001):
        path.write_bytes(data.replace(said, struct.pack("<I", lie)))
        with pytest.raises(BadFileError, match="cannot be unpacked"):
            sources.open(path)


def test_members_that_overlap_are_refused(tmp_path):
    """A zip in which many names share one body (Fifield 2019, "A better zip bomb")."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packed.compress(b"a" * 100_000) + packed.flush()
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, zlib.crc32(b"a" * 100_000), len(body), 100_000, 5, 0)
    same = struct.pack("<6H3I", 20, 20, 0, 8, 0, 0, zlib.crc32(b"a" * 100_000), len(body), 100_000)
    entry = b"PK\1\2" + same + struct.pack("<5H2I", 5, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%05d" % number for number in range(50))
    start = len(local) + 5 + len(body)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 50, 50, len(directory), start, 0)
    (tmp_path / "a.zip").write_bytes(local + b"a.txt" + body + directory + end)
    with pytest.raises(BadFileError, match="its files overlap"):
        sources.open(tmp_path / "a.zip")


@pytest.mark.parametrize("lie", [False, True])
def test_a_million_members_are_refused_in_no_time(tmp_path, lie):
    count = 1_000_000
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%07d" % number for number in range(count))
    large = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), 0)
    where = struct.pack("<4sIQI", b"PK\6\7", 0, len(directory), 1)
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, 3 if lie else 0xFFFF, 3 if lie else 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
    )
    (tmp_path / "a.zip").write_bytes(directory + large + where + end)
    del directory
    tracemalloc.start()
    try:
        with pytest.raises(BadFileError, match="more than 10,000 files"):
            sources.open(tmp_path / "a.zip")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_tar_of_too_many_members_is_left_at_the_cap(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 100)
    path = tarred(tmp_path / "a.tar.gz", {f"{number}.txt": b"x" for number in range(101)}, "w:gz")
    with pytest.raises(BadFileError, match="more than 100 files"):
        sources.open(path)


def test_a_tar_header_that_would_be_read_whole_is_refused(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 40 << 20
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"a" * (40 << 20) + bytes(10240))
    tracemalloc.start()
    try:
        with pytest.raises(BadFileError, match="cannot be unpacked"):
            sources.open(tmp_path / "a.tar")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", PACKED)
def test_a_damaged_archive_is_refused_or_read_whole(tmp_path, form):
    members = {f"{number}.txt": random.Random(number).randbytes(300).hex().encode() for number in range(4)}
    path = PACKED[form](tmp_path / f"a.{form}", members)
    good = path.read_bytes()
    wanted = sorted(content.decode() for content in members.values())
    cuts = [good[:size] for size in range(0, len(good), max(len(good) // 24, 1))]
    flips = [
        good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :] for at in range(0, len(good), max(len(good) // 24, 1))
    ]
    for number, bad in enumerate([*cuts, *flips]):
        place = tmp_path / f"{number}.{form}"
        place.write_bytes(bad)
        try:
            rows = list(sources.open(place))
        except RegardError:
            continue
        # A plain tar has no sums over its content: what is in its files can change, not how many there are.
        assert len(rows) == 4 if form == "tar" else sorted(row["text"] for row in rows) == wanted


def test_no_damaged_byte_of_a_zip_hides_a_member(tmp_path):
    """The length of one entry's comment swallows the entries after it, and zipfile is content."""
    members = {f"{number}.txt": b"text %d" % number for number in range(3)}
    good = zipped(tmp_path / "a.zip", members).read_bytes()
    for at in range(good.index(b"PK\1\2"), len(good)):
        path = tmp_path / f"{at}.zip"
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :])
        with suppress(RegardError):
            assert [row["text"] for row in sources.open(path)] == ["text 0", "text 1", "text 2"]


def test_an_encrypted_member_or_a_strange_method_is_named(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.txt": b"abc"}, zipfile.ZIP_LZMA)
    with pytest.raises(BadFileError, match=r"a\.txt is encrypted or packed"):
        sources.open(path)
    path = zipped(tmp_path / "b.zip", {"a.txt": b"abc"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BadFileError, match=r"a\.txt is encrypted or packed"):
        sources.open(path)


@given(content=st.binary(max_size=400), form=st.sampled_from(list(PACKED)))
@settings(max_examples=80)
def test_no_bytes_whatever_raise_anything_but_our_own_error(tmp_path, content, form):
    path = tmp_path / f"x.{form}"
    head = {"zip": b"PK\3\4", "tar": b""}.get(form, b"\x1f\x8b\x08\x00")
    for bad in (content, head + content, content + b"PK\5\6" + content[:18].ljust(18, b"\0")):
        path.write_bytes(bad)
        with pytest.raises(RegardError):
            sources.open(path)
