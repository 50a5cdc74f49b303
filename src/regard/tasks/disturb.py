"""Small disturbances of a text that leave its meaning to a reader: slips of the keyboard, case, spaces, characters that
look or sound alike, neighbours in the wrong order.

    DISTURBANCES["typos"]("a good film", 0.1, draws)        # draws: numbers in [0, 1)

Each changes about a share `strength` of what it can change in a text, and at least one thing where there is one; the
text comes back as it was where there is none. What changes is decided by `draws` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

from regard.errors import need
from regard.tasks.alike import CHINESE, LATIN
from regard.tasks.scores import is_han

Draws = Iterator[float]
Disturbance = Callable[[str, float, Draws], str]

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_WORD = re.compile(rf"[^\W\d_{_HAN}]{{3,}}")  # letters, long enough to be known again after a slip
_UNIT = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")  # a Chinese character, or a word with the marks that touch it

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR = {key: row[max(0, at - 1) : at] + row[at + 1 : at + 2] for row in _ROWS for at, key in enumerate(row)}


def typos(text: str, strength: float, draws: Draws) -> str:
    """One slip in a word: neighbours exchanged, a letter left out, doubled, or hit beside; never the first letter."""
    return _replaced(text, [word.span() for word in _WORD.finditer(text)], strength, draws, _slip)


def case(text: str, strength: float, draws: Draws) -> str:
    """A word in capitals, or in small letters where it was in capitals."""
    words = [word.span() for word in _WORD.finditer(text) if word.group().upper() != word.group().lower()]
    return _replaced(text, words, strength, draws, lambda word, draws: _other_case(word))


def spacing(text: str, strength: float, draws: Draws) -> str:
    """Two words run together, or a blank between Chinese characters."""
    units = [unit.span() for unit in _UNIT.finditer(text)]
    between = [(a[1], b[0]) for a, b in pairwise(units)]
    return _replaced(text, between, strength, draws, lambda gap, draws: "" if gap else " ")


def lookalikes(text: str, strength: float, draws: Draws) -> str:
    """A character in the place of another of nearly the same shape."""
    known = _alike()
    places = [(at, at + 1) for at, letter in enumerate(text) if letter in known]
    return _replaced(text, places, strength, draws, lambda letter, draws: _pick(known[letter], draws))


def homophones(text: str, strength: float, draws: Draws) -> str:
    """A Chinese character in the place of another that is typed alike: of one reading, tones aside."""
    if not any(is_han(letter) for letter in text):
        return text
    typed = _typed()
    alike = {
        at: others
        for at, reading in enumerate(_readings(text))
        if is_han(text[at]) and (others := typed.get(reading, "").replace(text[at], ""))
    }
    places, letters = list(alike), list(text)
    for number in _chosen(len(places), strength, draws):
        letters[places[number]] = _pick(alike[places[number]], draws)
    return "".join(letters)


def order(text: str, strength: float, draws: Draws) -> str:
    """Two neighbouring words, or Chinese characters, exchanged; no unit moves twice."""
    units = [unit.span() for unit in _UNIT.finditer(text)]
    pairs = zip(units[::2], units[1::2], strict=False)  # a share of these pairs is as large a share of the units
    exchanged = {
        (start, end): text[middle:end] + text[first:middle] + text[start:first]
        for (start, first), (middle, end) in pairs
        if text[start:first] != text[middle:end]
    }
    spans, pieces, done = list(exchanged), [], 0
    for number in _chosen(len(spans), strength, draws):
        pieces += [text[done : spans[number][0]], exchanged[spans[number]]]
        done = spans[number][1]
    return "".join([*pieces, text[done:]])


DISTURBANCES: dict[str, Disturbance] = {
    "typos": typos,
    "case": case,
    "spacing": spacing,
    "lookalikes": lookalikes,
    "homophones": homophones,
    "order": order,
}


def _replaced(
    text: str, spans: list[tuple[int, int]], strength: float, draws: Draws, change: Callable[[str, Draws], str]
) -> str:
    """The text with the chosen spans, which do not overlap, changed."""
    pieces, end = [], 0
    for number in _chosen(len(spans), strength, draws):
        start, stop = spans[number]
        pieces += [text[end:start], change(text[start:stop], draws)]
        end = stop
    return "".join([*pieces, text[end:]])


def _chosen(count: int, strength: float, draws: Draws) -> list[int]:
    """About a share `strength` of the numbers below `count`, at least one of them if there are any."""
    drawn = [next(draws) for _ in range(count)]
    return [at for at, one in enumerate(drawn) if one < strength] or ([drawn.index(min(drawn))] if drawn else [])


def _pick(letters: str, draws: Draws) -> str:
    return letters[int(next(draws) * len(letters))]


def _slip(word: str, draws: Draws) -> str:
    at = 1 + int(next(draws) * (len(word) - 1))
    kind = int(next(draws) * 4)
    letter, near = word[at], _NEAR.get(word[at].lower(), "")
    if kind == 0 and at + 1 < len(word) and word[at + 1] != letter:
        return word[:at] + word[at + 1] + letter + word[at + 2 :]
    if kind == 1:
        return word[:at] + letter * 2 + word[at + 1 :]
    if kind == 2 and near:
        hit = _pick(near, draws)
        return word[:at] + (hit if letter.islower() else hit.upper()) + word[at + 1 :]
    return word[:at] + word[at + 1 :]


def _other_case(word: str) -> str:
    return word.lower() if word == word.upper() else word.upper()


@cache
def _alike() -> dict[str, str]:
    """Each character's look-alikes; a Latin one's come from other scripts, not the other way round."""
    found = {group[0]: group[1:] for group in LATIN}
    for group in CHINESE:
        for letter in group:
            others = [one for one in group if one != letter and one not in found.get(letter, "")]
            found[letter] = found.get(letter, "") + "".join(others)
    return {letter: others for letter, others in found.items() if others}


def _readings(text: str) -> list[str]:
    """The reading of each character as its phrase has it; "" for what is not Chinese."""
    pinyin = need("pypinyin", extra="text")
    found = pinyin.pinyin(text, style=pinyin.Style.NORMAL, errors=lambda other: [""] * len(other))
    return [reading[0] for reading in found]


@cache
def _typed() -> dict[str, str]:
    """The common characters of each reading: the 3,755 of GB 2312's first level."""
    rows = [bytes([row, cell]) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF)]
    letters = [row.decode("gb2312") for row in rows if row <= b"\xd7\xf9"]
    found: dict[str, str] = {}
    for letter in letters:
        reading = _readings(letter)[0]
        found[reading] = found.get(reading, "") + letter
    return found
