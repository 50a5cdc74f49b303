"""The tokenizer inside a GGUF file, as the tokenizer.json it was made of.

Two kinds: byte-level BPE with its merges ("gpt2"), where `tokenizer.ggml.pre` names the rule that cuts words, and
SentencePiece BPE with scores ("llama"). What the file says is checked as any tokenizer.json is.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from regard.errors import BadFileError
from regard.inputs import foreign, patterns, sentence_piece
from regard.weights.gguf.container import Gguf
from regard.words import say

KEY = "tokenizer.ggml."
TEMPLATE = "tokenizer.chat_template"
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
TURNS = ("eot_token_id", "eom_token_id")  # an end of a turn, and of a message; what llama.cpp stops at besides eos
TURN_NAMES = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>")
ROLES = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}

_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _split(pattern: str) -> list[dict[str, Any]]:
    return [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}]


_SPLITS: dict[str, list[dict[str, Any]]] = {  # what stands before the bytes are spelled
    "gpt-2": [],
    "smollm": [{"type": "Digits", "individual_digits": True}],
    "llama-bpe": _split(_LLAMA_3),
    "qwen2": _split(_LLAMA_3.replace("{1,3}", "")),
    "dbrx": _split(_LLAMA_3),
    "deepseek-r1-qwen": _split(_LLAMA_3.replace("{1,3}", "")),
    "gpt-4o": _split(patterns.O200K),
    "tekken": _split(patterns.TEKKEN),
    "bloom": _split(patterns.BLOOM),
}
_ALSO = {
    "llama3": "llama-bpe", "llama-v3": "llama-bpe", "falcon3": "llama-bpe", "pixtral": "llama-bpe",
    "phi-2": "gpt-2", "olmo": "gpt-2", "smaug-bpe": "dbrx",
}  # fmt: skip
# llama.cpp's Llama 3 and Mistral's Tekken: a word of the vocabulary is taken as it is, whatever its merges; bos stands
# before a text unless the file says otherwise.
_WHOLE_WORDS = _BEGUN = ("llama-bpe", "tekken")


def document(file: Gguf) -> dict[str, Any]:
    """The tokenizer.json of the file."""
    told = {key.removeprefix(KEY): value for key, value in file.metadata.items() if key.startswith(KEY)}
    kind: Any = told.get("model")
    tokens: Any = told.get("tokens")
    if not _texts(tokens):
        raise _broken(file, "tokens")
    types = told["token_type"] = _types(file)
    vocab = {token: number for number, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise _broken(file, "tokens")
    if kind == "gpt2":
        made = _byte_level(file, told, vocab)
    elif kind == "llama":
        made = _sentence_piece(file, told, vocab)
    else:
        why = say("inputs.gguf.kind", kind=repr(kind)[:40])
        raise BadFileError("inputs.not_a_tokenizer", where=str(file.path), why=why)
    added = [
        {
            "id": number, "content": tokens[number], "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": types[number] != USER,
        }
        for number in range(len(tokens))
        if types[number] in (CONTROL, USER, UNKNOWN)
    ]  # fmt: skip
    return {"version": "1.0", "added_tokens": added, "truncation": None, "padding": None, **made}


def settings(file: Gguf) -> dict[str, Any]:
    """What tokenizer_config.json would say: the roles by spelling, which of them stand around a text, the template."""
    tokens = file.metadata[KEY + "tokens"]
    found: dict[str, Any] = {}
    for role, key in ROLES.items():
        number = file.metadata.get(KEY + key)
        if number is None:
            continue
        if type(number) is not int or not 0 <= number < len(tokens):
            raise _broken(file, key)
        found[f"{role}_token"] = tokens[number]
    begun = file.metadata.get(KEY + "model") == "llama" or _pre(file) in _BEGUN
    for key, usual in (("add_bos_token", begun), ("add_eos_token", False)):
        found[key] = file.metadata.get(KEY + key, usual)
        if not isinstance(found[key], bool):
            raise _broken(file, key)
    template = file.metadata.get(TEMPLATE)
    if not isinstance(template, str | None):
        raise BadFileError("inputs.not_a_tokenizer", where=str(file.path), why=say("inputs.gguf.key", key=TEMPLATE))
    return found | ({} if template is None else {"chat_template": template})


def ends(file: Gguf) -> tuple[int, ...]:
    """Tokens that end what a chat model says, besides the end token: as the file says them, or by their usual names."""
    tokens, types = file.metadata[KEY + "tokens"], _types(file)
    found = {number for key in TURNS if (number := file.metadata.get(KEY + key)) is not None}
    if not all(type(number) is int and 0 <= number < len(tokens) for number in found):
        raise _broken(file, " / ".join(TURNS))
    named = zip(tokens, types, strict=True)
    found |= {at for at, (token, kind) in enumerate(named) if kind == CONTROL and token in TURN_NAMES}
    return tuple(sorted(found))


def metadata(
    document: Mapping[str, Any], roles: Mapping[str, int], told: Mapping[str, Any], vocab: int
) -> dict[str, Any]:
    """The metadata of a tokenizer.json for a model of `vocab` rows: of a byte-level BPE, or of SentencePiece's with its
    bytes; others have no place here."""
    model = document["model"]
    pre, scores = _name_of(document), _scores(document)
    if model.get("type") != "BPE" or (pre is None and scores is None):
        raise BadFileError("inputs.gguf.no_place", kind=model.get("type"), known=", ".join(_SPLITS))
    bytes_ = {f"<0x{byte:02X}>" for byte in range(256)} if scores is not None else set()
    spelled = {number: (token, BYTE if token in bytes_ else NORMAL) for token, number in model["vocab"].items()}
    for token in document.get("added_tokens") or ():
        spelled[token["id"]] = token["content"], CONTROL if token["special"] else USER
    if scores is not None and "unk" in roles:
        spelled[roles["unk"]] = spelled[roles["unk"]][0], UNKNOWN
    # A row of the model that nothing spells still needs a name; a pad beyond its rows (see `Tokenizer.size`) has none.
    rows = [spelled.get(number, (f"<|unused_{number}|>", UNUSED)) for number in range(vocab)]
    tokens, types = [token for token, _ in rows], [kind for _, kind in rows]
    made: dict[str, Any] = {
        KEY + "model": "gpt2" if scores is None else "llama",
        KEY + "pre": pre or "default",
        KEY + "tokens": tokens,
        KEY + "token_type": types,
        KEY + "add_bos_token": bool(told.get("add_bos_token", False)) or _stands(document, 0, roles.get("bos")),
        KEY + "add_eos_token": bool(told.get("add_eos_token", False)) or _stands(document, -1, roles.get("eos")),
    }
    if scores is None:
        made[KEY + "merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    else:
        made[KEY + "scores"] = [scores.get(number, 0.0) for number in range(vocab)]
        made[KEY + "add_space_prefix"] = "Prepend" in [step["type"] for step in document["normalizer"]["normalizers"]]
    made |= {KEY + key: roles[role] for role, key in ROLES.items() if role in roles and roles[role] < len(tokens)}
    template = told.get("chat_template")
    return made | ({TEMPLATE: template} if isinstance(template, str) else {})


def _byte_level(file: Gguf, told: Mapping[str, Any], vocab: dict[str, int]) -> dict[str, Any]:
    pre = _pre(file)
    if pre not in _SPLITS:
        why = say("inputs.gguf.pre", pre=ascii(pre)[:40], known=", ".join(_SPLITS))
        raise BadFileError("inputs.not_a_tokenizer", where=str(file.path), why=why)
    merges: Any = told.get("merges")
    if not _texts(merges, empty=True):
        raise _broken(file, "merges")
    own = bool(_SPLITS[pre]) and _SPLITS[pre][-1]["type"] == "Split"  # else the bytes' own rule cuts the words
    spelled = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": not own}
    return {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*_SPLITS[pre], spelled]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": pre in _WHOLE_WORDS, "vocab": vocab,
            "merges": [merge.split(" ") for merge in merges],
        },
    }  # fmt: skip


def _sentence_piece(file: Gguf, told: Mapping[str, Any], vocab: dict[str, int]) -> dict[str, Any]:
    scores: Any = told.get("scores")
    known = isinstance(scores, array) and scores.typecode in "fd" and len(scores) == len(vocab)
    if not known or not all(map(math.isfinite, scores)):
        raise _broken(file, "scores")
    tokens, types = list(vocab), told["token_type"]
    if long := next((token for token in tokens if len(token) > foreign.LONGEST_PIECE), None):
        why = say("inputs.broken.number", token=ascii(long)[:40], number=vocab[long])
        raise BadFileError("inputs.not_a_tokenizer", where=str(file.path), why=why)
    plain = {token for token, kind in zip(tokens, types, strict=True) if kind == NORMAL}
    unk = next((token for token, kind in zip(tokens, types, strict=True) if kind == UNKNOWN), None)
    begins = told.get("add_space_prefix", True) is True
    steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}] if begins else []
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
    try:
        merges = sentence_piece.merges(plain, vocab, scores)
    except foreign.Broken as error:
        raise BadFileError("inputs.not_a_tokenizer", where=str(file.path), why=str(error)) from None
    back: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if begins:
        back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": back},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": unk, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": BYTE in types, "ignore_merges": False,
            "vocab": vocab, "merges": merges,
        },
    }  # fmt: skip


def _scores(document: Mapping[str, Any]) -> dict[int, float] | None:
    """A score for each piece that SentencePiece's search would merge by as the tokenizer.json does; None where its
    texts are prepared, or its merges ordered, otherwise."""
    model, normal = document["model"], document.get("normalizer") or {}
    steps = [dict(step) for step in normal.get("normalizers", [normal])]
    prefix: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}]
    spaces: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    whole = model.get("byte_fallback") and all(one in model["vocab"] for one in bytes_)
    if not whole or document.get("pre_tokenizer") is not None or steps not in (spaces, [*prefix, *spaces]):
        return None
    merges = [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in model["merges"]]
    order = dict.fromkeys(left + right for left, right in merges)  # the best first
    vocab = model["vocab"]
    scores = {vocab[piece]: -float(rank) for rank, piece in enumerate(order)}
    others = {token["id"] for token in document.get("added_tokens") or ()}
    plain = {piece for piece, number in vocab.items() if number not in others and piece not in bytes_}
    listed = [scores.get(number, 0.0) for number in range(max(vocab.values()) + 1)]
    try:
        return scores if sentence_piece.merges(plain, vocab, listed) == merges else None
    except foreign.Broken:
        return None


def _stands(document: Mapping[str, Any], place: int, number: int | None) -> bool:
    """Whether the tokenizer.json's template has a token at that end of a text."""
    single = (document.get("post_processor") or {}).get("single") or [{}]
    name = single[place].get("SpecialToken", {}).get("id")
    return name is not None and any(
        token["content"] == name and token["id"] == number for token in document.get("added_tokens") or ()
    )


def _name_of(document: Mapping[str, Any]) -> str | None:
    """The name in `_SPLITS` of the rule in a tokenizer.json that cuts words; None if it has none."""
    pre = document.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre]) if pre.get("type") == "Sequence" else [pre]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    normal = (document.get("normalizer") or {}).get("type")
    ignore = bool(document["model"].get("ignore_merges"))
    for name, wanted in _SPLITS.items():
        pairs = zip(steps, wanted, strict=False)
        alike = len(steps) == len(wanted) + 1 and all(one.items() <= step.items() for step, one in pairs)
        if alike and normal == ("NFC" if name == "qwen2" else None) and ignore == (name in _WHOLE_WORDS):
            return name
    return None


def _types(file: Gguf) -> Sequence[int]:
    """The kind of each token."""
    tokens = file.metadata[KEY + "tokens"]
    types = file.metadata.get(KEY + "token_type", [NORMAL] * len(tokens))
    known = isinstance(types, list | array) and len(types) == len(tokens)
    if not known or not all(type(kind) is int for kind in types):
        raise _broken(file, "token_type")
    return types


def _pre(file: Gguf) -> str:
    """The name of the rule that cuts words. The first files, which named none, were those of GPT-2's own; what
    llama.cpp does with others is to guess."""
    pre = file.metadata.get(KEY + "pre", "default")
    if pre == "default" and file.metadata.get("general.architecture") == "gpt2":
        return "gpt-2"
    return _ALSO.get(pre, pre) if isinstance(pre, str) else ascii(pre)


def _texts(value: Any, *, empty: bool = False) -> bool:
    return isinstance(value, list) and (bool(value) or empty) and all(isinstance(one, str) for one in value)


def _broken(file: Gguf, key: str) -> BadFileError:
    return BadFileError("inputs.not_a_tokenizer", where=str(file.path), why=say("inputs.gguf.key", key=KEY + key))
