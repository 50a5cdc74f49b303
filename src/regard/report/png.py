"""The figures of a report as one PNG, drawn by matplotlib: what the page shows, standing still."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regard import errors
from regard.report.sections import (
    Attention,
    Bars,
    Chapter,
    Curves,
    Label,
    Lens,
    Report,
    Saliency,
    Section,
    finite,
    message,
    readable,
    spoken,
    visible,
)
from regard.words import language, say

WIDTH = 10.0  # inches
MOST_LABELS = 60
CHINESE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Hiragino Sans GB",
    "Microsoft YaHei", "SimHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Noto Sans CJK JP", "Noto Sans CJK TC",
    "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip


def write(report: Report, path: str | Path) -> str | None:
    """Draw the report's figures into `path`; returns a sentence on what could not be shown as it is, or None."""
    errors.need("matplotlib", extra="plots")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = [one for one in _flat(report.sections) if type(one) in _DRAWN]
    if not figures:
        raise errors.RegardError("report.png.nothing")
    font = chinese_font()
    names = _names(report, font)
    heights = [_HEIGHT[type(one)](one) for one in figures]
    with rc_context(_settings(font)), warnings.catch_warnings():
        # No font has every character; a box in its place is seen in the picture, a warning for each is noise.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        FigureCanvasAgg(canvas)
        parts: Any = canvas.subfigures(len(figures), 1, height_ratios=heights, squeeze=False)
        for part, one in zip(parts[:, 0], figures, strict=True):
            part.suptitle(names(one.title), fontsize=12, fontweight="bold")
            _DRAWN[type(one)](part, one, names)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, dpi=130, format="png")
    return say("report.png.no_glyphs") if names.lacking else None


def chinese_font() -> str | None:
    """A font of this system that has Chinese characters, by name, or None."""
    from matplotlib import font_manager

    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return next((name for name in CHINESE_FONTS if name in installed), None)


class _Names:
    """Labels as the fonts at hand can show them; `lacking` once one had to give way to its position."""

    def __init__(self, language_shown: Any, wide: bool) -> None:
        self.language, self.wide, self.lacking = language_shown, wide, False

    def __call__(self, label: Label) -> str:
        text = readable(str(spoken(label, self.language)))
        if not self.wide and not _narrow(text):
            self.lacking = True
            text = "".join(one if _narrow(one) else "□" for one in text)
        return text.replace("$", r"\$")  # a bare one would start matplotlib's formula mode

    def tokens(self, tokens: Sequence[Label]) -> list[str]:
        shown = [_cut(visible(token) if isinstance(token, str) else self(token)) for token in tokens]
        if not self.wide and any(not _narrow(text) for text in shown):
            self.lacking = True
            shown = [text if _narrow(text) else f"#{at}" for at, text in enumerate(shown)]
        return [text.replace("$", r"\$") for text in shown]


def _names(report: Report, font: str | None) -> _Names:
    if font is not None:
        return _Names(language(), wide=True)
    names = _Names("en", wide=False)
    names.lacking = language() != "en"
    return names


def _narrow(text: str) -> bool:
    return all(ord(letter) < 0x2E80 for letter in text)


def _cut(text: str) -> str:
    return text if len(text) <= 12 else text[:11] + "…"


def _settings(font: str | None) -> Any:
    families = [font, "DejaVu Sans"] if font else ["DejaVu Sans"]
    return {
        "font.family": families, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
        "figure.facecolor": "#fbfaf7", "axes.facecolor": "#fbfaf7", "axes.unicode_minus": False,
    }  # fmt: skip


def _flat(sections: Sequence[Section | Chapter]) -> list[Any]:
    return [each for one in sections for each in (_flat(one.sections) if isinstance(one, Chapter) else [one])]


def _heat() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    stops = ["#f7f4ee", "#f6d9a8", "#eb9a5e", "#c9484f", "#7d2261", "#2f0f45"]  # the page's own, in light
    return LinearSegmentedColormap.from_list("heat", stops)


def _map(axes: Any, weights: Any) -> Any:
    from matplotlib.colors import PowerNorm

    return axes.imshow(finite(weights), cmap=_heat(), norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")


def _curves(part: Any, section: Curves, names: _Names) -> None:
    axes = part.subplots()
    for one in section.curves:
        x = finite(one.x)
        (line,) = axes.plot(x, finite(one.y), label=names(one.name), linewidth=1.5)
        if one.low is not None and one.high is not None:
            axes.fill_between(x, finite(one.low), finite(one.high), alpha=0.2, color=line.get_color(), linewidth=0)
    for level in section.levels:
        axes.axhline(level.value, linestyle="--", color="#6d6860", linewidth=1, label=names(level.name))
    axes.set_xlabel(names(section.x))
    axes.set_ylabel(names(section.y))
    if section.curves or section.levels:
        axes.legend(frameon=False)


def _bars(part: Any, section: Bars, names: _Names) -> None:
    axes = part.subplots()
    places = range(len(section.bars))
    values = [one.value for one in section.bars]
    axes.barh(places, values, color=["#a3313f" if one.marked else "#6a6f78" for one in section.bars])
    for at, one in enumerate(section.bars):
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [at, at], color="#1d1b18", marker="|")
        axes.annotate(f" {one.value:.4g}", (max(0.0, one.value, one.high or 0.0), at), va="center")
    axes.set_yticks(places, [names(one.name) for one in section.bars])
    axes.invert_yaxis()
    axes.set_xlabel(names(section.unit))


def _attention(part: Any, section: Attention, names: _Names) -> None:
    """All heads small on the left, the one whose switching off changes most in full on the right."""
    kept = [one for one in section.heads if one.weights is not None]
    if not kept:
        return
    layers, heads = sorted({one.layer for one in kept}), sorted({one.head for one in kept})
    left, right = part.subfigures(1, 2, width_ratios=[max(0.35, min(1.2, len(heads) / 7)), 1])
    small = left.subplots(len(layers), len(heads), squeeze=False)
    for axes in small.flat:
        axes.set(xticks=[], yticks=[])
    for one in kept:
        axes = small[layers.index(one.layer), heads.index(one.head)]
        _map(axes, one.weights)
        axes.set_title(f"{one.layer}.{one.head}", fontsize=6, pad=2)
    best = max(kept, key=lambda one: abs(one.effect or 0.0))
    axes = right.subplots()
    bar = right.colorbar(_map(axes, best.weights), ax=axes, shrink=0.6)
    bar.outline.set_visible(False)
    title = names(message("report.page.layer_head", layer=best.layer, head=best.head))
    axes.set_title(title if best.effect is None else f"{title}  ({best.effect:+.4f})", fontsize=9)
    _ticks(axes.set_yticks, names.tokens(section.queries), {})
    _ticks(axes.set_xticks, names.tokens(section.keys), {"rotation": 90})


def _ticks(place: Callable[..., Any], tokens: list[str], style: dict[str, Any]) -> None:
    every = max(1, math.ceil(len(tokens) / MOST_LABELS))
    shown = range(0, len(tokens), every)
    upright = all(len(token) < 3 for token in tokens)
    place(list(shown), [tokens[at] for at in shown], fontsize=7, **({} if upright else style))


def _lens(part: Any, section: Lens, names: _Names) -> None:
    axes = part.subplots()
    probabilities = finite(section.probabilities)[:, :, 0]
    bar = part.colorbar(_map(axes, probabilities), ax=axes, shrink=0.6)
    bar.outline.set_visible(False)
    if len(section.tokens) <= MOST_LABELS // 2:
        for layer, row in enumerate(section.best):
            for at, shown in enumerate(names.tokens([answers[0] for answers in row])):
                ink = "#fbfaf7" if probabilities[layer, at] > 0.25 else "#1d1b18"
                axes.annotate(shown, (at, layer), ha="center", va="center", fontsize=7, color=ink)
    axes.set_yticks(range(len(section.layers)), [names(one) for one in section.layers], fontsize=7)
    axes.invert_yaxis()
    _ticks(axes.set_xticks, names.tokens(section.tokens), {"rotation": 90})


def _saliency(part: Any, section: Saliency, names: _Names) -> None:
    rows = np.atleast_1d(part.subplots(len(section.methods), 1, sharex=True))
    for axes, method in zip(rows, section.methods, strict=True):
        values = finite(method.values)
        axes.bar(range(len(values)), values, color=np.where(values < 0, "#2f6fb5", "#c8452f"))
        axes.axhline(0, color="#6d6860", linewidth=0.8)
        axes.set_title(names(method.name), fontsize=8, loc="left")
    _ticks(rows[-1].set_xticks, names.tokens(section.tokens), {"rotation": 90})


_DRAWN: dict[type, Callable[[Any, Any, _Names], None]] = {
    Curves: _curves,
    Bars: _bars,
    Attention: _attention,
    Lens: _lens,
    Saliency: _saliency,
}
_HEIGHT: dict[type, Callable[[Any], float]] = {
    Curves: lambda one: 3.6,
    Bars: lambda one: 1.2 + 0.32 * len(one.bars),
    Attention: lambda one: max(4.6, 0.7 * len({head.layer for head in one.heads})),
    Lens: lambda one: 1.4 + 0.3 * len(one.layers),
    Saliency: lambda one: 0.9 + 1.3 * len(one.methods),
}
