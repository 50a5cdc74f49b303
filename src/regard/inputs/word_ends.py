"""Vocabularies in which a word's last piece ends in ``</w>``: the first GPT's (Radford et al. 2018), of characters,
whose words are BERT's, and CLIP's (Radford et al. 2021), of bytes, where each text stands between two tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from regard.inputs import foreign

BEGIN, FINISH, SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"
UNKNOWN, SPACE = "<unk>", "Ġ"
_OTHERS = {"<s>", "</s>", "<|endoftext|>", "[CLS]"}  # what the first GPT has not
WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def is_one(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> bool:
    """Whether vocab.json and merges.txt are such a vocabulary's, and not of bytes with no ends of words, which spell a
    space as a letter of its own."""
    ends = any(right.endswith(SUFFIX) for _, right in merges)
    return ends and (SPACE not in vocab or {BEGIN, FINISH} <= vocab.keys())


def tokenizer(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """The tokenizer of such a vocabulary; which one, its special tokens say. Of others (XLM's, CTRL's) neither how
    words are cut is known here nor what stands around a text."""
    if {BEGIN, FINISH} <= vocab.keys():
        return _clip(vocab, merges)
    if UNKNOWN not in vocab or not _OTHERS.isdisjoint(vocab):
        raise foreign.Broken("word_ends")
    return _gpt(vocab, merges)


def _gpt(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """Words and marks as in BERT, in lower case and without accents; no bytes stand in for what is not known."""
    bpe = models.BPE(vocab=dict(vocab), merges=list(merges), end_of_word_suffix=SUFFIX, unk_token=UNKNOWN)
    rust = tokenizers.Tokenizer(bpe)
    rust.normalizer = normalizers.BertNormalizer(lowercase=True)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.BPEDecoder(suffix=SUFFIX)
    rust.add_special_tokens([UNKNOWN])
    return rust


def _clip(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """Text in lower case, white space one space."""
    bpe = models.BPE(vocab=dict(vocab), merges=list(merges), end_of_word_suffix=SUFFIX, unk_token=FINISH)
    rust = tokenizers.Tokenizer(bpe)
    rust.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.RobertaProcessing(
        (FINISH, vocab[FINISH]), (BEGIN, vocab[BEGIN]), trim_offsets=False, add_prefix_space=False
    )
    rust.add_special_tokens([BEGIN, FINISH])
    return rust
