"""Every rule of model.bin, broken once each: refused with file and rule named, before a tensor is read."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import BadFileError
from regard.weights.ct2.container import Ct2, is_ct2, open_file

F32, I8, F16, BF16 = 0, 1, 4, 5


def name(text: str | bytes, length: int | None = None) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode() + b"\0"
    return struct.pack("<H", len(raw) if length is None else length) + raw


def variable(
    text: str | bytes = "a", shape: tuple[int, ...] = (2,), kind: int = F32, data: bytes = bytes(8),
    size: int | None = None, axes: int | None = None,
) -> bytes:  # fmt: skip
    count = len(shape) if axes is None else axes
    sized = struct.pack(f"<B{len(shape)}IBI", count, *shape, kind, len(data) if size is None else size)
    return (text if isinstance(text, bytes) else name(text)) + sized + data


def file(
    *variables: bytes, aliases: tuple[bytes, ...] = (), version: int = 6, count: int | None = None,
    others: int | None = None, spec: bytes | None = None, after: bytes = b"",
) -> bytes:  # fmt: skip
    head = struct.pack("<I", version) + (name("WhisperSpec") if spec is None else spec)
    head += struct.pack("<II", 3, len(variables) if count is None else count) + b"".join(variables)
    return head + struct.pack("<I", len(aliases) if others is None else others) + b"".join(aliases) + after


RULES: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "too early"),
    "one byte": (b"\6", "too early"),
    "version 0": (file(version=0), "version 0"),
    "version 5": (file(version=5), "version 5"),
    "a version to come": (file(version=7), "version 7"),
    "no architecture": (file(spec=name(b"\0")), "no name"),
    "an architecture of a thousand letters": (file(spec=name("a" * 1000)), "1001 bytes"),
    "an architecture without an end": (file(spec=name(b"abc")), "no name"),
    "variables beyond counting": (file(count=1 << 31), "2147483648 variables"),
    "more variables than there are": (file(variable(), count=2), "no name"),
    "aliases beyond counting": (file(others=1 << 31), "2147483648 variables"),
    "more aliases than there are": (file(others=1), "too early"),
    "a name longer than the file": (file(variable(name("a", 500)), after=b""), "too early"),
    "a name with two ends": (file(variable(name(b"a\0b\0"))), "no name"),
    "a name that is not ASCII": (file(variable(name("é"))), "no name"),
    "a name twice": (file(variable(), variable()), "a stands in it twice"),
    "nine axes": (file(variable(shape=(1,) * 9, data=bytes(4))), "9 axes"),
    "255 axes": (file(variable(axes=255)), "255 axes"),
    "an unknown type": (file(variable(kind=6)), "unknown type 6"),
    "an axis of nothing": (file(variable(shape=(0,), data=b"")), "does not fill the 0 bytes"),
    "too few bytes": (file(variable(size=7)), "does not fill the 7 bytes"),
    "too many bytes": (file(variable(data=bytes(9))), "does not fill the 9 bytes"),
    "a shape that overflows": (file(variable(shape=(1 << 31,) * 4)), "does not fill"),
    "a shape that overflows to nothing": (file(variable(shape=(1 << 16,) * 8, data=b"")), "does not fill"),
    "more bytes than the file": (file(variable(shape=(1 << 29,), size=1 << 31)), "too early"),
    "an alias of nothing": (file(variable(), aliases=(name("b") + name("c"),)), "b is said to be c"),
    "an alias of an alias": (
        file(variable(), aliases=(name("b") + name("a"), name("c") + name("b"))),
        "c is said to be b",
    ),
    "an alias that is there": (file(variable(), aliases=(name("a") + name("a"),)), "a stands in it twice"),
    "an alias twice": (file(variable(), aliases=(name("b") + name("a"),) * 2), "b stands in it twice"),
    "something behind the end": (file(variable(), after=b"\0"), "hidden behind"),
}


def opened(folder: Path, data: bytes) -> Ct2:
    (folder / "model.bin").write_bytes(data)
    return open_file(folder / "model.bin")


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_named(rule: str, tmp_path: Path) -> None:
    data, said = RULES[rule]
    begun = time.perf_counter()
    with pytest.raises(BadFileError, match=r"model\.bin") as caught:
        opened(tmp_path, data)
    assert said in str(caught.value)
    assert time.perf_counter() - begun < 1


def test_what_keeps_the_rules_is_read(tmp_path: Path) -> None:
    found = opened(
        tmp_path,
        file(
            variable("a", (2, 1), F32, struct.pack("<2f", 1.5, -2.0)),
            variable("b", (), I8, b"\xff"),
            variable("c", (3,), F16, struct.pack("<3e", 1, 2, 3)),
            variable("d", (1,), BF16, struct.pack("<f", 1.5)[2:]),
            aliases=(name("e") + name("a"),),
        ),
    )
    assert found.architecture == "WhisperSpec" and found.aliases == {"e": "a"}
    assert torch.equal(found.tensor("a"), torch.tensor([[1.5], [-2.0]]))
    assert found.number("b") == -1
    assert torch.equal(found.tensor("c"), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float16))
    assert torch.equal(found.tensor("d"), torch.tensor([1.5], dtype=torch.bfloat16))
    assert is_ct2(tmp_path)


def test_a_pickle_of_the_same_name_is_no_such_file(tmp_path: Path) -> None:
    for head in (b"\x80\x02}q\0", b"PK\3\4\x14\0\0\0", b"", b"\6\0"):
        (tmp_path / "model.bin").write_bytes(head)
        assert not is_ct2(tmp_path)


GOOD = file(variable("a", (2, 1)), variable("b", (), I8, b"\1"), aliases=(name("e") + name("a"),))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_changed_or_missing_byte_is_refused_or_harmless(tmp_path_factory, at: int, value: int, cut: bool) -> None:
    data = GOOD[:at] if cut else GOOD[:at] + bytes([value]) + GOOD[at + 1 :]
    try:
        found = opened(tmp_path_factory.getbasetemp(), data)
    except BadFileError:
        return
    assert sum(info.size for info in found.variables.values()) <= len(data)
