"""Tiny random models with a tokenizer of single letters: what they write is noise, but the same noise each time."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from regard import models
from regard.inputs.marks import Marks
from regard.layers import Key

sys.path.insert(0, str(Path(__file__).parent))  # every_text, published

LETTERS = "abcdefghijklmnopqrstuvwxyz .,!?-明月光床前疑是"
PAD, BOS, EOS, FIRST = 0, 1, 2, 3
CONTEXT = 61


class Letters:
    """Letter i of LETTERS is token FIRST + i."""

    pad, bos, eos = PAD, BOS, EOS
    size = FIRST + len(LETTERS)
    template = SimpleNamespace(before=(BOS,), after=(EOS,))

    def encode(self, text: str, special: bool = True) -> list[int]:
        tokens = [FIRST + LETTERS.index(letter) for letter in text]
        return [BOS, *tokens, EOS] if special else tokens

    def decode(self, tokens: list[int], special: bool = False) -> str:
        return "".join(LETTERS[token - FIRST] for token in tokens if token >= FIRST)

    def document(self) -> dict[str, object]:
        return {"model": LETTERS, "added_tokens": []}

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
    "qwen3": {"dim": 23, "depth": 2, "hidden": 37, "attention": {"heads": 6, "kv_heads": 2, "head_dim": 10}},
    "windowed": {
        "dim": 23,
        "depth": 3,
        "hidden": 37,
        "attention": {"heads": 6, "kv_heads": 2, "head_dim": 10, "window": 5, "local": [0, 2]},
    },
    "gpt2": {"dim": 26, "depth": 2, "heads": 2, "hidden": 37},
    "vaswani": {"dim": 26, "depth": 2, "heads": 2, "hidden": 37},
}
FAMILY = {"windowed": "qwen3"}


def tiny_bundle(name: str, seed: int = 5, tokenizer=None, **changes):
    """A bundle whose weights are large enough for clear-cut choices, far from any tie."""
    family = FAMILY.get(name, name)
    config = models.config(family, {"vocab": Letters.size, "context": CONTEXT, **SMALL[name], **changes})
    model = models.build(config, Key(seed)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                # Large embeddings, which are the vocabulary's matrix too, would have every token follow itself; large
                # outputs of attention, which are much the same for neighbours, one token follow all.
                deviation = 0.2 if "embed" in name else 0.05 if name.endswith("attention.o.weight") else 0.6
                weight.normal_(0, deviation, generator=generator)
    task = "seq2seq" if family == "vaswani" else "causal-lm"
    tokenizer = tokenizer or Letters()
    rest = {"family": family, "task": task, "context": config.context, "marks": Marks()}
    return SimpleNamespace(model=model, tokenizer=tokenizer, **rest)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
