"""regard: the whole Transformer family on one readable core.

    import regard

    bundle = regard.load("runs/poems")
    print(bundle.tokenizer.encode("今天天气很好"))

Nothing here is imported until it is first named, so that `import regard` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard import (
        bundle,
        config,
        data,
        doctor,
        errors,
        explain,
        generate,
        heads,
        layers,
        models,
        tasks,
        train,
        words,
    )
    from regard.bundle import Bundle, load, save
    from regard.errors import RegardError
    from regard.inputs.tokenizer import Tokenizer
    from regard.layers import Context, Key, Mask

# What `regard.NAME` is: a module, or a name inside one. One line here and one above makes a public name.
_NAMES = {
    "Bundle": "regard.bundle",
    "Context": "regard.layers",
    "Key": "regard.layers",
    "Mask": "regard.layers",
    "RegardError": "regard.errors",
    "Tokenizer": "regard.inputs.tokenizer",
    "load": "regard.bundle",
    "save": "regard.bundle",
}
_MODULES = (
    "bundle",
    "config",
    "data",
    "doctor",
    "errors",
    "explain",
    "generate",
    "heads",
    "layers",
    "models",
    "tasks",
    "train",
    "words",
)

__all__ = [
    "Bundle",
    "Context",
    "Key",
    "Mask",
    "RegardError",
    "Tokenizer",
    "bundle",
    "config",
    "data",
    "doctor",
    "errors",
    "explain",
    "generate",
    "heads",
    "layers",
    "load",
    "models",
    "save",
    "tasks",
    "train",
    "words",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"regard.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'regard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
