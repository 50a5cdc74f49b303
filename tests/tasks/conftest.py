"""A tokenizer of two-letter pieces, so that what a task makes of a text can be worked out by hand."""

from __future__ import annotations

import pytest
import torch

from regard import models
from regard.layers import Key

LETTERS = "abcdefgh"
PAD, BOS, EOS, UNK, MASK, CLS, SEP, SPACE, FIRST = range(9)


class Pairs:
    """Letters a to h are tokens of their own, 9 to 16 when they follow a letter of the same word at an odd place.

    "abc d" is a, +b, c, space, d: pieces of a word count on, spaces belong to no word, other characters are unknown.
    """

    pad, bos, eos, unk, mask, cls, sep = PAD, BOS, EOS, UNK, MASK, CLS, SEP
    size = FIRST + 2 * len(LETTERS)
    specials = frozenset(range(SPACE))
    roles = {"mask": "[MASK]"}  # noqa: RUF012
    lossless = True

    def encode(self, text, pair=None, *, special=True, context=None):
        ids, place = [], 0
        for letter in text:
            place = 0 if letter == " " else place + 1
            if letter == " ":
                ids.append(SPACE)
            elif letter in LETTERS:
                ids.append(FIRST + LETTERS.index(letter) + (len(LETTERS) if place % 2 == 0 else 0))
            else:
                ids.append(UNK)
        if context is not None:
            ids = ids[: context - (2 if special else 0)]
        return [CLS, *ids, SEP] if special else ids

    def decode(self, ids, special=False):
        names = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "[MASK]", "[CLS]", "[SEP]"]
        pieces = [" " if i == SPACE else names[i] if i < SPACE else LETTERS[(i - FIRST) % len(LETTERS)] for i in ids]
        return "".join(piece for piece, i in zip(pieces, ids, strict=True) if special or i >= SPACE)

    def pieces(self, ids):
        return [self.decode([i], special=True) for i in ids]

    def words(self, ids):
        numbers, number = [], 0
        for i in ids:
            number += i == SPACE
            numbers.append(None if i == SPACE else number)
        return numbers

    def stream(self):
        return PairStream(self)


class PairStream:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def feed(self, token):
        return self.tokenizer.decode([token])

    def flush(self):
        return ""


@pytest.fixture
def pairs():
    return Pairs()


SMALL = {
    "gpt2": {"dim": 20, "depth": 2, "heads": 5},
    "bert": {"dim": 20, "depth": 2, "heads": 5, "hidden": 37},
    "t5": {"dim": 20, "depth": 2, "decoder_depth": 1, "heads": 5, "head_dim": 7, "hidden": 37},
    "vaswani": {"dim": 20, "depth": 2, "heads": 5, "hidden": 37},
}


@pytest.fixture
def tiny():
    """A small random model of a family, its weights large enough that answers differ clearly."""

    def make(family, seed=3, **changes):
        values = {"vocab": Pairs.size, "context": 31, "dropout": 0.0, **SMALL[family], **changes}
        model = models.build(models.config(family, values), Key(seed)).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() > 1:
                    weight.normal_(0, 0.4, generator=generator)
        return model

    return make
