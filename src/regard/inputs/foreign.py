"""What a tokenizer.json of unknown origin may ask for: checked before the library sees it.

The `tokenizers` library believes its files: an absent token or a wrong number ends in a panic, padding to 10^12 in an
abort, a regular expression runs for as long as it takes, a chain of replacements makes gigabytes out of a line.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping
from typing import Any, cast

from regard.errors import BadFileError
from regard.inputs import patterns
from regard.words import say

MOST_TOKENS = 1 << 22  # and so the largest number of a token; what was ever built has a quarter of that
MOST_ADDED = 1 << 18
LONGEST_TOKEN = 4096
LONGEST_PIECE = 512  # of a Unigram, whose pieces are tried one by one at every character
LONGEST_WORD = 1000  # of a WordPiece: its time grows with the square, and 100 is usual
MOST_STEPS = 64
MOST_GROWTH = 64  # times a text's length, after all of its replacements
MOST_SPECIALS = 64  # around a text

_MODELS = {"BPE": dict, "WordPiece": dict, "WordLevel": dict, "Unigram": list}


def check(document: Any, where: str) -> None:
    """Refuses, naming `where` and the part, a tokenizer.json that no honest program wrote."""
    try:
        if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
            raise Broken("no_model")
        vocab = _vocabulary(document["model"])
        _merges(document["model"], vocab)
        _added(document.get("added_tokens") or [], vocab)
        _pipeline(document)
    except Broken as error:
        raise BadFileError("inputs.not_a_tokenizer", where=where, why=str(error)) from None


class Broken(Exception):
    """A rule that the document breaks, as `say` puts it."""

    def __init__(self, key: str, /, **values: Any) -> None:
        super().__init__(say(f"inputs.broken.{key}", **values))


def merge(pair: Any, vocab: Mapping[str, int], place: object, *, prefix: str = "") -> tuple[str, str]:
    """A merge of two tokens into a third, all in the vocabulary: of others the library panics, all over the screen."""
    good = isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) and part for part in pair)
    if not good or not {*pair, pair[0] + pair[1].removeprefix(prefix)} <= vocab.keys():
        raise Broken("merge", place=place, merge=ascii(pair)[:60])
    return pair[0], pair[1]


def numbered(vocab: Mapping[str, Any]) -> Mapping[str, int]:
    """A vocabulary in which each token has a number of its own, and none a number that cannot be."""
    seen: set[int] = set()
    if len(vocab) > MOST_TOKENS:
        raise Broken("tokens", count=len(vocab), most=MOST_TOKENS)
    for token, number in vocab.items():
        if type(number) is not int or not 0 <= number < MOST_TOKENS or len(token) > LONGEST_TOKEN:
            raise Broken("number", token=ascii(token)[:40], number=ascii(number)[:40])
        if number in seen:
            raise Broken("twice", token=ascii(token)[:40], number=number)
        seen.add(number)
    return vocab


def _vocabulary(model: Mapping[str, Any]) -> Mapping[str, int]:
    kind = model.get("type", "BPE" if "merges" in model else "Unigram" if isinstance(model.get("vocab"), list) else "?")
    wanted, vocab = _MODELS.get(kind) if isinstance(kind, str) else None, model.get("vocab")
    if wanted is None or not isinstance(vocab, wanted):
        raise Broken("kind", kind=ascii(kind)[:40])
    if model.get("max_input_chars_per_word", 0) not in range(LONGEST_WORD + 1):
        raise Broken("word", most=LONGEST_WORD)
    if isinstance(vocab, dict):
        return numbered(vocab)
    vocab = cast(list[Any], vocab)
    for place, piece in enumerate(vocab):
        good = isinstance(piece, list) and len(piece) == 2 and isinstance(piece[0], str)
        if not good or type(piece[1]) not in (int, float) or len(piece[0]) > LONGEST_PIECE:
            raise Broken("piece", place=place, piece=ascii(piece)[:60])
    return {piece[0]: place for place, piece in enumerate(vocab)}


def _merges(model: Mapping[str, Any], vocab: Mapping[str, int]) -> None:
    merges, prefix = model.get("merges") or [], model.get("continuing_subword_prefix") or ""
    if not isinstance(merges, list) or not isinstance(prefix, str):
        raise Broken("merge", place=0, merge=ascii(prefix or merges)[:60])
    for place, pair in enumerate(merges, start=1):
        merge(pair.split(" ") if isinstance(pair, str) else pair, vocab, place, prefix=prefix)


def _added(added: Any, vocab: Mapping[str, int]) -> None:
    """Added tokens stand in the vocabulary, or follow it: what else their numbers say, the library passes over."""
    if not isinstance(added, list) or len(added) > MOST_ADDED:
        raise Broken("added", most=MOST_ADDED)
    taken = set(vocab.values())
    for one in added:
        token, number = (one.get("content"), one.get("id")) if isinstance(one, dict) else (None, None)
        if not isinstance(token, str) or not token or len(token) > LONGEST_TOKEN:
            raise Broken("number", token=ascii(token)[:40], number=ascii(number)[:40])
        if type(number) is not int or not 0 <= number < MOST_TOKENS:
            raise Broken("number", token=ascii(token)[:40], number=ascii(number)[:40])
        if token.isspace() and (one.get("lstrip") or one.get("rstrip")):  # at each space all of them are looked through
            raise Broken("strip", token=ascii(token)[:40])
        if vocab.get(token, number) != number or (token not in vocab and number in taken):
            raise Broken("twice", token=ascii(token)[:40], number=number)
        taken.add(number)


def _pipeline(document: Mapping[str, Any]) -> None:
    """What runs on each text: of few steps, its patterns harmless, its replacements short."""
    growth = 1
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        steps = list(_steps(document.get(part)))
        if len(steps) > MOST_STEPS:
            raise Broken("steps", part=part, count=len(steps), most=MOST_STEPS)
        for step in steps:
            pattern = step.get("pattern")
            if isinstance(pattern, dict) and "Regex" in pattern and (why := patterns.fault(pattern["Regex"])):
                raise Broken("pattern", part=part, pattern=ascii(pattern["Regex"])[:80], why=why)
            if part in ("normalizer", "pre_tokenizer"):  # decoding is done by inputs/surface.py
                growth *= _growth(step)
            if step.get("type") == "TemplateProcessing" and len(step.get("single") or []) > MOST_SPECIALS:
                raise Broken("steps", part=part, count=len(step["single"]), most=MOST_SPECIALS)
    if growth > MOST_GROWTH:
        raise Broken("growth", most=MOST_GROWTH)


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """A step, or all that a sequence of steps holds, down to the depth that any JSON of ours has."""
    if isinstance(part, dict):
        yield part
        for below in ("normalizers", "pretokenizers", "processors", "decoders"):
            for step in part.get(below) or []:
                yield from _steps(step)


def _growth(step: Mapping[str, Any]) -> int:
    """How many times longer a step can make a text, in bytes."""
    if step.get("type") in ("Prepend", "Append", "Replace"):
        added = next((value for key in ("content", "prepend") if isinstance(value := step.get(key), str)), "")
        if len(added) > MOST_GROWTH:
            return len(added)  # even once for each text
        if step["type"] != "Replace":
            return 1
        pattern = step.get("pattern")
        replaced = pattern.get("String") if isinstance(pattern, dict) else None
        shortest = len(replaced.encode()) if isinstance(replaced, str) else 1
        return max(1, -(-len(added.encode()) // max(shortest, 1)))
    if step.get("type") == "ByteLevel":  # most bytes become letters of two
        return 2
    if step.get("type") == "Precompiled":
        return _precompiled(step.get("precompiled_charsmap"))
    return 1


def _precompiled(encoded: Any) -> int:
    """Of SentencePiece's table of characters: 1 if it is one, and none of its replacements is long.

    A little-endian length, a trie of that many bytes, and the replacements, each ended by a NUL.
    """
    if encoded is None:
        return 1
    try:
        raw = base64.b64decode(encoded, validate=True)
        (length,) = struct.unpack_from("<I", raw)
    except (binascii.Error, struct.error, TypeError, ValueError) as error:
        raise Broken("charsmap") from error
    if length % 4 or length < 4 or 4 + length > len(raw):
        raise Broken("charsmap")
    return 1 if max(map(len, raw[4 + length :].split(b"\0")), default=0) <= MOST_GROWTH * 2 else MOST_GROWTH + 1
