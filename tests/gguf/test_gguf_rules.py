"""Every rule of the GGUF format, broken once each: refused with file and rule named, before a tensor is read."""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import BadFileError
from regard.weights.gguf import container
from regard.weights.gguf.container import is_gguf, open_file

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10


def text(value: str | bytes, *, length: int | None = None) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + values


def tensor(
    name: str | bytes = "a", sizes: tuple[int, ...] = (2,), kind: int = 0, offset: int = 0, axes: int | None = None
):
    count = len(sizes) if axes is None else axes
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", count, *sizes, kind, offset)


def file(
    entries: list[bytes] = (), tensors: list[bytes] = (), data: bytes = bytes(64), *,
    magic: bytes = b"GGUF", version: int = 3, counts: tuple[int, int] | None = None, aligned: int = 32,
) -> bytes:  # fmt: skip
    counts = counts or (len(tensors), len(entries))
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join([*entries, *tensors])
    return head + bytes(-len(head) % aligned) + data


def alignment(value: bytes, kind: int = U32) -> bytes:
    return entry("general.alignment", kind, value)


U32_1 = struct.pack("<I", 1)
WIDE = text("a" * (3 << 20) + "😀")  # four bytes of memory for each of its own
RULES: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "begin with GGUF"),
    "one byte": (b"G", "too early"),
    "other magic": (file(magic=b"GGML"), "begin with GGUF"),
    "no version": (b"GGUF\3\0", "too early"),
    "version 0": (file(version=0), "version 0"),
    "version 1": (file(version=1), "version 1"),
    "a version to come": (file(version=4), "version 4"),
    "big-endian": (file(version=3 << 24), "big-endian"),
    "tensors beyond counting": (file(counts=(1 << 60, 0)), "which no model has"),
    "entries beyond counting": (file(counts=(0, 1 << 60)), "which no model has"),
    "more entries than there are": (file(counts=(0, 5), data=b"", aligned=1), "too early"),
    "more tensors than there are": (file(tensors=[tensor()], counts=(2, 0), data=b"", aligned=1), "too early"),
    "key of no letters": (file([entry("", U32, U32_1)]), "no name"),
    "key with NUL": (file([entry("a\0b", U32, U32_1)]), "no name"),
    "key that is too long": (file([entry("a" * 513, U32, U32_1)]), "513 bytes"),
    "key twice": (file([entry("a", U32, U32_1)] * 2), "a stands in it twice"),
    "key longer than the file": (file([text("", length=400)], data=b""), "too early"),
    "text longer than the file": (file([entry("a", STRING, text("b", length=1 << 20))]), "too early"),
    "text of 2**63 bytes": (file([entry("a", STRING, text("b", length=1 << 63))]), "9223372036854775808"),
    "text that is not UTF-8": (file([entry("a", STRING, text(b"\xff\xfe"))]), "not UTF-8"),
    "unknown kind": (file([entry("a", 13, U32_1)]), "unknown kind 13"),
    "truth that is 2": (file([entry("a", BOOL, b"\2")]), "neither true nor false"),
    "list of lists": (file([entry("a", ARRAY, array(ARRAY, 1, array(U8, 1, b"1")))]), "list of lists"),
    "list of an unknown kind": (file([entry("a", ARRAY, array(99, 1, b"1"))]), "unknown kind 99"),
    "list longer than the file": (file([entry("a", ARRAY, array(U64, 1 << 20, b""))]), "too early"),
    "list of 2**62 numbers": (file([entry("a", ARRAY, array(U8, 1 << 62, b""))]), "4611686018427387904"),
    "list of more texts than bytes": (file([entry("a", ARRAY, array(STRING, 1 << 22, b""))]), "too early"),
    "list of truths that are 7": (file([entry("a", ARRAY, array(BOOL, 1, b"\7"))]), "neither true nor false"),
    "alignment 0": (file([alignment(struct.pack("<I", 0))]), "alignment is 0"),
    "alignment 48": (file([alignment(struct.pack("<I", 48))]), "alignment is 48"),
    "alignment 2**31": (file([alignment(struct.pack("<I", 1 << 31))]), "alignment is 2147483648"),
    "alignment as text": (file([alignment(text("32"), STRING)]), "alignment"),
    "alignment as a real number": (file([alignment(struct.pack("<f", 32.0), F32)]), "alignment"),
    "alignment as a list": (file([entry("general.alignment", ARRAY, array(U32, 1, U32_1))]), "alignment"),
    "alignment below nought": (file([alignment(struct.pack("<i", -32), 5)]), "alignment"),
    "texts of much memory": (file([entry(key, STRING, WIDE) for key in "abcd"]), "48 MiB of memory"),
    "tensor without a name": (file(tensors=[tensor("")]), "no name"),
    "tensor twice": (file(tensors=[tensor(), tensor(offset=32)]), "a stands in it twice"),
    "no axes": (file(tensors=[tensor(sizes=())]), "0 axes"),
    "five axes": (file(tensors=[tensor(sizes=(1,) * 5)]), "5 axes"),
    "2**32 - 1 axes": (file(tensors=[tensor(axes=(1 << 32) - 1)]), "4294967295 axes"),
    "an axis of 0": (file(tensors=[tensor(sizes=(2, 0))]), "impossible shape"),
    "an axis of -1": (file(tensors=[tensor(sizes=((1 << 64) - 1,))]), "impossible shape"),
    "a product beyond 64 bits": (file(tensors=[tensor(sizes=(1 << 33, 1 << 31, 4))]), "past the end"),
    "unknown type": (file(tensors=[tensor(kind=4)]), "type 4"),
    "a type to come": (file(tensors=[tensor(kind=(1 << 32) - 1)]), "type 4294967295"),
    "rows that blocks do not divide": (file(tensors=[tensor(sizes=(33,), kind=2)]), "blocks of 32"),
    "rows that K blocks do not divide": (file(tensors=[tensor(sizes=(128, 2), kind=12)]), "blocks of 256"),
    "offset off the grid": (file(tensors=[tensor(offset=8)]), "not at a multiple of 32"),
    "overlap": (file(tensors=[tensor("a", (16,)), tensor("b", (2,), offset=32)]), "lies over another"),
    "past the end": (file(tensors=[tensor(sizes=(17,))]), "past the end"),
    "offset past the end": (file(tensors=[tensor(offset=1 << 40)]), "past the end"),
    "numbers cut by one byte": (file(tensors=[tensor(sizes=(16,))], data=bytes(63)), "past the end"),
}  # fmt: skip


def test_a_file_that_keeps_the_rules_is_read(tmp_path):
    entries = [entry("a", U32, U32_1), entry("b", STRING, text("字")), entry("c", ARRAY, array(U8, 2, b"\1\2"))]
    path = tmp_path / "good.gguf"
    path.write_bytes(file(entries, [tensor("x", (2, 3)), tensor("y", (2,), offset=32)]))
    read = open_file(path)
    assert {**read.metadata, "c": list(read.metadata["c"])} == {"a": 1, "b": "字", "c": [1, 2]}
    assert read.tensors["x"].shape == (3, 2) and len(read.raw("y")) == 8


@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_is_named(name, tmp_path):
    data, says = RULES[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    began = time.perf_counter()
    with pytest.raises(BadFileError, match=r"bad\.gguf") as caught:
        open_file(path)
    assert says in str(caught.value)
    assert time.perf_counter() - began < 1


def test_numbers_take_no_more_memory_than_their_bytes(tmp_path):
    """As Python's own they would take forty times as much."""
    path = tmp_path / "many.gguf"
    path.write_bytes(file([entry("a", ARRAY, array(U8, 1 << 22, bytes(range(256)) * (1 << 14)))]))
    tracemalloc.start()
    try:
        read = open_file(path)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
    assert list(read.metadata["a"][:3]) == [0, 1, 2]


def test_the_count_of_rules_is_told(record_property):
    assert len(RULES) >= 48
    record_property("gguf_rules", len(RULES))


GOOD = file(
    [entry("general.architecture", STRING, text("llama")), entry("t", ARRAY, array(STRING, 2, text("a") + text("b")))],
    [tensor("token_embd.weight", (32, 2), 8), tensor("b", (2,), offset=96)],
    bytes(128),
)


@settings(max_examples=settings.default.max_examples * 20)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 200)
)
def test_any_change_is_read_or_refused_and_nothing_else(tmp_path_factory, changes, cut):
    data = bytearray(GOOD)
    for place, byte in changes:
        data[place] = byte
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    path.write_bytes(bytes(data[: len(data) - cut]))
    try:
        read = open_file(path)
    except BadFileError as error:
        assert "changed.gguf" in str(error)
        return
    for name in read.tensors:
        assert len(read.raw(name)) == read.tensors[name].size


def test_what_is_none_is_not_taken_for_one(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"GGU")
    assert not is_gguf(tmp_path / "a.bin") and not is_gguf(tmp_path) and not is_gguf(Path("nowhere.gguf"))
    assert container.ALIGNMENT == "general.alignment"
