"""Vocabularies in which the last piece of a word ends in ``</w>``, as in CLIP (Radford et al. 2021): text in lower
case, white space one space, each text between the tokens that begin and end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

BEGIN, FINISH, SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"
WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def is_one(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> bool:
    """Whether vocab.json and merges.txt are such a vocabulary's."""
    return BEGIN in vocab and FINISH in vocab and any(right.endswith(SUFFIX) for _, right in merges)


def tokenizer(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """The tokenizer of such a vocabulary."""
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
