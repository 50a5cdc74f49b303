"""SentencePiece's own file (Kudo and Richardson 2018), read without its library.

    model = read(path)      # the pieces in order, how it cuts, how it prepares a text

The file is one protobuf message (`sentencepiece_model.proto`); only what changes a token is read:

    ModelProto      1 pieces, 2 trainer_spec, 3 normalizer_spec
    SentencePiece   1 piece, 2 score, 3 type
    TrainerSpec     3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback, 40 unk_id
    NormalizerSpec  2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from regard import limits
from regard.errors import BadFileError
from regard.inputs import foreign

LARGEST = 64 * limits.MIB  # the largest known one, of 256,000 pieces, has 4.5
MOST_PIECES = 1 << 19  # each takes some 150 bytes of memory however short it is written
# Letters of all merges, each with two more: so many for each letter of a piece (Llama 2, Gemma and tiktoken's have 2 to
# 2.5), and what no vocabulary is too small for.
MOST_WAYS, FEW_WAYS = 4, 1 << 19
MOST_FIELDS = 4 * foreign.MOST_TOKENS
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE, WORD, CHAR = range(1, 5)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Piece(NamedTuple):
    """A token: how it is spelled, its score (of a BPE: minus its rank), and its kind."""

    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True, kw_only=True)
class Model:
    """unk: the number of the unknown piece. charsmap: the table of characters, empty where none is replaced.
    prefix: a space is put before each text; squeeze: spaces at the ends go, several become one."""

    pieces: tuple[Piece, ...]
    kind: int
    unk: int
    byte_fallback: bool
    charsmap: bytes
    prefix: bool
    squeeze: bool


def read(path: Path) -> Model:
    """The model of a file; a BadFileError names the file and the broken rule."""
    raw = limits.read_bytes(path, most=LARGEST)
    try:
        return _model(raw)
    except foreign.Broken as error:
        raise BadFileError("inputs.not_a_tokenizer", where=str(path), why=str(error)) from None


def _model(raw: bytes) -> Model:
    pieces: list[Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(raw):
        if number in (1, 2, 3) and not isinstance(value, bytes):
            raise foreign.Broken("protobuf")
        if number == 1:
            pieces.append(_piece(value, len(pieces)))
            if len(pieces) > MOST_PIECES:
                raise foreign.Broken("tokens", count=len(pieces), most=MOST_PIECES)
        elif number == 2:
            trainer |= dict(_fields(value))
        elif number == 3:
            normalizer |= dict(_fields(value))
    kind, unk = trainer.get(3, UNIGRAM), trainer.get(40, 0)
    if kind not in (UNIGRAM, BPE, CHAR):
        raise foreign.Broken("pieces", kind=ascii(kind)[:20])
    if not pieces or len({piece.text for piece in pieces}) != len(pieces):
        raise foreign.Broken("same_piece")
    if type(unk) is not int or not 0 <= unk < len(pieces) or pieces[unk].kind != UNKNOWN:
        raise foreign.Broken("no_unk", number=ascii(unk)[:40])
    charsmap = normalizer.get(2, b"")
    for switch in (trainer.get(24, 0), 1 - _switch(normalizer, 5)):
        if switch:
            raise foreign.Broken("suffix")
    if not isinstance(charsmap, bytes):
        raise foreign.Broken("charsmap")
    return Model(
        pieces=tuple(pieces), kind=kind, unk=unk, byte_fallback=bool(trainer.get(35, 0)), charsmap=charsmap,
        prefix=bool(_switch(normalizer, 3)), squeeze=bool(_switch(normalizer, 4)),
    )  # fmt: skip


def _switch(fields: dict[int, Any], number: int) -> int:
    """A boolean that is true where the file says nothing."""
    return 0 if fields.get(number, 1) == 0 else 1


def _piece(raw: bytes, place: int) -> Piece:
    told: dict[int, Any] = dict(_fields(raw))
    text: Any = told.get(1)
    score, kind = told.get(2, b"\0\0\0\0"), told.get(3, NORMAL)
    try:
        (number,) = struct.unpack("<f", score)
        spelled = text.decode("utf-8")
    except (AttributeError, TypeError, UnicodeDecodeError, struct.error):
        raise foreign.Broken("piece", place=place, piece=ascii(text)[:60]) from None
    good = spelled and "\0" not in spelled and len(spelled) <= foreign.LONGEST_PIECE and math.isfinite(number)
    if not good or kind not in range(NORMAL, BYTE + 1):
        raise foreign.Broken("piece", place=place, piece=ascii(text)[:60])
    return Piece(spelled, number, kind)


def merges(plain: set[str], vocab: Mapping[str, int], scores: Sequence[float]) -> list[list[str]]:
    """Every way to make a piece of two others, the best-scored piece first: what SentencePiece's search would take.

    Refuses (`foreign.Broken`) pieces that are made of one another in more ways, and longer ones, than a search that
    was trained leaves behind: that is a few for each piece."""
    found: list[tuple[float, int, int, int, int]] = []
    letters, most = 0, MOST_WAYS * (sum(map(len, plain)) + 2 * len(plain)) + FEW_WAYS
    for piece in plain:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in plain and right in plain:
                letters += len(piece) + 2
                found.append((-scores[vocab[piece]], -cut, cut - len(piece), vocab[left], vocab[right]))
        if letters > most:
            raise foreign.Broken("ways")
    found.sort()
    names = {vocab[piece]: piece for piece in plain}
    return [[names[left], names[right]] for *_, left, right in found]


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a message's fields: a number for a varint, bytes for the rest. Groups were never used here."""
    place, count = 0, 0
    while place < len(raw):
        key, place = _varint(raw, place)
        number, wire, count = key >> 3, key & 7, count + 1
        if not number or count > MOST_FIELDS:
            raise foreign.Broken("protobuf")
        if wire == _VARINT:
            value, place = _varint(raw, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(raw, place)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
        if not 0 <= length <= len(raw) - place:
            raise foreign.Broken("protobuf")
        yield number, raw[place : place + length]
        place += length


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    """(number, where the next begins); of at most ten bytes, as the format says."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(raw):
            break
        byte = raw[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & (1 << 64) - 1, place
    raise foreign.Broken("protobuf")
