"""SentencePiece's table of characters, applied as SentencePiece applies it: at each place the longest match.

`tokenizers` has a step of the same table ("Precompiled") that goes by graphemes instead: it tears Hangul apart and
drops marks. A tokenizer whose table is taken out of it (`taken`) is prepared here and stays equal to what its model was
trained with.

The table: four little-endian bytes, the length of a double array (Aoe 1989; as in darts-clone), the array of 32-bit
units, then the replacements, each ended by a NUL.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from array import array
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import tokenizers

from regard.inputs import foreign

LONGEST = 64  # bytes of what is replaced; in the tables that SentencePiece brings it has up to 18
KEY = "charsmap"  # in our own settings: the table runs here, not in the library
_LABEL = 0x800000FF


class Charsmap:
    """What is replaced by what, looked up when a text asks for it."""

    def __init__(self, units: array[int], replacements: bytes) -> None:
        self._units, self._replacements = units, replacements
        self._rules: dict[str, str | None] = {}
        self._single: dict[int, str] = {}  # what `str.translate` wants
        self._seen: set[str] = set()
        self._pairs: dict[tuple[str, str], bool] = {}

    def __call__(self, text: str) -> str:
        if any(self._begins(pair) for pair in set(pairwise(text))):
            return self._longest_first(text)
        letters = set(text) - self._seen
        self._single |= {ord(one): new for one in letters if (new := self._rule(one)) is not None}
        self._seen |= letters
        return text.translate(self._single)

    def _longest_first(self, text: str) -> str:
        found, place = [], 0
        while place < len(text):
            length = 1
            if self._begins((text[place], text[place + 1 : place + 2])):
                length = 2
                most = min(LONGEST, len(text) - place)
                while length < most and self._walk(text[place : place + length + 1]) is not None:
                    length += 1
                while length > 1 and self._rule(text[place : place + length]) is None:
                    length -= 1
            part = text[place : place + length]
            new = self._rule(part)
            found.append(part if new is None else new)
            place += length
        return "".join(found)

    def _begins(self, pair: tuple[str, str]) -> bool:
        """Whether some rule begins with these two characters."""
        known = self._pairs.get(pair)
        if known is None:
            known = self._pairs[pair] = bool(pair[1]) and self._walk(pair[0] + pair[1]) is not None
        return known

    def _rule(self, old: str) -> str | None:
        if old not in self._rules:
            node = self._walk(old)
            self._rules[old] = None if node is None else self._value(node)
        return self._rules[old]

    def _walk(self, text: str) -> int | None:
        """The unit that the text leads to; None where no rule begins so."""
        units, node = self._units, 0
        for byte in text.encode("utf-8", "surrogatepass"):
            node = self._below(node) ^ byte
            if node >= len(units) or units[node] & _LABEL != byte:
                return None
        return node

    def _value(self, node: int) -> str | None:
        """A unit holds its label in bits 0-7, whether a value hangs on it in bit 8, the way to its children in bits
        10-30 (times 256 where bit 9 is set); a value's unit has bit 31."""
        below = self._below(node)
        if not self._units[node] >> 8 & 1 or below >= len(self._units):
            return None
        place = self._units[below] & 0x7FFFFFFF
        end = self._replacements.find(b"\0", place)
        return self._replacements[place:end].decode("utf-8", "replace") if end >= 0 else None

    def _below(self, node: int) -> int:
        unit = self._units[node]
        return node ^ unit >> 10 << ((unit & 1 << 9) >> 6)


def read(raw: bytes) -> Charsmap:
    """The table out of its bytes; refuses (`foreign.Broken`) one that no honest program wrote."""
    if len(raw) < 8:
        raise foreign.Broken("charsmap")
    (length,) = struct.unpack_from("<I", raw)
    if length % 4 or length < 4 or 4 + length > len(raw):
        raise foreign.Broken("charsmap")
    blob = raw[4 + length :]
    if max(map(len, blob.split(b"\0"))) > 2 * foreign.MOST_GROWTH:
        raise foreign.Broken("charsmap")
    return Charsmap(array("I", struct.unpack_from(f"<{length // 4}I", raw, 4)), blob)


class Prepare:
    """What is done to a text before the library sees it: the steps before the table, the table."""

    def __init__(self, early: list[dict[str, Any]], step: Mapping[str, Any]) -> None:
        try:
            self.table = read(base64.b64decode(step["precompiled_charsmap"], validate=True))
        except (binascii.Error, TypeError, ValueError):
            raise foreign.Broken("charsmap") from None
        self.steps = [*early, dict(step)]
        self._early = None
        if early:
            bare = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {}, "unk_token": "?"}}
            normal = {"type": "Sequence", "normalizers": early}
            self._early = tokenizers.Tokenizer.from_str(json.dumps({**bare, "normalizer": normal})).normalizer

    def __call__(self, text: str) -> str:
        return self.table(text if self._early is None else self._early.normalize_str(text))


def taken(document: Mapping[str, Any]) -> tuple[dict[str, Any], Prepare | None]:
    """A tokenizer.json without its steps up to its table of characters, and these."""
    steps = _steps(document)
    place = next((at for at, step in enumerate(steps) if step.get("precompiled_charsmap")), None)
    if place is None:
        return dict(document), None
    left = {"type": "Sequence", "normalizers": steps[place + 1 :]}
    return {**document, "normalizer": left}, Prepare(steps[:place], steps[place])


def put_back(document: Mapping[str, Any], prepare: Prepare) -> dict[str, Any]:
    """The tokenizer.json as others read it."""
    return {**document, "normalizer": {"type": "Sequence", "normalizers": [*prepare.steps, *_steps(document)]}}


def _steps(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    normal = document.get("normalizer") or {}
    return normal.get("normalizers", []) if normal.get("type") == "Sequence" else [normal]
