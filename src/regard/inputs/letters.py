"""The alphabets of models that spell what they hear: vocab.json, a letter a token, spaces written as a mark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from regard import limits
from regard.errors import BadFileError
from regard.inputs import foreign

SPACE = "▁"  # what stands for a space in a vocabulary of ours, whatever the file's mark is
_ROLES = ("pad", "bos", "eos", "unk")
_USUAL = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"}


def load(path: Path, settings: Mapping[str, Any], values: int) -> tokenizers.Tokenizer:
    """The tokenizer of a vocab.json that comes without merges. A text is spelled letter by letter; what the alphabet
    lacks is unknown. Of an alphabet for each of many languages, the settings' ``target_lang`` says which."""
    vocab = limits.read_json(path, values=values)
    language = settings.get("target_lang")
    if isinstance(vocab, dict) and any(isinstance(value, dict) for value in vocab.values()):
        if not isinstance(language, str) or language not in vocab:
            raise BadFileError("inputs.language", where=str(path), name=language, known=", ".join(sorted(vocab))[:300])
        vocab = vocab[language]
    try:
        vocab = dict(foreign.numbered(vocab if isinstance(vocab, dict) else {"": vocab}))
    except foreign.Broken as error:
        raise BadFileError("inputs.not_a_tokenizer", where=str(path), why=str(error)) from None
    if not _spells(vocab, settings):
        raise BadFileError("inputs.half_a_tokenizer", folder=str(path.parent))
    return built(vocab, settings, str(path))


def _spells(vocab: Mapping[str, int], settings: Mapping[str, Any]) -> bool:
    """Whether this is an alphabet, and not the vocabulary of a BPE whose merges are missing."""
    special = {_spelled(settings, role) for role in _ROLES}
    letters = (len(name) == 1 or name in special or name[0] + name[-1] in ("<>", "[]") for name in vocab if name)
    return "CTC" in str(settings.get("tokenizer_class")) or all(letters)


def built(vocab: Mapping[str, int], settings: Mapping[str, Any], where: str) -> tokenizers.Tokenizer:
    """The tokenizer of these letters. The mark of a space and letters of one case only are as ``settings`` say."""
    mark, lower = settings.get("word_delimiter_token", "|"), bool(settings.get("do_lower_case", False))
    special = [_spelled(settings, role) for role in _ROLES]
    letters: dict[str, int] = {}
    for name, number in vocab.items():
        name = SPACE if name == mark else name.lower() if lower and name not in special else name
        if name in letters:
            why = ascii(name)
            raise BadFileError("inputs.not_a_tokenizer", where=where, why=why)
        letters[name] = number
    unknown = _spelled(settings, "unk")
    rust = tokenizers.Tokenizer(models.WordLevel(letters, unk_token=unknown if unknown in letters else ""))
    steps: list[Any] = [normalizers.Lowercase()] if lower else []
    marked = [normalizers.Replace(one, SPACE) for one in (" ", mark) if isinstance(one, str) and one]
    rust.normalizer = normalizers.Sequence([*steps, *marked])
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    rust.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse()])
    rust.add_special_tokens([name for name in special if name in letters])
    return rust


def learnt(texts: Iterable[str]) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The alphabet of texts, by the order of its letters, and the roles of its special tokens; pad is the blank."""
    found = sorted({letter for text in texts for letter in text if letter != " "})
    names = [*(_USUAL[role] for role in _ROLES), "|", *(letter for letter in found if letter != "|")]
    return built({name: number for number, name in enumerate(names)}, {}, "letters"), dict(_USUAL)


def _spelled(settings: Mapping[str, Any], role: str) -> str:
    told = settings.get(f"{role}_token", _USUAL[role])
    told = told.get("content") if isinstance(told, dict) else told
    return told if isinstance(told, str) else _USUAL[role]
