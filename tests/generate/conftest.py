"""Tiny random models with a tokenizer of single letters: what they write is noise, but the same noise each time."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from regard import models
from regard.layers import Key

LETTERS = "abcdefghijklmnopqrstuvwxyz .,!?-明月光床前疑是"
PAD, BOS, EOS, FIRST = 0, 1, 2, 3
CONTEXT = 61


class Letters:
    """Letter i of LETTERS is token FIRST + i."""

    pad, bos, eos = PAD, BOS, EOS
    size = FIRST + len(LETTERS)

    def encode(self, text: str, special: bool = True) -> list[int]:
        tokens = [FIRST + LETTERS.index(letter) for letter in text]
        return [BOS, *tokens, EOS] if special else tokens

    def decode(self, tokens: list[int], special: bool = False) -> str:
        return "".join(LETTERS[token - FIRST] for token in tokens if token >= FIRST)

    def stream(self) -> LetterStream:
        return LetterStream(self)


@dataclass
class LetterStream:
    tokenizer: Letters

    def feed(self, token: int) -> str:
        return self.tokenizer.decode([token])

    def flush(self) -> str:
        return ""


SMALL = {
    "qwen3": {"dim": 24, "depth": 2, "heads": 4, "kv_heads": 2, "head_dim": 6, "hidden": 37},
    "gpt2": {"dim": 20, "depth": 2, "heads": 5},
    "vaswani": {"dim": 20, "depth": 2, "heads": 5, "hidden": 37},
}


def tiny_bundle(family: str, seed: int = 3, **changes):
    """A bundle whose weights are large enough for clear-cut choices, far from any tie."""
    config = models.config(family, {"vocab": Letters.size, "context": CONTEXT, **SMALL[family], **changes})
    model = models.build(config, Key(seed)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.35, generator=generator)
    task = "seq2seq" if family == "vaswani" else "causal-lm"
    return SimpleNamespace(model=model, tokenizer=Letters(), family=family, task=task)


@pytest.fixture(scope="session")
def tiny():
    """How to make more of them."""
    return SimpleNamespace(bundle=tiny_bundle, context=CONTEXT, size=Letters.size)


@pytest.fixture(scope="session")
def bundles():
    return {family: tiny_bundle(family) for family in SMALL}


@pytest.fixture(params=list(SMALL))
def any_bundle(request, bundles):
    return bundles[request.param]


@pytest.fixture
def writer(bundles):
    """A decoder-only model."""
    return bundles["qwen3"]
