"""What stands after the stack. A head computes its losses, as sums: whoever knows the whole batch divides."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.heads.classify import Choice, Classify, Pool, Score
    from regard.heads.contrast import Contrast
    from regard.heads.ctc import CTC
    from regard.heads.deconvolved import Deconvolved
    from regard.heads.detect import Detect, Layers
    from regard.heads.images import Codes, Pixels, Restore, Taught
    from regard.heads.language import Capped, Language, Transform
    from regard.heads.outline import Outline
    from regard.heads.pairs import AttentionPool, Pairs, SigmoidPairs, Vector
    from regard.heads.segment import ClassifyMaps, LastMap, Segment
    from regard.heads.speaker import Speaker
    from regard.heads.spectrum import Spectrum
    from regard.heads.tokens import Discriminate, Span, Tag
    from regard.heads.unified import Aside, Unified
    from regard.heads.vocoder import Vocoder
    from regard.heads.weights import Weights

__all__ = [
    "Choice",
    "Classify",
    "Pool",
    "Score",
    "Discriminate",
    "Span",
    "Tag",
    "Capped",
    "Language",
    "Transform",
    "Codes",
    "Pixels",
    "Restore",
    "Taught",
    "CTC",
    "Speaker",
    "Spectrum",
    "Vocoder",
    "Contrast",
    "Detect",
    "ClassifyMaps",
    "LastMap",
    "Segment",
    "Aside",
    "Outline",
    "Unified",
    "Layers",
    "Weights",
    "Deconvolved",
    "AttentionPool",
    "Pairs",
    "SigmoidPairs",
    "Vector",
]

_WHERE = {
    "Choice": "heads.classify",
    "Classify": "heads.classify",
    "Pool": "heads.classify",
    "Score": "heads.classify",
    "Discriminate": "heads.tokens",
    "Span": "heads.tokens",
    "Tag": "heads.tokens",
    "Capped": "heads.language",
    "Language": "heads.language",
    "Transform": "heads.language",
    "AttentionPool": "heads.pairs",
    "Pairs": "heads.pairs",
    "SigmoidPairs": "heads.pairs",
    "Vector": "heads.pairs",
    "Codes": "heads.images",
    "Pixels": "heads.images",
    "Restore": "heads.images",
    "Detect": "heads.detect",
    "ClassifyMaps": "heads.segment",
    "LastMap": "heads.segment",
    "Segment": "heads.segment",
    "Aside": "heads.unified",
    "Outline": "heads.outline",
    "Unified": "heads.unified",
    "Layers": "heads.detect",
    "Weights": "heads.weights",
    "Taught": "heads.images",
    "CTC": "heads.ctc",
    "Speaker": "heads.speaker",
    "Spectrum": "heads.spectrum",
    "Vocoder": "heads.vocoder",
    "Contrast": "heads.contrast",
    "Deconvolved": "heads.deconvolved",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"regard.{_WHERE[name]}"), name)
