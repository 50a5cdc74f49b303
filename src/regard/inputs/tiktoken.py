"""tiktoken's files: a token in base64 and its rank on each line; the rule that cuts words is not in them.

The rule and the special tokens go by the file's name, and for a bare `tokenizer.model` by Llama 3's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard import limits
from regard.errors import BadFileError
from regard.inputs import foreign, languages, sentence_piece
from regard.inputs.surface import LETTER_OF

LARGEST = 64 * limits.MIB
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN = CL100K.replace("{1,3}", "")
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_END = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_END}|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_END}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Rule:
    """How words are cut, and the special tokens of a vocabulary of so many tokens by number."""

    pattern: str
    specials: Callable[[int], dict[str, int]]


def _following(*names: str) -> Callable[[int], dict[str, int]]:
    return lambda size: {name: size + place for place, name in enumerate(names)}


def _whisper(size: int) -> dict[str, int]:
    """In the order of Whisper's own tokenizer: 99 languages, and the 1,501 times of 30 seconds."""
    spoken = [f"<|{name}|>" for name in languages.WHISPER[:99]]
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    times = [f"<|{place * 0.02:.2f}|>" for place in range(1501)]
    return _following(_TEXT, "<|startoftranscript|>", *spoken, *(f"<|{name}|>" for name in tasks), *times)(size)


_FILLS = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_LLAMA_3 = ("begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1",
            "reserved_special_token_2", "reserved_special_token_3", "start_header_id", "end_header_id",
            "reserved_special_token_4", "eot_id",
            *(f"reserved_special_token_{number}" for number in range(5, 251)))  # fmt: skip
RULES = {
    "gpt2": Rule(GPT_2, _following(_TEXT)),
    "r50k_base": Rule(GPT_2, lambda size: {_TEXT: size}),
    "p50k_base": Rule(GPT_2, lambda size: {_TEXT: 50_256}),
    "cl100k_base": Rule(CL100K, lambda size: {**_following(_TEXT, *_FILLS)(size + 1), "<|endofprompt|>": size + 20}),
    "o200k_base": Rule(O200K, lambda size: {_TEXT: size + 1, "<|endofprompt|>": size + 20}),
    "qwen": Rule(QWEN, _following(_TEXT, "<|im_start|>", "<|im_end|>", *(f"<|extra_{n}|>" for n in range(205)))),
    "multilingual": Rule(GPT_2, _whisper),
    "tokenizer": Rule(CL100K, _following(*(f"<|{name}|>" for name in _LLAMA_3))),
}


def is_one(path: Path) -> bool:
    """Whether a file is of this kind and not SentencePiece's: by its first line."""
    with open(path, "rb") as file:
        token, _, rank = file.readline(4096).strip().partition(b" ")
    return rank.isdigit() and token.isascii() and _bytes(token) is not None


def document(path: Path) -> dict[str, Any]:
    """The tokenizer.json that the file comes to."""
    rule = RULES.get(path.stem)
    if rule is None:
        raise BadFileError("inputs.tiktoken_rule", file=path, known=", ".join(RULES))
    try:
        vocab = _vocabulary(limits.read_bytes(path, most=LARGEST))
        made = _document(vocab, rule)
        foreign.check(made, str(path))
    except foreign.Broken as error:
        raise BadFileError("inputs.not_a_tokenizer", where=str(path), why=str(error)) from None
    return made


def _vocabulary(raw: bytes) -> dict[str, int]:
    """Tokens as a byte-level vocabulary spells them; every byte is one of them."""
    vocab: dict[str, int] = {}
    for number, line in enumerate(raw.splitlines(), start=1):
        token, _, rank = line.partition(b" ")
        spelled = _bytes(token)
        if not line.strip():
            continue
        if not spelled or not rank.isdigit() or len(rank) > 9 or len(spelled) > foreign.LONGEST_PIECE:
            raise foreign.Broken("rank", line=number, text=ascii(line[:60]))
        name = "".join([LETTER_OF[byte] for byte in spelled])
        if name in vocab:
            raise foreign.Broken("rank", line=number, text=ascii(line[:60]))
        vocab[name] = int(rank)
    if not set(LETTER_OF.values()) <= vocab.keys():
        raise foreign.Broken("bytes")
    return vocab


def _document(vocab: dict[str, int], rule: Rule) -> dict[str, Any]:
    names = sorted(vocab, key=vocab.__getitem__)
    places = {name: place for place, name in enumerate(names)}
    scores = [-float(vocab[name]) for name in names]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    specials = rule.specials(vocab[names[-1]] + 1)  # in the vocabulary too, for the library leaves no number out
    split = {"type": "Split", "pattern": {"Regex": rule.pattern}, "behavior": "Isolated", "invert": False}
    spelled = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": at, "content": name, "special": True, **flags} for name, at in specials.items()],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, spelled]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
            "vocab": {**vocab, **specials}, "merges": sentence_piece.merges(set(names), places, scores),
        },
    }  # fmt: skip


def _bytes(token: bytes) -> bytes | None:
    try:
        return base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        return None
