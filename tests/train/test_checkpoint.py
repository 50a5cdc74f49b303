"""A checkpoint is whole or not there; a damaged one is never used; the last good one is never deleted."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import BadFileError, RegardError
from regard.train import checkpoint


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {
        "model": {"a": torch.full((5, 3), step + 0.5), "b": torch.arange(7)},
        "optimizer": {"a/step": torch.tensor(float(step))},
    }


def write(folder: Path, step: int) -> Path:
    return checkpoint.write(folder, step, tensors(step), {"step": step, "best": 0.1 + 0.2})


def newest(folder: Path) -> tuple[int | None, list[str]]:
    """The step of the newest whole checkpoint, and the files that were named as damaged."""
    named: list[BadFileError] = []
    found = checkpoint.newest(folder, named.append)
    if found:
        assert torch.equal(found.tensors("model")["a"], tensors(found.step)["model"]["a"])
    return found.step if found else None, [str(error.values.get("file", error)) for error in named]


def test_round_trip(tmp_path):
    write(tmp_path, 3)
    found = checkpoint.newest(tmp_path, pytest.fail)
    assert found is not None and found.step == 3 and found.state == {"step": 3, "best": 0.1 + 0.2}
    for name, wanted in tensors(3).items():
        got = found.tensors(name)
        assert got.keys() == wanted.keys() and all(torch.equal(got[key], wanted[key]) for key in wanted)
    assert found.tensors("average") == {}


def test_nothing_there(tmp_path):
    assert newest(tmp_path / "none") == (None, [])


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def test_every_flipped_bit_is_found(tmp_path, record_property):
    write(tmp_path, 1)
    folder = write(tmp_path, 2)
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["manifest.json", "model.safetensors", "optimizer.safetensors"]
    draw = random.Random(7)
    for _ in range(200):
        file = draw.choice(files)
        place = draw.randrange(8 * file.stat().st_size)
        flip(file, place)
        step, named = newest(tmp_path)
        assert step == 1, f"bit {place} of {file.name}"
        assert len(named) == 1 and folder.name in named[0]
        flip(file, place)
    assert newest(tmp_path) == (2, [])
    record_property("flips", 200)


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "longer"])
def test_a_torn_file_is_found_and_named(tmp_path, name, damage):
    write(tmp_path, 1)
    file = write(tmp_path, 2) / name
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"}"}[damage])
    step, named = newest(tmp_path)
    assert step == 1 and name in named[0]


def test_files_of_another_checkpoint_are_found(tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2)
    swapped = tmp_path / "step-00000002" / "model.safetensors"
    shutil.copy(tmp_path / "step-00000001" / "model.safetensors", swapped)
    assert newest(tmp_path) == (1, [str(swapped)])
    shutil.rmtree(tmp_path / "step-00000002")
    os.rename(tmp_path / "step-00000001", tmp_path / "step-00000005")  # an old one under a newer name
    assert newest(tmp_path)[0] is None


def test_a_manifest_of_another_shape_is_no_crash(tmp_path):
    folder = write(tmp_path, 2)
    for text in ("[]", "{}", "3", '{"sha256": 1}', '{"sha256":"","step":2,"state":{},"files":[1]}', "{" * 99):
        (folder / "manifest.json").write_text(text)
        assert newest(tmp_path)[0] is None


def test_a_damaged_one_makes_room_for_a_new_one(tmp_path):
    write(tmp_path, 1)
    (write(tmp_path, 2) / "model.safetensors").write_bytes(b"")
    write(tmp_path, 2)
    assert newest(tmp_path) == (2, [])


class Crash(BaseException):
    """The machine stops here: nothing that a program could still do is done."""


@pytest.fixture
def operations(monkeypatch):
    """Every call that changes the disk, in order; `at` makes the call of that number the last thing that happens."""
    log: list[str] = []
    state = {"at": -1}

    def watched(owner, name, path_of):
        original = getattr(owner, name)

        def call(*arguments, **named):
            if len(log) == state["at"]:
                if name == "save_file":  # half of it reaches the disk
                    original(*arguments, **named)
                    path = Path(arguments[1])
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
                raise Crash
            log.append(f"{name} {path_of(*arguments)}")
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    watched(checkpoint, "save_file", lambda tensors, path: Path(path).name)
    watched(checkpoint, "flush", lambda path: path.name)
    watched(checkpoint, "sync_folder", lambda path: Path(path).name)
    watched(checkpoint.os, "replace", lambda old, new: Path(new).name)
    watched(checkpoint.shutil, "rmtree", lambda path, **_: Path(path).name)
    return log, state


def test_the_order_of_a_save(tmp_path, operations):
    log, _ = operations
    checkpoints = tmp_path / "checkpoints"
    for step in (1, 2):
        write(checkpoints, step)
    log.clear()
    write(checkpoints, 3)
    checkpoint.retain(checkpoints, 2, (), pytest.fail)
    beside = f"tmp-step-00000003-{os.getpid()}"
    doomed = f"tmp-old-step-00000001-{os.getpid()}"
    assert log == [
        f"rmtree {beside}",
        "save_file model.safetensors",
        "flush model.safetensors",
        "save_file optimizer.safetensors",
        "flush optimizer.safetensors",
        "flush manifest.json",
        f"sync_folder {beside}",
        "replace step-00000003",
        "sync_folder checkpoints",
        f"replace {doomed}",  # deletion comes last
        f"rmtree {doomed}",
    ]


def test_a_crash_at_every_point_of_a_save(tmp_path, operations, record_property):
    log, state = operations
    for at in range(99):
        folder = tmp_path / str(at)
        state["at"] = -1
        write(folder, 1)
        log.clear()
        state["at"] = at
        try:
            write(folder, 2)
            checkpoint.retain(folder, 1, (), pytest.fail)
            state["at"] = -1
            break
        except Crash:
            state["at"] = -1
        step, named = newest(folder)
        assert step in (1, 2) and named == [], log
        if any(line.startswith("replace step") for line in log):
            assert step == 2
        checkpoint.sweep(folder)
        write(folder, 2)
        assert newest(folder) == (2, [])
        assert not list(folder.glob("tmp-*"))
    assert at > 9
    record_property("crashes", at)


def test_keep_counts_only_whole_ones(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    (tmp_path / "step-00000003" / "model.safetensors").write_bytes(b"")
    checkpoint.retain(tmp_path, 1, (), lambda error: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    assert newest(tmp_path)[0] == 2


def test_the_best_is_kept_too(tmp_path):
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    checkpoint.retain(tmp_path, 1, {2}, pytest.fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]


@settings(max_examples=100, deadline=None)
@given(
    keep=st.integers(1, 3),
    history=st.lists(st.sampled_from(["save", "save", "crash", "damage"]), min_size=1, max_size=9),
    draw=st.randoms(use_true_random=False),
)
def test_any_history_leaves_the_newest_undamaged_one(tmp_path_factory, keep, history, draw):
    folder = tmp_path_factory.mktemp("history")
    whole: set[int] = set()
    for step, event in enumerate(history):
        if event == "save":
            write(folder, step)
            whole.add(step)
            checkpoint.retain(folder, keep, (), lambda error: None)
        elif event == "crash":
            beside = folder / f"tmp-{checkpoint.name(step)}-1"
            beside.mkdir()
            (beside / "model.safetensors").write_bytes(b"half")
        elif whole:
            victim = draw.choice(sorted(whole))
            file = folder / checkpoint.name(victim) / "model.safetensors"
            if file.exists():
                file.write_bytes(file.read_bytes()[:-1])
            whole.discard(victim)
        assert newest(folder)[0] == max(whole, default=None)
        there = [path for path in folder.glob("step-*") if int(path.name[5:]) in whole]
        assert len(there) >= min(keep, len(whole))
        whole &= {int(path.name[5:]) for path in there}
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions hold for users only")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RegardError, match="could not be written"):
        write(tmp_path, 1)


@pytest.mark.parametrize("broken", ["save_file", "flush", "sync_folder"])
def test_a_failing_disk_leaves_what_was_there(tmp_path, monkeypatch, broken):
    write(tmp_path, 1)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, broken, full)
    with pytest.raises(RegardError, match="No space left"):
        write(tmp_path, 2)
    monkeypatch.undo()
    assert newest(tmp_path) == (1, [])
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_the_manifest_is_json_for_anyone(tmp_path):
    manifest = json.loads((write(tmp_path, 4) / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["step"] == 4 and set(manifest["files"]) == {"model.safetensors", "optimizer.safetensors"}
