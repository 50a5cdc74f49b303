"""What stands after the stack. A head computes its losses, as sums: whoever knows the whole batch divides."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.heads.classify import Classify, Pool
    from regard.heads.language import Language, Transform

__all__ = [
    "Classify",
    "Pool",
    "Language",
    "Transform",
]

_WHERE = {
    "Classify": "heads.classify",
    "Pool": "heads.classify",
    "Language": "heads.language",
    "Transform": "heads.language",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"regard.{_WHERE[name]}"), name)
