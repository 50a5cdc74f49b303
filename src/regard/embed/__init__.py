"""What stands before the stack: tokens here; patches and frames in the same way."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.embed.codes import Codebook, Convolved
    from regard.embed.convolution import FeatureMap, ResidualNet
    from regard.embed.frames import Convolution, Frames
    from regard.embed.painted import TextThenGrid
    from regard.embed.patches import GridPositions, OverlappingPatches, Patches, VisiblePatches
    from regard.embed.spectra import Spectra
    from regard.embed.tokens import Axial, Learned, ScaledSinusoidal, Sinusoidal, Tokens, Widened
    from regard.embed.waves import Spans, Waves

__all__ = [
    "Tokens",
    "Axial",
    "Learned",
    "Sinusoidal",
    "Widened",
    "Patches",
    "GridPositions",
    "VisiblePatches",
    "OverlappingPatches",
    "FeatureMap",
    "ResidualNet",
    "Convolution",
    "Frames",
    "Waves",
    "Spectra",
    "ScaledSinusoidal",
    "Spans",
    "Codebook",
    "Convolved",
    "TextThenGrid",
]

_WHERE: dict[str, str] = dict.fromkeys(("Tokens", "Axial", "Learned", "Sinusoidal", "Widened"), "embed.tokens")
_WHERE |= dict.fromkeys(("Patches", "GridPositions", "VisiblePatches", "OverlappingPatches"), "embed.patches")
_WHERE |= dict.fromkeys(("Convolution", "Frames"), "embed.frames")
_WHERE |= dict.fromkeys(("Waves", "Spans"), "embed.waves")
_WHERE |= dict.fromkeys(("FeatureMap", "ResidualNet"), "embed.convolution")
_WHERE |= {"Spectra": "embed.spectra", "ScaledSinusoidal": "embed.tokens"}
_WHERE |= {"Codebook": "embed.codes", "Convolved": "embed.codes", "TextThenGrid": "embed.painted"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"regard.{_WHERE[name]}"), name)
