"""Seeing inside a model: attention, what each head does and is worth, saliency, and what each layer would answer.

    found = explain(bundle, "今天天气很好")          # decoder-only: why this next token?
    found = explain(bundle, "a dull film", "neg")   # classifier: why (not) this label?
    html.write(found.report(), "explain.html")

Everything is seen from outside: no layer knows that it is being watched, and afterwards the model is as it was. Reading
order: explanation, question, sites, attention, patterns, ablation, rollout, saliency, lens.

Names resolve on first use, so that the command line can be read without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.explain.explanation import Explanation, explain

_WHERE = {"Explanation": "explain.explanation", "explain": "explain.explanation"}

__all__ = ["Explanation", "explain"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"regard.{_WHERE[name]}"), name)
