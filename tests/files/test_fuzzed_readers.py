"""The committed corpus, and thousands of changes of it, into every reader: a RegardError or a result, never another.

`fuzz/` feeds the same targets from the same corpus, guided by what the code reaches.
"""

from __future__ import annotations

import copy
import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "fuzz"))

import targets  # noqa: E402

CORPUS = ROOT / "tests" / "fuzz"
FILES = {name: sorted((CORPUS / name).iterdir()) for name in targets.TARGETS}
JSON = ("json", "configs", "tokenizer", "manifest")
# How many changed files in `make test`, and in `make soak`; a text is read, indexed and hashed, which takes longest.
CASES = dict.fromkeys(targets.TARGETS, 400) | {"tokenizer": 300, "safetensors": 1000, "configs": 600}
SOAK = 25 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 1
WRONG: list[Any] = [
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, 10**12, 1 << 31, 1 << 63, 10**63, "", "x", "\x00", "../x",
    "/etc/passwd",
    "C:\\x", "<eos>", "none", "a" * 3000, [], {}, [[]], [{}], {"a": {}}, ["a", 1], "😀", "\ue000", [None], {"": 0},
]  # fmt: skip


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_corpus_holds_both_kinds(name):
    """Every file is read or refused as it may be, and among them are some that are read and some that are not."""
    refused = [targets.refused(name, path.read_bytes()) for path in FILES[name]]
    assert any(refused) and not all(refused), name


@pytest.fixture(scope="module")
def tally(request):
    found: dict[str, list[float]] = {}
    yield found
    total, spent = sum(len(times) for times in found.values()), sum(map(sum, found.values()))
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        slowest = max(map(max, found.values()), default=0.0)
        print(f"\nfuzzed: {total} files into {len(found)} readers in {spent:.0f} s, slowest {slowest:.2f} s")


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_changed_file_is_read_or_refused(name, tally, record_property):
    times = tally.setdefault(name, [])

    @settings(max_examples=CASES[name] * SOAK, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def feed(data: st.DataObject) -> None:
        changed = change(name, data.draw(st.sampled_from(FILES[name])).read_bytes(), data)
        start = time.perf_counter()
        targets.refused(name, changed)
        times.append(time.perf_counter() - start)

    feed()
    assert len(times) >= CASES[name] // 2  # hypothesis ends early where there is little to choose
    record_property("fuzzed", len(times))


def change(name: str, raw: bytes, data: st.DataObject) -> bytes:
    """A few changes of what the bytes mean, or of the bytes themselves."""
    if data.draw(st.integers(0, 3)) and name in (*JSON, "safetensors"):
        try:
            return _structured(name, raw, data)
        except (ValueError, struct.error):
            pass
    if name in ("toml", "recipes", "csv", "jsonl", "text") and data.draw(st.booleans()):
        return _lines(raw, data)
    return _bytes(raw, data)


def _structured(name: str, raw: bytes, data: st.DataObject) -> bytes:
    start = 8 if name == "safetensors" else 0
    length = struct.unpack_from("<Q", raw)[0] if start else len(raw)
    document = copy.deepcopy(json.loads(raw[start : start + length]))
    for _ in range(data.draw(st.integers(1, 3))):
        document = _mutated(document, data)
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    if name == "manifest" and isinstance(document, dict):  # sealed anew, or nothing behind the seal is ever looked at
        from regard.train import checkpoint

        document["sha256"] = checkpoint._seal({key: value for key, value in document.items() if key != "sha256"})
        text = json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + raw[start + length :] if start else text


def _mutated(document: Any, data: st.DataObject) -> Any:
    """One value somewhere in it replaced, dropped, doubled or given another's name."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            walk(node[key])

    walk(document)
    if not places:
        return copy.deepcopy(data.draw(st.sampled_from(WRONG)))
    node, key = places[data.draw(st.integers(0, len(places) - 1))]
    what = data.draw(st.sampled_from(["wrong", "wrong", "other", "drop", "double", "near"]))
    if what == "drop":
        del node[key]
    elif what == "double" and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    elif what == "double":
        node[str(key) + data.draw(st.sampled_from(["", "_", "s", "\x00"]))] = copy.deepcopy(node[key])
    elif what == "other":
        from_node, from_key = places[data.draw(st.integers(0, len(places) - 1))]
        node[key] = copy.deepcopy(from_node[from_key])
    elif what == "near" and type(node[key]) is int:
        node[key] += data.draw(st.sampled_from([-1, 1, 8, 1 << 16, 1 << 32, -(1 << 32)]))
    else:
        node[key] = copy.deepcopy(data.draw(st.sampled_from(WRONG)))
    return document


def _lines(raw: bytes, data: st.DataObject) -> bytes:
    lines = raw.split(b"\n")
    place = data.draw(st.integers(0, len(lines) - 1))
    what = data.draw(st.sampled_from(["drop", "double", "swap", "value", "cut"]))
    if what == "drop":
        del lines[place]
    elif what == "double":
        lines.insert(place, lines[place])
    elif what == "swap":
        lines[place], lines[0] = lines[0], lines[place]
    elif what == "value":
        wrong = json.dumps(data.draw(st.sampled_from(WRONG)), ensure_ascii=False).encode("utf-8", "surrogatepass")
        before, mark, _ = lines[place].partition(b"=" if b"=" in lines[place] else b",")
        lines[place] = before + mark + wrong
    else:
        lines[place] = lines[place][: data.draw(st.integers(0, len(lines[place])))]
    return b"\n".join(lines)


def _bytes(raw: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        what = data.draw(st.sampled_from(["flip", "insert", "delete", "cut", "repeat"]))
        if what == "flip" and place < len(changed):
            changed[place] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "insert":
            changed[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        elif what == "delete":
            del changed[place : place + data.draw(st.integers(1, 20))]
        elif what == "cut":
            del changed[place:]
        else:
            changed[place:place] = changed[max(0, place - 16) : place] * data.draw(st.integers(1, 4))
    return bytes(changed)
