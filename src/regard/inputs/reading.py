"""Tokenizers of other makers: which files hold them, which token plays which role, and what has to be put right."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from regard import limits
from regard.errors import BadFileError
from regard.inputs import charsmap, foreign, gguf, letters, pieces, tiktoken, word_ends
from regard.inputs.charsmap import Prepare
from regard.inputs.template import Template, probe, processor
from regard.weights.gguf.container import is_gguf, open_file
from regard.words import say

LARGEST = 256 * limits.MIB
VALUES = 1 << 22  # a vocabulary and its merges are many short texts

# What the roles are called where no file says it; the first that the vocabulary holds as a special token.
USUAL = {
    "pad": ("<|pad|>", "[PAD]", "<pad>"),
    "bos": ("<|bos|>", "<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>"),
    "eos": ("<|eos|>", "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>"),
    "mask": ("<|mask|>", "[MASK]", "<mask>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
}


def load(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, str], dict[str, Any], Prepare | None]:
    """(tokenizer, role to spelling, the rest of tokenizer_config.json, what is done to a text before) of a folder or of
    one of its files."""
    if is_gguf(path):
        return *_gguf(path), None
    folder = path if path.is_dir() else path.parent
    settings = _settings(folder)
    path = _chosen(path)
    if path.name in pieces.FILES or path.suffix in (".spm", ".model", ".tiktoken"):
        if path.suffix == ".tiktoken" or (limits.file_size(path) and tiktoken.is_one(path)):
            document = tiktoken.document(path)
        else:
            document, settings = pieces.read(path, settings)
        rust, prepare = _exact(document, str(path), settings)
    elif path.name == "tokenizer.json" and _own(settings):
        rust, prepare = _exact(_document(path)[0], str(path), settings)
    else:
        rust, prepare = _read(path, settings), None
    return with_times(rust), _roles(rust, settings, folder), settings, prepare


def with_times(rust: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Whisper's tokenizers of earlier years end before the tokens that say a time, which its models have all the same:
    here they get them, lest a token of ours take their numbers."""
    size = rust.get_vocab_size(with_added_tokens=True)
    if rust.token_to_id(_UNTIMED) == size - 1:
        times = (tokenizers.AddedToken(f"<|{n * _STEP:.2f}|>", special=True, normalized=False) for n in range(_TIMES))
        rust.add_special_tokens(list(times))
    return rust


_UNTIMED, _STEP, _TIMES = "<|notimestamps|>", 0.02, 1501  # up to half a minute


def prepared(rust: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Without what a file may bring along unasked: cutting, padding, random merges, specials found in plain text."""
    rust.no_truncation()
    rust.no_padding()
    if getattr(rust.model, "dropout", None) is not None:
        rust.model.dropout = None
    rust.encode_special_tokens = True
    return rust


def with_own_pad(rust: tokenizers.Tokenizer, roles: Mapping[str, str]) -> dict[str, str]:
    """The roles with a pad that no other role shares, adding a token where there is none; unk only if it is its own.

    Models whose pad is their eos are commonly trained to ignore where a text ends; ours cannot be.
    """
    roles = {role: name for role, name in roles.items() if rust.token_to_id(name) is not None or _added(rust, name)}
    if roles.get("unk") in {roles.get("bos"), roles.get("eos")}:
        roles.pop("unk", None)  # GPT-2 names its end so, though bytes leave nothing unknown
    others = {name for role, name in roles.items() if role != "pad"}
    if "pad" not in roles or roles["pad"] in others:
        name = "<|pad|>"
        while name in others or (rust.token_to_id(name) is not None and name not in _special_names(rust)):
            name = name.replace("pad", "pad_", 1)
        _added(rust, name)
        roles["pad"] = name
    # Declared special even where the file forgot to: a role's token must never come out of a text.
    for name in roles.values():
        _added(rust, name)
    return roles


def whole_template(
    rust: tokenizers.Tokenizer, settings: Mapping[str, Any], bos: int | None, eos: int | None
) -> Template:
    """The file's template, with the bos and eos that its settings ask for where the template lacks them."""
    template = probe(rust)
    if settings.get("add_bos_token") is True and bos is not None and template.before[:1] != (bos,):
        template = replace(template, before=(bos, *template.before), pair_before=(bos, *template.pair_before))
    if settings.get("add_eos_token") is True and eos is not None and template.after[-1:] != (eos,):
        template = replace(template, after=(*template.after, eos), pair_after=(*template.pair_after, eos))
    return template


def _chosen(path: Path) -> Path:
    """The file of a folder that holds its tokenizer."""
    if not path.is_dir():
        return path
    known = ("tokenizer.json", *pieces.FILES, *(f"{name}.tiktoken" for name in tiktoken.RULES), "vocab.txt",
             "vocab.json", "encoder.json")  # fmt: skip
    found = next((name for name in known if (path / name).is_file()), None)
    if found is None:
        raise BadFileError("inputs.no_tokenizer", folder=str(path))
    return limits.member(path, found)


def _read(path: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    if path.suffix == ".txt":
        return _bert(path, settings)
    if path.name == "vocab.json" and not (path.parent / "merges.txt").is_file():
        return _built(path, lambda: letters.load(path, settings, VALUES))
    if path.name.removesuffix(".json") in ("vocab", "encoder", "merges") or path.suffix == ".bpe":
        return _gpt2(path.parent)
    return _json(path)


def _json(path: Path) -> tokenizers.Tokenizer:
    data = _document(path)[1]
    return _built(path, lambda: tokenizers.Tokenizer.from_buffer(data.removeprefix(b"\xef\xbb\xbf")))


def _document(path: Path) -> tuple[dict[str, Any], bytes]:
    """A tokenizer.json, checked: parsed here first for what the library does not refuse, which is bytes that are no
    text, keys given twice, endless nesting."""
    data = limits.read_bytes(path, most=LARGEST)
    if data.count(b"{") > 2 * foreign.MOST_ADDED:  # each added token is a table, and tables take the most memory
        why = say("inputs.broken.added", most=foreign.MOST_ADDED)
        raise BadFileError("inputs.not_a_tokenizer", where=str(path), why=why)
    document = limits.parse_json(data, str(path), values=VALUES)
    foreign.check(document, str(path))
    return document, data


def _own(settings: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json was written here, of a SentencePiece model with a table of characters."""
    own = settings.get(pieces.OWN)
    return isinstance(own, dict) and own.get(charsmap.KEY) is True


def _exact(
    document: dict[str, Any], where: str, settings: Mapping[str, Any]
) -> tuple[tokenizers.Tokenizer, Prepare | None]:
    """The library's part of a tokenizer, and what of it is done here because the library does it otherwise."""
    prepare = None
    if _own(settings):
        try:
            document, prepare = charsmap.taken(document)
        except foreign.Broken as error:
            raise BadFileError("inputs.not_a_tokenizer", where=where, why=str(error)) from None
    text = json.dumps(document)
    return _built(where, lambda: tokenizers.Tokenizer.from_str(text)), prepare


def _built(path: Path | str, build: Any) -> tokenizers.Tokenizer:
    try:
        rust = build()
        rust.no_padding()  # it may be to 10^12
        rust.no_truncation()
        rust.encode("a 字")  # some faults, as an unk that the vocabulary lacks, show only here
        return rust
    except (KeyboardInterrupt, BadFileError):
        raise
    except BaseException as error:  # the library raises bare Exceptions, and panics that are not even that
        raise BadFileError("inputs.not_a_tokenizer", where=str(path), why=str(error)[:200]) from error


def _gguf(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, str], dict[str, Any]]:
    file = open_file(path)
    document, settings = gguf.document(file), gguf.settings(file)
    foreign.check(document, str(path))
    rust = _built(path, lambda: tokenizers.Tokenizer.from_str(json.dumps(document)))
    return rust, _roles(rust, settings, path), settings


def _bert(path: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """vocab.txt: a token a line; the rule is BERT's, lower-casing unless the settings say otherwise."""
    vocab: dict[str, int] = {}
    for number, line in limits.open_text(path):
        vocab[line] = number - 1  # of a token given twice the last counts, as in transformers
        if number > foreign.MOST_TOKENS:
            why = say("inputs.broken.tokens", count=number, most=foreign.MOST_TOKENS)
            raise BadFileError("inputs.not_a_tokenizer", where=str(path), why=why)
    missing = [name for name in ("[UNK]", "[CLS]", "[SEP]") if name not in vocab]
    if missing:
        raise BadFileError("inputs.not_a_tokenizer", where=str(path), why=", ".join(missing))
    rust = tokenizers.Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))  # noqa: S106
    accents = settings.get("strip_accents")
    rust.normalizer = normalizers.BertNormalizer(
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=None if accents is None else bool(accents),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece(cleanup=False)
    begin, end = (vocab["[CLS]"],), (vocab["[SEP]"],)
    template = Template(before=begin, after=end, pair_before=begin, between=end, pair_after=end)
    rust.add_special_tokens([name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if name in vocab])
    rust.post_processor = processor(template, rust)
    return rust


def _gpt2(folder: Path) -> tokenizers.Tokenizer:
    """vocab.json and merges.txt (at their first publication: encoder.json and vocab.bpe): byte-level BPE, or one whose
    words have ends."""
    names = [("vocab.json", "encoder.json"), ("merges.txt", "vocab.bpe")]
    there = [next((name for name in pair if (folder / name).is_file()), None) for pair in names]
    vocab_file, merge_file = (name and limits.member(folder, name) for name in there)
    if vocab_file is None or merge_file is None:
        raise BadFileError("inputs.half_a_tokenizer", folder=str(folder))
    vocab = limits.read_json(vocab_file, values=VALUES)
    merges: list[tuple[str, str]] = []
    where, number = str(vocab_file), 0
    try:
        vocab = dict(foreign.numbered(vocab if isinstance(vocab, dict) else {"": vocab}))
        where = str(merge_file)
        for number, line in limits.open_text(merge_file):
            if line and not (number == 1 and line.startswith("#version")):
                merges.append(foreign.merge(line.split(" "), vocab, number))
    except foreign.Broken as error:
        where = f"{where}:{number}" if number else where
        raise BadFileError("inputs.not_a_tokenizer", where=where, why=str(error)) from None
    if word_ends.is_one(vocab, merges):
        return _built(merge_file, lambda: word_ends.tokenizer(vocab, merges))
    rust = _built(merge_file, lambda: tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges)))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens([name for name in ("<|endoftext|>",) if name in vocab])
    return rust


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, with what special_tokens_map.json adds to it."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if os.path.lexists(folder / name):  # a link to nowhere is not as good as no file
            document = limits.read_json(limits.member(folder, name))
            if not isinstance(document, dict):
                raise BadFileError("inputs.not_a_tokenizer", where=str(folder / name), why="{ }")
            settings |= document
    return settings


def _roles(rust: tokenizers.Tokenizer, settings: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Role to spelling: as the settings say, or by the usual names; a null in the settings means that there is none."""
    special = _special_names(rust)
    roles: dict[str, str] = {}
    for role, names in USUAL.items():
        if f"{role}_token" in settings:
            told = settings[f"{role}_token"]
            told = told.get("content") if isinstance(told, dict) else told
            if told is not None and not isinstance(told, str):
                raise BadFileError("inputs.bad_special", folder=str(folder), role=role, value=repr(told)[:60])
            if told:
                roles[role] = told
        elif found := next((name for name in names if name in special), None):
            roles[role] = found
    return roles


def _special_names(rust: tokenizers.Tokenizer) -> set[str]:
    return {token.content for token in rust.get_added_tokens_decoder().values() if token.special}


def _added(rust: tokenizers.Tokenizer, name: str) -> bool:
    rust.add_special_tokens([AddedToken(name, special=True, normalized=False)])
    return True
