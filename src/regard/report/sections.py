"""What a report is made of. A section knows titles, numbers and arrays; it knows nothing of models.

    report = Report(
        title=message("report.about.title"),
        sections=(
            Chapter(title="Pretraining", sections=(
                Curves(title="Loss", curves=(Curve(name="train", x=steps, y=losses),), x="step", y="nats"),
                Table(title="Scores", columns=("model", "accuracy"), rows=(("majority", 0.51), ("ours", 0.78))),
            )),
        ),
    )
    html.write(report, "report.html"); png.write(report, "report.png"); terminal.show(report)

Everything a reader sees is a `Label`: a plain string (a token, a file name, a user's own title: shown as it is, in both
languages) or a `Message` (a key of the message table, shown in the reader's language). Arrays are anything numpy takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from regard import words


@dataclass(frozen=True)
class Message:
    """A key of the message table with its values; a value may itself be a Message."""

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def spoken(self, language: words.Language) -> str:
        values = {name: spoken(value, language) for name, value in self.values.items()}
        return words.say_in(language, self.key, **values)


def message(key: str, /, **values: Any) -> Message:
    return Message(key, values)


Label = str | Message
Cell = str | Message | int | float | None


def spoken(value: Any, language: words.Language) -> Any:
    """A Message as a sentence in `language`; anything else as it is."""
    return value.spoken(language) if isinstance(value, Message) else value


@dataclass(frozen=True, kw_only=True, eq=False)
class Text:
    title: Label = ""
    paragraphs: Sequence[Label] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Note:
    """One remark: `caution` for what could be misread, `good` for a check that held, `bad` for one that failed."""

    text: Label
    kind: Literal["note", "caution", "good", "bad"] = "note"


@dataclass(frozen=True, kw_only=True, eq=False)
class Number:
    """One headline figure with what it is measured in and one line beneath it."""

    label: Label
    value: Cell
    unit: Label = ""
    about: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Numbers:
    numbers: Sequence[Number]
    title: Label = ""
    note: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows of cells; columns of numbers are set flush right. `marked` names the rows to be seen first."""

    columns: Sequence[Label]
    rows: Sequence[Sequence[Cell]]
    title: Label = ""
    note: Label = ""
    marked: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One line; `low` and `high`, where given, are drawn as a band around it. What is not finite leaves a gap."""

    name: Label
    x: Any
    y: Any
    low: Any = None
    high: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """A horizontal line to hold the curves against: a baseline's score."""

    name: Label
    value: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    curves: Sequence[Curve]
    title: Label = ""
    x: Label = ""
    y: Label = ""
    levels: Sequence[Level] = ()
    note: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bar:
    """One bar; `low` and `high` draw a whisker (spread over seeds); `marked` sets it apart from the others."""

    name: Label
    value: float
    low: float | None = None
    high: float | None = None
    marked: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Bars:
    bars: Sequence[Bar]
    title: Label = ""
    unit: Label = ""
    note: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """What a model was given and what it made of it; line breaks are kept. `verdict` colours the edge."""

    made: Label
    given: Label = ""
    expected: Label = ""
    remark: Label = ""
    verdict: Literal["", "good", "bad"] = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    samples: Sequence[Example]
    title: Label = ""
    note: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern:
    """A way of attending that can be measured: `name` is the short key, `label` and `about` are read."""

    name: str
    label: Label
    about: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """One attention head. `weights` (T, S) or None where only its measures are kept; `scores` by pattern name, absent
    where a pattern does not apply; `pattern` the name that fits, if one does; `effect` of switching the head off."""

    layer: int
    head: int
    weights: Any = None
    scores: Mapping[str, float] = field(default_factory=dict)
    pattern: str | None = None
    effect: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """Attention from `queries` (T tokens) to `keys` (S tokens), head by head. `rollout` (T, S) or None."""

    queries: Sequence[str]
    keys: Sequence[str]
    heads: Sequence[Head]
    patterns: Sequence[Pattern] = ()
    title: Label = ""
    effect: Label = ""
    rollout: Any = None
    note: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lens:
    """What each layer would answer. `tokens` head the columns (n), `layers` name the rows (L); `best` (L, n, k) are the
    top answers, best first, and `probabilities` (L, n, k) their probabilities. `chosen` is the column of interest."""

    tokens: Sequence[Label]
    layers: Sequence[Label]
    best: Sequence[Sequence[Sequence[str]]]
    probabilities: Any
    title: Label = ""
    chosen: int | None = None
    note: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """One way to give each token a number; where they have signs, + speaks for the answer and - against it. `check` is
    a sentence on how far the numbers can be trusted, such as a sum that must come out."""

    name: Label
    values: Any
    about: Label = ""
    check: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Saliency:
    tokens: Sequence[str]
    methods: Sequence[Method]
    title: Label = ""
    answer: Label = ""
    note: Label = ""


Section = Text | Note | Numbers | Table | Curves | Bars | Samples | Attention | Lens | Saliency


@dataclass(frozen=True, kw_only=True, eq=False)
class Chapter:
    title: Label
    sections: Sequence[Section]
    about: Label = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """`facts` are pairs of what and its value that stand under the title: model, parameters, device, date."""

    title: Label
    sections: Sequence[Section | Chapter]
    about: Label = ""
    facts: Sequence[tuple[Label, Cell]] = ()


def finite(values: Any) -> np.ndarray:
    """The values as float32, to be shown: what is not finite becomes NaN (a gap), never a number."""
    array = np.asarray(values, dtype=np.float32)
    return np.where(np.isfinite(array), array, np.float32("nan"))


def visible(text: str) -> str:
    """`text` with everything that has no shape of its own, or that reorders its neighbours, given a shape."""
    return "".join(_shape(character) for character in text)


def readable(text: str) -> str:
    """The same for running text: spaces and line breaks stay what they are."""
    return "".join(one if one in " \n\t\u3000" else _shape(one) for one in text)


def _shape(character: str) -> str:
    code = ord(character)
    if character in _SHAPES:
        return _SHAPES[character]
    if code < 0x20 or 0x7F <= code < 0xA0 or code in _INVISIBLE or 0xD800 <= code < 0xE000:
        return f"⟨U+{code:04X}⟩"
    return character


_SHAPES = {" ": "␣", "\n": "↵", "\t": "⇥"}
_INVISIBLE = frozenset(
    [0x00A0, 0x00AD, 0x061C, 0x180E, 0xFEFF, 0x2028, 0x2029, 0x3000]
    + [*range(0x2000, 0x2010), *range(0x202A, 0x2030), *range(0x205F, 0x2070), *range(0xFFF9, 0xFFFC)]
)
