"""The list of what must never break names tests that are there, and so do the promises and the faults."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@cache
def defined(file: str) -> set[str]:
    """Functions and classes of a test file, and what it gives a name."""
    path = TESTS / file
    if not path.is_file():
        return set()
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_every_test_that_the_list_names_is_there():
    named = NAMED.findall((TESTS / "README.md").read_text(encoding="utf-8"))
    assert len(named) > 50
    assert not [f"{file}::{name}" for file, name in named if name not in defined(file)]


def test_every_test_that_a_promise_or_a_fault_names_is_there():
    named = [
        test for one in tomllib.loads((TESTS / "promises.toml").read_text("utf-8"))["promise"] for test in one["tests"]
    ]
    for file in sorted((TESTS / "mutants").glob("*.toml")):
        for one in tomllib.loads(file.read_text("utf-8")).get("mutant", []):
            named += [one["test"]] if isinstance(one["test"], str) else one["test"]
    lost = []
    for test in named:
        file, _, name = test.removeprefix("tests/").partition("::")
        name = name.partition("[")[0]
        if not (TESTS / file).is_file() or (name and name not in defined(file)):
            lost.append(test)
    assert not lost


def test_every_fault_can_be_made():
    """Its old text stands once in its file: the code has moved on where it does not."""
    root, lost = TESTS.parent, []
    for file in sorted((TESTS / "mutants").glob("*.toml")):
        for one in tomllib.loads(file.read_text("utf-8")).get("mutant", []):
            path = root / one["file"]
            if not path.is_file() or path.read_text("utf-8").count(one["old"]) != 1 or one["old"] == one["new"]:
                lost.append(f"{file.stem}: {one['name']}")
    assert not lost
