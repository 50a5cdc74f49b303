"""Every text there is, for a model of five tokens: what a search should find among them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import torch


def every_text(model, start: list[int], eos: int, most: int, vocab: int, length_penalty: float):
    """All texts of at most `most` tokens that end with eos or are `most` long, best first: (rank, tokens, logprob)."""
    found = []
    for count in range(1, most + 1):
        for body in itertools.product([t for t in range(vocab) if t != eos], repeat=count - 1):
            for last in range(vocab) if count == most else [eos]:
                found.append((*body, last))
    texts = []
    for tokens in found:
        with torch.no_grad():
            scores = model(torch.tensor([[*start, *tokens]])).log_softmax(-1)[0]
        logprob = sum(float(scores[len(start) - 1 + i, token]) for i, token in enumerate(tokens))
        texts.append((logprob / len(tokens) ** length_penalty, tokens, logprob))
    return sorted(texts, reverse=True)


class Digits:
    """Token i is the digit i; 0 is the end."""

    pad, bos, eos, size = None, 1, 0, 5
    template = SimpleNamespace(before=(1,), after=())

    def encode(self, text, special=True):
        return [int(letter) for letter in text.strip()]

    def document(self):
        return {"model": "0123456789", "added_tokens": []}

    def stream(self):
        return self

    def feed(self, token):
        return str(token)

    def flush(self):
        return ""
