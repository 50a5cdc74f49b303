"""What SentencePiece does and the `tokenizers` library does otherwise, made good around the library.

Its table of characters (`charsmap`); special tokens and bytes, which it finds in no text though they stand among its
pieces; and pieces that a model's vocabulary lacks, which count as unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tokenizers

from regard.errors import RegardError
from regard.inputs.charsmap import Prepare
from regard.inputs.pieces import HIDDEN, OWN

_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Exact:
    """What stands around one tokenizer of the library; of most it is nothing."""

    def __init__(
        self, rust: tokenizers.Tokenizer, specials: frozenset[int], prepare: Prepare | None, own: Mapping[str, Any]
    ) -> None:
        """`own`: our own settings, as `pieces.read` makes them."""
        self.prepare, self._rust, self._specials = prepare, rust, specials
        told = own.get("unknown")
        good = isinstance(told, list) and len(told) == 2 and all(type(one) is int and one >= 0 for one in told)
        self._unknown = range(told[0], told[0] + told[1]) if good and told else range(0)
        self._unigram = own.get("unigram") is True and _unigram(rust)
        self._bytes = self._unigram and own.get("bytes") is True
        self._plain: tokenizers.Tokenizer | None = None
        self._unk: int | None = None  # of `_plain`

    @classmethod
    def of(
        cls, rust: tokenizers.Tokenizer, settings: Mapping[str, Any], specials: frozenset[int], prepare: Prepare | None
    ) -> Exact:
        own = settings.get(OWN)
        return cls(rust, specials, prepare, own if isinstance(own, dict) else {})

    def size(self, numbers: Iterable[int]) -> int:
        """One more than the largest number that is a token's own."""
        return max(number for number in numbers if number not in self._unknown) + 1

    def name(self, number: int) -> str | None:
        found = self._rust.id_to_token(number)
        return None if found is None else found.removeprefix(HIDDEN)

    def prepared(self, text: str) -> str:
        if HIDDEN in text:
            text = text.replace(HIDDEN, HIDDEN[1:])
        if self.prepare is None:
            return text
        try:
            return self.prepare(text)
        except (TypeError, UnicodeEncodeError):
            raise half_character(text) from None

    def known(self, ids: list[int]) -> list[int]:
        """With what counts as unknown by the number of the unknown."""
        if not self._unknown:
            return ids
        unk = self._rust.token_to_id("<unk>")
        return [unk if number in self._unknown and unk is not None else number for number in ids]

    def spells(self, text: str) -> bool:
        """Whether the text holds what looks like a piece that SentencePiece finds in none: <0x0A>, <unk>."""
        return self._unigram and ("<unk>" in text or "[UNK]" in text or (self._bytes and bool(_BYTE.search(text))))

    def without_specials(
        self, encode: Callable[[tokenizers.Tokenizer], tokenizers.Encoding], encoding: tokenizers.Encoding
    ) -> list[int]:
        """The numbers of a text in which special tokens, and bytes where these are such, are spelled."""
        if not _unigram(self._rust):
            return self._by_character(encoding)
        if self._plain is None:
            self._plain = self._hidden()
        found = encode(self._plain)
        ids: list[int] = []
        for number, token in zip(found.ids, found.tokens, strict=True):
            spelled = [self._rust.token_to_id(f"<0x{byte:02X}>") for byte in token.encode()] if self._bytes else []
            whole = number == self._unk and spelled and None not in spelled
            ids += [one for one in spelled if one is not None] if whole else [number]
        return ids

    def _hidden(self) -> tokenizers.Tokenizer:
        """The same tokenizer, whose special pieces no text becomes."""
        document = json.loads(self._rust.to_str())
        model = document["model"]
        self._unk = model["unk_id"]
        for number, piece in enumerate(model["vocab"]):
            special = number in self._specials and (self._unigram or number != self._unk)
            if special or (self._bytes and _BYTE.fullmatch(piece[0])):
                piece[0] = HIDDEN + piece[0]
        model["byte_fallback"] = model["byte_fallback"] and not self._bytes
        plain = {**document, "added_tokens": [], "post_processor": None}
        return tokenizers.Tokenizer.from_str(json.dumps(plain))

    def _by_character(self, encoding: tokenizers.Encoding) -> list[int]:
        """Where no rule says what a special piece would be without being one: its characters."""
        unk = getattr(self._rust.model, "unk_token", None)
        unknown = None if unk is None else self._rust.token_to_id(unk)
        controls = self._specials - {unknown}
        ids: list[int] = []
        for number, token in zip(encoding.ids, encoding.tokens, strict=True):
            if number not in controls:
                ids.append(number)
                continue
            ids += [one.id for letter in token for one in self._rust.model.tokenize(letter) if one.id not in controls]
        return ids


def half_character(text: str) -> RegardError:
    """What is said of a text that holds a lone surrogate."""
    at = next(place for place, letter in enumerate(text) if "\ud800" <= letter <= "\udfff")
    return RegardError("inputs.half_character", place=at + 1, code=ascii(text[at]))


def _unigram(rust: tokenizers.Tokenizer) -> bool:
    return isinstance(rust.model, tokenizers.models.Unigram)
