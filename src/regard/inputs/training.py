"""Vocabularies learnt from texts.

Byte BPE and Unigram are learnt over characters and written over bytes: the bytes of each character of the training's
alphabet are joined first, by merges of their own (Unigram: pieces), and no piece ends inside a character. So a Chinese
character is one token or part of a longer one, and only the two-byte beginnings that characters share are spent on
bytes; a character outside the alphabet costs its bytes. The files are those of GPT-2's byte-level kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from regard.errors import ConfigError
from regard.inputs.surface import CHINESE, LETTER_OF
from regard.inputs.template import Template, processor

# Words with their leading space, single digits, runs of other marks, line ends, spaces. After GPT-2's pattern, with
# combining marks kept on their letters and digits apart as in Llama 3 and Qwen 2.
WORDS = r"(?i:'(?:s|t|re|ve|m|ll|d)(?!\p{L}))| ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s*[\r\n]|\s+(?!\S)|\s+"

PLAIN = {"pad": "<|pad|>", "bos": "<|bos|>", "eos": "<|eos|>", "mask": "<|mask|>", "cls": "<|bos|>", "sep": "<|eos|>"}
BERT = {
    "pad": "[PAD]",
    "unk": "[UNK]",
    "cls": "[CLS]",
    "sep": "[SEP]",
    "mask": "[MASK]",
    "bos": "[CLS]",
    "eos": "[SEP]",
}

COVERAGE = 0.9995  # of the running characters; as SentencePiece's default. The rest is left to bytes
SHARE = 0.75  # of the room in a vocabulary that single characters may take, so that some is left for longer pieces


def train(
    kind: str, texts: Iterable[str], vocab: int, specials: Mapping[str, str] | None
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """A trained tokenizer with its template, and the roles of its special tokens."""
    roles = _roles(specials, BERT if kind == "wordpiece" else PLAIN)
    room = vocab - len(set(roles.values()))
    if kind == "wordpiece":
        rust = _wordpiece(_again(texts), vocab, roles)
    else:
        if room < 256:
            raise ConfigError("inputs.vocab_too_small", vocab=vocab, least=256 + vocab - room, kind=kind)
        rust = {"bytes": _bytes, "characters": _characters, "bpe": _bpe, "unigram": _unigram}[kind](_again(texts), room)
        rust.add_special_tokens(_tokens(roles))
    rust.post_processor = processor(_template(rust, roles), rust)
    return rust, roles


def _roles(given: Mapping[str, str] | None, usual: Mapping[str, str]) -> dict[str, str]:
    roles = dict(usual if given is None else given)
    if given is not None:
        for role, name in roles.items():
            if role not in {*PLAIN, *BERT} or not name.strip():
                raise ConfigError("inputs.bad_role", role=role, name=name, known=", ".join(BERT))
        shared = [role for role, name in roles.items() if name == roles.get("pad") and role != "pad"]
        if shared:
            raise ConfigError("inputs.shared_pad", role=shared[0], name=roles["pad"])
    if "unk" in usual and "unk" not in roles:
        roles["unk"] = usual["unk"]
    return {"pad": usual["pad"], **roles}


def _template(rust: tokenizers.Tokenizer, roles: Mapping[str, str]) -> Template:
    before = tuple(_numbers(rust, roles, "cls", "bos"))
    after = tuple(_numbers(rust, roles, "sep", "eos"))
    return Template(before=before, after=after, pair_before=before, between=after, pair_after=after)


def _numbers(rust: tokenizers.Tokenizer, roles: Mapping[str, str], *wanted: str) -> list[int]:
    """The number of the first role that there is, as a list of one or none."""
    found = [rust.token_to_id(roles[role]) for role in wanted if role in roles]
    return [number for number in found if number is not None][:1]


def _tokens(roles: Mapping[str, str]) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in dict.fromkeys(roles.values())]


def _bytes(texts: Iterable[str], room: int) -> tokenizers.Tokenizer:
    """A token is a byte, and its number is the byte."""
    return _byte_level(models.BPE(vocab={letter: byte for byte, letter in sorted(LETTER_OF.items())}, merges=[]), None)


def _characters(texts: Iterable[str], room: int) -> tokenizers.Tokenizer:
    """A token is a character; the ones that found no room, and the unseen, are written in bytes."""
    alphabet = _alphabet(texts, room - 256, coverage=1.0)
    names = [f"<0x{byte:02X}>" for byte in range(256)] + alphabet
    rust = tokenizers.Tokenizer(
        models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[], byte_fallback=True)
    )
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return rust


def _bpe(texts: Iterable[str], room: int) -> tokenizers.Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2016) over characters, written over bytes."""
    vocab = {LETTER_OF[byte]: byte for byte in range(256)}
    merges: list[tuple[str, str]] = []
    alphabet: list[str] = []
    for character in _alphabet(texts, int((room - 256) * SHARE), coverage=COVERAGE):
        name = _byte_name(character)
        # Joined from the left; the beginnings are shared between characters.
        ends = [end for end in range(2, len(name) + 1) if name[:end] not in vocab]
        if len(vocab) + len(ends) > room:
            break
        alphabet.append(character)
        for end in ends:
            vocab[name[:end]] = len(vocab)
            merges.append((name[: end - 1], name[end - 1]))
    for left, right in _learnt_merges(texts, alphabet, room - len(vocab)):
        merges.append((_byte_name(left), _byte_name(right)))
        vocab.setdefault("".join(merges[-1]), len(vocab))
    return _byte_level(models.BPE(vocab=vocab, merges=merges), WORDS)


def _learnt_merges(texts: Iterable[str], alphabet: list[str], count: int) -> list[tuple[str, str]]:
    if count <= 0 or not alphabet:
        return []
    rust = tokenizers.Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + count,
        show_progress=False,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
    )
    rust.train_from_iterator(_only(texts, alphabet), trainer)
    return [(left, right) for left, right in json.loads(rust.to_str())["model"]["merges"]]


def _unigram(texts: Iterable[str], room: int) -> tokenizers.Tokenizer:
    """The unigram language model (Kudo 2018) over characters, written over bytes."""
    alphabet = _alphabet(texts, int((room - 256) * SHARE), coverage=COVERAGE)
    scores = _learnt_scores(texts, alphabet, room) if alphabet else {}
    # The library's own penalty for the unknown: a byte is taken only where nothing else fits.
    penalty = min(scores.values(), default=0.0) - 10.0
    for byte in range(256):
        scores.setdefault(LETTER_OF[byte], penalty)
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return _byte_level(models.Unigram(ranked, None, False), WORDS)


def _learnt_scores(texts: Iterable[str], alphabet: list[str], room: int) -> dict[str, float]:
    single = sum(len(character.encode()) == 1 for character in alphabet)
    rust = tokenizers.Tokenizer(models.Unigram())
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    # It keeps every single character, and asked for fewer pieces than those it never ends: some more, and cut below.
    size = max(room - 256 + single, len(alphabet) + 16)
    trainer = trainers.UnigramTrainer(vocab_size=size, show_progress=False, special_tokens=[], unk_token=None)
    rust.train_from_iterator(_only(texts, alphabet), trainer)
    learnt = json.loads(rust.to_str())["model"]["vocab"]
    scores = {_byte_name(piece): score for piece, score in _settled(learnt).items()}
    longer = sorted((name for name in scores if len(name) > 1), key=lambda name: (-scores[name], name))
    return {name: scores[name] for name in [*(name for name in scores if len(name) == 1), *longer[: room - 256]]}


def _settled(learnt: list[tuple[str, float]]) -> dict[str, float]:
    """The scores without what differs from run to run, for the trainer goes through hash tables.

    It adds its floats up in such an order, so they are rounded; and to the characters that it had dropped and takes
    back it gives the lowest score plus 0, 1, 2 ... ten-thousandths in such an order, so those all get the lowest.
    """
    least = min(score for _, score in learnt)
    settled = {}
    for piece, score in learnt:
        steps = (score - least) * 1e4
        taken_back = len(piece) == 1 and steps < len(learnt) and abs(steps - round(steps)) < 1e-4
        settled[piece] = round(least if taken_back else score, 6)
    return settled


def _wordpiece(texts: Iterable[str], vocab: int, roles: Mapping[str, str]) -> tokenizers.Tokenizer:
    """WordPiece as BERT cuts it, but with capitals and accents; spaces and rare characters are lost."""
    room = vocab - len(_tokens(roles))
    if room < 2:
        raise ConfigError("inputs.vocab_too_small", vocab=vocab, least=vocab - room + 2, kind="wordpiece")
    alphabet: list[str] = []
    continued: list[str] = []
    for letter in _alphabet(texts, room, coverage=COVERAGE):
        # Chinese characters and marks always stand alone; every other letter may go on a word.
        inside = letter.isalnum() and not CHINESE.match(letter)
        room -= 2 if inside else 1
        if letter.strip() and room >= 0:
            alphabet.append(letter)
            continued += [f"##{letter}"] if inside else []
    names = list(dict.fromkeys(roles.values()))
    rust = _bert_rules({}, roles["unk"])
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab,
        show_progress=False,
        # The trainer numbers continuations in the order of a hash table, unless they are there from the beginning.
        special_tokens=[*names, *continued],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
    )
    rust.train_from_iterator(_only(texts, [*alphabet, " "]), trainer)
    learnt = _bert_rules(rust.get_vocab(), roles["unk"])
    learnt.add_special_tokens(_tokens(roles))
    return learnt


def _bert_rules(vocab: dict[str, int], unk: str) -> tokenizers.Tokenizer:
    rust = tokenizers.Tokenizer(models.WordPiece(vocab=vocab, unk_token=unk))
    rust.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece(cleanup=False)
    return rust


def _byte_level(model: Any, pattern: str | None) -> tokenizers.Tokenizer:
    rust = tokenizers.Tokenizer(model)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    rust.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    rust.decoder = decoders.ByteLevel()
    return rust


def _alphabet(texts: Iterable[str], most: int, *, coverage: float) -> list[str]:
    """The commonest characters, at most so many, that make up `coverage` of the running text."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    if not counts:
        raise ConfigError("inputs.no_text")
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    wanted, covered, kept = counts.total() * coverage, 0, 0
    while kept < len(ranked) and covered < wanted:
        covered += counts[ranked[kept]]
        kept += 1
    return [character for character in ranked[: min(kept, max(most, 0))] if not "\ud800" <= character <= "\udfff"]


def _only(texts: Iterable[str], alphabet: list[str]) -> Iterator[str]:
    """The texts, every other character made a line end: what stood around it must not become neighbours."""
    kept = {ord(character) for character in alphabet}
    for text in texts:
        yield text.translate({ord(character): "\n" for character in set(text) if ord(character) not in kept})


def _byte_name(text: str) -> str:
    return "".join(LETTER_OF[byte] for byte in text.encode())


def _again(texts: Iterable[str]) -> Iterable[str]:
    """Something that can be read twice: once for the characters, once for the pieces."""
    return list(texts) if iter(texts) is texts else texts
