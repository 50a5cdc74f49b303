"""Every rule of the safetensors format, broken once each: refused with the file and the rule named, before any tensor
is read; and what keeps the rules is read."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

import pytest
import torch
import trial
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from regard.errors import BadFileError
from regard.weights import header
from regard.weights.folder import FILE, INDEX, Folder


def packed(head: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(begin: int = 0, end: int = 8, *, dtype: object = "F32", shape: object = (2,), **more: object) -> dict:
    sides = list(shape) if isinstance(shape, tuple) else shape
    return {"dtype": dtype, "shape": sides, "data_offsets": [begin, end]} | more


EIGHT = bytes(8)
WRAPS = [(1 << 33), (1 << 31) + 1, 0x7FFFFFFF]  # three sides whose product has more than 64 bits
RULES: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "bytes long, the whole file is 0"),
    "shorter than a length": (b"\x08\0\0\0\0\0\0", "the whole file is 7"),
    "header over the cap": (packed(b"{}", length=100_000_001), "bytes long"),
    "header longer than the file": (packed({}, length=1000), "said to be 1000"),
    "header of 2**64 - 1 bytes": (packed({}, length=(1 << 64) - 1), "18446744073709551615"),
    "header of 2**63 bytes": (packed({}, length=1 << 63), "9223372036854775808"),
    "header of no bytes": (packed(b""), "no JSON object"),
    "not an object": (packed([1, 2]), "no JSON object"),
    "a space before it": (packed(b" {}"), "no JSON object"),
    "a BOM before it": (packed(b"\xef\xbb\xbf{}"), "no JSON object"),
    "not JSON": (packed(b"{,}"), "not valid JSON"),
    "bad UTF-8": (packed(b'{"\xff": 1}'), "not UTF-8"),
    "lone surrogate": (packed(b'{"\\ud800": 1}'), "half a character"),
    "nested deeply": (packed(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), "nested more than"),
    "key twice": (packed(b'{"a": %b, "a": %b}' % ((json.dumps(tensor()).encode(),) * 2), EIGHT), "twice"),
    "key twice inside": (packed(b'{"a": {"dtype": "F32", "dtype": "F16", "shape": [], "data_offsets": [0, 0]}}'),
                         "twice"),
    "hole between": (packed({"a": tensor(0, 8), "b": tensor(16, 24)}, bytes(24)), "belong to no tensor"),
    "hole at the start": (packed({"a": tensor(8, 16)}, bytes(16)), "belong to no tensor"),
    "overlap": (packed({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), "inside the tensor before"),
    "the same bytes twice": (packed({"a": tensor(0, 8), "b": tensor(0, 8)}, EIGHT), "inside the tensor before"),
    "reversed offsets": (packed({"a": tensor(8, 0)}, EIGHT), "impossible data_offsets [8, 0]"),
    "negative offset": (packed({"a": tensor(-8, 0)}, EIGHT), "impossible data_offsets"),
    "one offset": (packed({"a": tensor() | {"data_offsets": [0]}}, EIGHT), "impossible data_offsets"),
    "offsets as floats": (packed({"a": tensor() | {"data_offsets": [0.0, 8.0]}}, EIGHT), "impossible data_offsets"),
    "offsets as booleans": (packed({"a": tensor(dtype="U8", shape=(1,)) | {"data_offsets": [False, True]}}, b"\0"),
                            "impossible data_offsets"),
    "trailing bytes": (packed({"a": tensor()}, EIGHT + b"MZ"), "hidden behind"),
    "trailing bytes of nothing": (packed({}, b"PK\x03\x04"), "hidden behind"),
    "truncated by one": (packed({"a": tensor()}, EIGHT[:7]), "the end is missing"),
    "past the end": (packed({"a": tensor(0, 1 << 40, shape=(1 << 38,))}, EIGHT), "the end is missing"),
    "shape says more": (packed({"a": tensor(shape=(3,))}, EIGHT), "does not fill the 8 bytes"),
    "shape says less": (packed({"a": tensor(shape=(1,))}, EIGHT), "does not fill the 8 bytes"),
    "a product that wraps": (packed({"a": tensor(0, 8, dtype="U8", shape=tuple(WRAPS))}, EIGHT), "impossible shape"),
    "a product that wraps to nothing": (packed({"a": tensor(0, 0, shape=(1 << 32, 1 << 32))}), "impossible shape"),
    "a wrap that a zero hides": (packed({"a": tensor(0, 0, shape=(1 << 64, 0))}), "impossible shape"),
    "a negative side": (packed({"a": tensor(shape=(-2,))}, EIGHT), "impossible shape"),
    "a side of 1e999": (packed(b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 8]}}', EIGHT), "1e999"),
    "a side of many digits": (packed(b'{"a": {"dtype": "F32", "shape": [%b], "data_offsets": [0, 8]}}' % (b"9" * 5000)),
                              "too many digits"),
    "a shape that is none": (packed({"a": tensor(shape="2")}, EIGHT), "impossible shape"),
    "a hundred axes": (packed({"a": tensor(shape=(2,) + (1,) * 100)}, EIGHT), "impossible shape"),
    "unknown dtype": (packed({"a": tensor(dtype="F128")}, EIGHT), "unknown kind of number"),
    "dtype that is no text": (packed({"a": tensor(dtype=["F32"])}, EIGHT), "unknown kind of number"),
    "metadata not texts": (packed({"__metadata__": {"a": 1}, "b": tensor()}, EIGHT), "not a table of texts"),
    "metadata no table": (packed({"__metadata__": ["a"], "b": tensor()}, EIGHT), "not a table of texts"),
    "half a byte": (packed({"a": tensor(0, 2, dtype="F4", shape=(3,))}, bytes(2)), "does not fill the 2 bytes"),
    "six bits misaligned": (packed({"a": tensor(0, 3, dtype="F6_E2M3", shape=(3,))}, bytes(3)), "does not fill"),
    "entry no table": (packed({"a": [1]}, EIGHT), "is not dtype, shape and data_offsets"),
    "entry without a shape": (packed({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT), "is not dtype, shape"),
    "entry with more": (packed({"a": tensor(device="cuda")}, EIGHT), "is not dtype, shape"),
    "a nameless tensor": (packed({"": tensor()}, EIGHT), "is not dtype, shape"),
    "a name of 5000 letters": (packed({"a" * 5000: tensor()}, EIGHT), "is not dtype, shape"),
}  # fmt: skip

KEPT: dict[str, bytes] = {
    "nothing": packed({}),
    "metadata alone": packed({"__metadata__": {"format": "pt"}}),
    "empty tensors share an offset": packed(
        {"a": tensor(0, 0, shape=(0, 5)), "b": tensor(0, 8), "c": tensor(8, 8, shape=(3, 0))}, EIGHT
    ),
    "a number": packed({"a": tensor(0, 4, shape=())}, bytes(4)),
    "padded header": packed(json.dumps({"a": tensor()}).encode() + b" " * 5, EIGHT),
    "out of order": packed({"b": tensor(8, 16), "a": tensor(0, 8)}, bytes(16)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root, made = tmp_path_factory.mktemp("rules"), {}
    for number, (name, (data, _)) in enumerate(RULES.items()):
        made[name] = root / str(number)
        made[name].mkdir()
        (made[name] / FILE).write_bytes(data)
    return made


def test_every_broken_rule_is_named(folders, capsys):
    outcomes = trial.run([("weights", folder) for folder in folders.values()])
    for name, one in zip(folders, outcomes, strict=True):
        assert RULES[name][1] in one.message, (name, one)
    with capsys.disabled():
        print(f"\nsafetensors rules: {trial.holds(outcomes, named=FILE)}")


@pytest.mark.parametrize("name", KEPT)
def test_what_keeps_the_rules_is_read(name, tmp_path):
    (tmp_path / FILE).write_bytes(KEPT[name])
    entries = header.check(tmp_path / FILE)
    assert {one.name for one in entries} == Folder(tmp_path).names()
    assert all(Folder(tmp_path).shape(one.name) == one.shape for one in entries)


def test_the_library_takes_some_of_what_is_refused_here(folders):
    """Why the header is checked by us: with these the library opens the file and means something by it."""
    taken = set()
    for name, folder in folders.items():
        try:
            safe_open(folder / FILE, framework="pt")
        except Exception:
            continue
        taken.add(name)
    assert {"key twice", "key twice inside", "entry with more"} & taken


def test_a_header_says_what_the_library_wrote(tmp_path):
    tensors = {
        "x.weight": torch.arange(6.0).reshape(2, 3),
        "b": torch.zeros(5, dtype=torch.bfloat16),
        "n": torch.tensor(3),
        "t": torch.tensor([True, False]),
    }
    path = tmp_path / FILE
    path.write_bytes(save(tensors))
    assert {one.name: one.shape for one in header.check(path)} == {n: tuple(t.shape) for n, t in tensors.items()}


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path / "pipe.safetensors", Path("/dev/zero"), Path("/dev/null"), tmp_path):
        with pytest.raises(BadFileError):
            header.check(path)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(header.BITS)), st.lists(st.integers(0, 5), max_size=4)), max_size=6),
    st.data(),
)
def test_a_change_of_any_number_in_a_header_is_seen(tmp_path_factory, kinds, data):
    """Valid headers of every dtype and shape are read; with one number in them changed, none is."""
    kinds = [(dtype, shape) for dtype, shape in kinds if _bits(dtype, shape) % 8 == 0]
    place, document = 0, {}
    for number, (dtype, shape) in enumerate(kinds):
        end = place + _bits(dtype, shape) // 8
        document[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
        place = end
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    raw = json.dumps(document)
    path.write_bytes(packed(raw.encode(), bytes(place)))
    assert len(header.check(path)) == len(kinds)
    numbers = list(re.finditer(r"(?<=[ \[])\d+(?=[,\]])", raw))
    if not numbers:
        return
    match = data.draw(st.sampled_from(numbers))
    changed = data.draw(st.integers(0, 1 << 70).filter(lambda new: new != int(match[0])))
    other = raw[: match.start()] + str(changed) + raw[match.end() :]
    path.write_bytes(packed(other.encode(), bytes(place)))
    try:
        found = header.check(path)
    except BadFileError as error:
        assert "any.safetensors" in str(error)
    else:  # a side beside another of no length, which may be any
        assert {one.name: one.begin for one in found} == {n: e["data_offsets"][0] for n, e in document.items()}
        assert 0 in next(e["shape"] for e in json.loads(other).values() if e not in document.values())


def _bits(dtype: str, shape: list[int]) -> int:
    bits = header.BITS[dtype]
    for side in shape:
        bits *= side
    return bits


def test_an_index_is_refused_that_names_no_good_file(tmp_path):
    (tmp_path / "good.safetensors").write_bytes(KEPT["a number"])
    bad = {
        "no map": {},
        "empty map": {"weight_map": {}},
        "map of numbers": {"weight_map": {"a": 1}},
        "missing shard": {"weight_map": {"a": "other.safetensors"}},
        "a folder": {"weight_map": {"a": "sub"}},
        "outside": {"weight_map": {"a": "../good.safetensors"}},
    }
    (tmp_path / "sub").mkdir()
    for name, index in bad.items():
        (tmp_path / INDEX).write_text(json.dumps(index))
        with pytest.raises(BadFileError) as caught:
            Folder(tmp_path)
        assert str(tmp_path) in str(caught.value), name
