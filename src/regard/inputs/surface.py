"""What tokens look like: the bytes that each stands for, joined to text without ever tearing a character."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers

from regard.errors import RegardError

# The bytes that a token adds to a text, given its string and that of the token before it (None at the beginning).
Surface = Callable[[str, str | None], bytes]


@dataclass(frozen=True)
class Spelling:
    """Token numbers to strings; which of them are special."""

    name: Callable[[int], str | None]
    specials: frozenset[int]
    size: int

    def __call__(self, number: int) -> str:
        # Not `name(number) or ...`: there is no negative number in Rust, and an empty string is a token too.
        found = self.name(int(number)) if 0 <= number < self.size else None
        if found is None:
            raise RegardError("inputs.no_such_token", number=number, size=self.size)
        return found


class StreamDecoder:
    """Text out of tokens that come one by one, never half a character."""

    def __init__(self, surface: Surface, spelling: Spelling, *, special: bool) -> None:
        self._surface, self._spelling, self._special = surface, spelling, special
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors=_HEX)
        self._before: str | None = None

    def feed(self, number: int) -> str:
        """What can be shown now that this token has come."""
        name = self._spelling(number)
        if number in self._spelling.specials:
            return self._bytes.decode(name.encode()) if self._special else ""
        data = self._surface(name, self._before)
        self._before = name
        return self._bytes.decode(data)

    def flush(self) -> str:
        """The bytes of a character that never became whole, as `<0xE6>`."""
        return self._bytes.decode(b"", final=True)


def pieces(surface: Surface, spelling: Spelling, ids: Sequence[int]) -> list[str]:
    """One string a token, each character at the token where it begins."""
    if surface is word_piece:
        return [spelling(number) for number in ids]
    found = [""] * len(ids)
    chunks = chunked(surface, spelling, ids)
    owners = [place for place, chunk in enumerate(chunks) for _ in chunk]
    for at, character in characters(b"".join(chunks)):
        found[owners[at]] += character
    return found


def chunked(surface: Surface, spelling: Spelling, ids: Iterable[int]) -> list[bytes]:
    """The bytes of each token, special tokens as spelled."""
    chunks: list[bytes] = []
    before: str | None = None
    for number in ids:
        name = spelling(number)
        special = number in spelling.specials
        chunks.append(name.encode() if special else surface(name, before))
        before = before if special else name
    return chunks


def characters(data: bytes) -> Iterator[tuple[int, str]]:
    """(where it begins, the character); a byte that belongs to none is `<0xE6>`."""
    place = 0
    while place < len(data):
        lead = data[place]
        length = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        try:
            character = data[place : place + length].decode()
        except UnicodeDecodeError:
            character, length = f"<0x{lead:02X}>", 1
        yield place, character
        place += length


def of(rust: tokenizers.Tokenizer) -> Surface:
    """How this tokenizer's tokens become bytes, by the decoder that its file names."""
    rules = _rules(rust)
    named = {rule["type"]: rule for rule in rules}
    added = {token.content for token in rust.get_added_tokens_decoder().values()}
    if "ByteLevel" in named:
        ending = getattr(rust.model, "end_of_word_suffix", None) or ""
        return lambda name, before: name.encode() if name in added else _from_byte_level(name, ending)
    if "WordPiece" in named:
        return word_piece
    if "ByteFallback" in named or "Metaspace" in named or "Replace" in named:
        strips = "Strip" in named or named.get("Metaspace", {}).get("prepend_scheme") in ("always", "first")
        spaced = "Metaspace" in named or "Replace" in named
        return lambda name, before: _from_spaced(name, spaced=spaced, strip=strips and before is None)
    if "BPEDecoder" in named:
        ending = named["BPEDecoder"].get("suffix", "</w>")
        return lambda name, before: name.replace(ending, " ").encode()
    if "Fuse" in named:
        return lambda name, before: name.encode()
    return lambda name, before: (name if before is None else f" {name}").encode()  # as `tokenizers` joins without one


def word_piece(name: str, before: str | None) -> bytes:
    """A WordPiece as it is written. Spaces are not in the tokens: they go where English and Chinese have them."""
    if name.startswith("##") and len(name) > 2:
        return name[2:].encode()
    tight = before is None or name in _CLOSING or before in _OPENING or _ends_chinese(before) or CHINESE.match(name)
    return (name if tight else f" {name}").encode()


def kind(rust: tokenizers.Tokenizer) -> str:
    """The kind of tokenizer, as `Tokenizer.train` names it."""
    model = rust.model
    if isinstance(model, tokenizers.models.BPE):
        # A vocabulary of single characters, with bytes for the rest, or of nothing but bytes, has no merges.
        longest = max(map(len, rust.get_vocab(with_added_tokens=False)), default=0)
        if longest == 1 and rust.get_vocab_size(with_added_tokens=False) == 256:
            return "bytes"
        return "characters" if model.byte_fallback and longest <= len("<0x00>") and not _merges(rust) else "bpe"
    return {"WordPiece": "wordpiece", "Unigram": "unigram"}.get(type(model).__name__, type(model).__name__.lower())


def lossless(rust: tokenizers.Tokenizer) -> bool:
    """Whether every text comes back unchanged: nothing is normalised, and bytes stand in for the unseen."""
    rules = {rule["type"] for rule in _rules(rust)}
    if rust.normalizer is not None or not isinstance(rust.model, tokenizers.models.BPE | tokenizers.models.Unigram):
        return False
    document = json.loads(rust.to_str())
    before = document.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", [before])
    if any(step.get("add_prefix_space") for step in steps):
        return False
    # With ▁ for a space, a ▁ in the text comes back as a space.
    whole = set(_BYTE_OF) <= set(rust.get_vocab()) if "ByteLevel" in rules else bool(rust.model.byte_fallback)
    return whole and not rules & {"Metaspace", "Replace"} and ("ByteLevel" in rules or not _spells_bytes(rust))


def _spells_bytes(rust: tokenizers.Tokenizer) -> bool:
    """Whether a text that spells <0x41> becomes that byte, as with a Unigram, which finds it as a piece."""
    return "<0x41>" in [token.value for token in rust.model.tokenize("<0x41>")]


def _rules(rust: tokenizers.Tokenizer) -> list[dict[str, Any]]:
    if rust.decoder is None:
        return []
    state = json.loads(rust.decoder.__getstate__())
    return state.get("decoders", [state])


def _merges(rust: tokenizers.Tokenizer) -> bool:
    return bool(json.loads(rust.to_str())["model"].get("merges"))


def byte_alphabet() -> dict[int, str]:
    """Byte to the printable character that stands for it in a byte-level vocabulary (Radford et al. 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


LETTER_OF = byte_alphabet()
_BYTE_OF = {letter: byte for byte, letter in LETTER_OF.items()}


def _from_byte_level(name: str, ending: str) -> bytes:
    ended = bool(ending) and name.endswith(ending)
    name = name.removesuffix(ending) if ended else name
    try:
        return bytes([_BYTE_OF[letter] for letter in name]) + (b" " if ended else b"")
    except KeyError:  # a token added as it stands
        return name.encode()


def _from_spaced(name: str, *, spaced: bool, strip: bool) -> bytes:
    if _BYTE.fullmatch(name):
        return bytes([int(name[3:5], 16)])
    text = name.replace("▁", " ") if spaced else name
    return (text[1:] if strip and text.startswith(" ") else text).encode()


_BYTE = re.compile("<0x[0-9A-F]{2}>")
CHINESE = re.compile("[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_CLOSING = frozenset(".,!?;:)]}%'’”»-/_…")
_OPENING = frozenset("([{'‘“«$#@-/_")


def _ends_chinese(name: str) -> bool:
    return bool(name) and CHINESE.match(name[-1]) is not None


_HEX = "regard-hex"


def _hexed(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_HEX, _hexed)
