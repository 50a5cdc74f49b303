"""The source of the package as the tests of the house read it."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "regard"

# From the top down: a room may import those after it, never one before it.
ROOMS = (
    "__main__",
    "cli",
    "journey",
    "serve",
    "doctor",
    "explain",
    "compress",
    "train",
    "tasks",
    "generate",
    "data",
    "export",
    "bundle",
    "hub",
    "named",
    "inputs",
    "adapters",
    "models",
    "weights",
    "heads",
    "embed",
    "layers",
    "ops",
    "report",
    "config",
    "limits",
    "errors",
    "words",
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name to syntax tree, for every file of the package."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def room(name: str) -> str:
    """The room of a module; '' is the package itself, which only names others lazily."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(name: str, tree: ast.Module, *, top: bool = False) -> Iterator[tuple[str, int]]:
    """(module imported, line); names imported from a package count as modules where they are ones."""
    for node in _outside_functions(tree) if top else _without_type_checking(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if f"{name}.__init__" in modules() else name.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            below = [f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in modules()]
            yield from ((each, node.lineno) for each in below or [base])


def functions(tree: ast.Module) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def dotted(node: ast.expr) -> str:
    """`torch.nn.functional.softmax` as text; '' for what is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def placeholders(text: str) -> set[str]:
    return {name.split(".")[0].split("[")[0] for _, name, _, _ in string.Formatter().parse(text) if name}


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING")


def _without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not _is_type_checking(child):
            yield child
            yield from _without_type_checking(child)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not _is_type_checking(child) and not isinstance(child, Function):
            yield child
            yield from _outside_functions(child)
