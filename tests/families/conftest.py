"""The twins of a case, made once; and a record of what held, from which the family table is printed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # family_rows, family_twins

from family_rows import Case
from family_twins import Twins, make

_MADE: dict[Case, Twins] = {}
_HELD: dict[str, dict[str, bool]] = {}  # model type -> what was tested -> whether it held for all its variants


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """The same numbers each time; and one thread, for what is computed here is too small for two."""
    torch.manual_seed(7)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def twins(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """The reference and ours with its weights, by way of the folder that it writes."""
    if case not in _MADE:
        _MADE[case] = make(case, tmp_path_factory.mktemp("theirs"))
    return _MADE[case]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped or (report.when != "call" and not report.failed):
        return
    for model_type, name in _shown(item):
        held = _HELD.setdefault(model_type, {})
        held[name] = held.get(name, True) and report.passed


def _shown(item: pytest.Item) -> list[tuple[str, str]]:
    """The model types and columns of the family table that a test counts for: by its case, or as it is marked."""
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")  # type: ignore[attr-defined]
    found = [(case.row.model_type, item.name.partition("[")[0].removeprefix("test_"))] if isinstance(case, Case) else []
    return found + [(mark.args[0], name) for mark in item.iter_markers("shows") for name in mark.args[1:]]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if out := os.environ.get("REGARD_FAMILIES_OUT"):
        Path(out).write_text(json.dumps(_HELD, indent=1, sort_keys=True), encoding="utf-8")
