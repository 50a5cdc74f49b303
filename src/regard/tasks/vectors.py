"""One vector for each text: what a trained encoder, or a decoder's last token, makes of it.

    vectors(bundle, ["A man is eating food.", "A man is eating a piece of bread."])       # (2, D), of length 1

Texts of like length stand in one flat row without padding, so a text's vector does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.heads.classify import POOLS, sequences
from regard.inputs.sentences import How, Told, told
from regard.layers import Context
from regard.models.transformer import EncoderDecoder

if TYPE_CHECKING:
    from regard.bundle import Bundle

AT_ONCE = 4096  # tokens of one row: enough to fill the processor


def vectors(
    bundle: Bundle, texts: Sequence[str], *, how: How | None = None, prompt: str | None = None, normalised: bool = True,
    context: int | None = None,
) -> Tensor:
    """(texts, D) float32. how: "mean" over a text's tokens, its "first" ([CLS]) or "last"; None as its files say, else
    the mean for an encoder and the last for a decoder. prompt: the name of what stands before each text, among those
    that its files have ("query"); "" none, None as they say. normalised: of length 1, so that a product is the cosine.

    A text is cut after `context` tokens (None: where its files say, at most the model's). Raises RegardError for an
    encoder-decoder, for a prompt that there is not, and for an empty text where the tokenizer puts nothing around it.
    """
    if isinstance(bundle.model, EncoderDecoder):
        raise RegardError("tasks.no_vectors", family=bundle.family)
    model, said = bundle.model, told(bundle.folder)
    how, words = how or said.how or usual(bundle), said.prompt(prompt)
    most = min(context or said.context or bundle.context, bundle.context)
    rows = [bundle.tokenizer.encode(said.read(words, text), context=most) for text in texts]
    begin = _skipped(bundle, said, words) if how == "mean" else 0
    for number, row in enumerate(rows, 1):
        if len(row) <= begin:
            raise RegardError("tasks.empty_text", number=number)
    device = next(model.parameters()).device
    found: list[Any] = [None] * len(rows)
    with torch.inference_mode():
        for group in _groups([len(row) for row in rows]):
            tokens = torch.tensor([[token for number in group for token in rows[number]]], device=device)
            packed = Context.packed([len(rows[number]) for number in group], device=device)
            states = sequences(model.hidden(tokens, packed), packed)
            made = torch.stack([POOLS[how](one[begin:]) for one in states]).float().cpu()
            for number, vector in zip(group, made, strict=True):
                found[number] = vector
    together = torch.stack(found) if found else torch.empty(0, model.config.dim)
    return torch.nn.functional.normalize(together, dim=-1) if normalised else together


def usual(bundle: Bundle) -> How:
    """How texts become vectors where nobody says so: the last token's for a decoder, or for its body alone."""
    last = bundle.task == "causal-lm" or getattr(bundle.model.head, "how", "") == "last"
    return "last" if last else "mean"


def _skipped(bundle: Bundle, said: Told, words: str) -> int:
    """How many tokens of a prompt the mean leaves out; what the tokenizer puts behind a text is none of them."""
    if said.counted or not words:
        return 0
    row = bundle.tokenizer.encode(said.read("", words))
    return len(row) - (row[-1] in bundle.tokenizer.specials)


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of texts, those of like length together, about AT_ONCE tokens in each group."""
    group: list[int] = []
    size = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and size + lengths[number] > AT_ONCE:
            yield group
            group, size = [], 0
        group.append(number)
        size += lengths[number]
    if group:
        yield group
