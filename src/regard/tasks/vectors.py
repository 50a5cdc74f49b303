"""One vector for each text: what a trained encoder, or a decoder's last token, makes of it.

    vectors(bundle, ["A man is eating food.", "A man is eating a piece of bread."])       # (2, D), of length 1

Texts of like length stand in one flat row without padding, so a text's vector does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from regard import limits
from regard.errors import BadFileError, RegardError
from regard.heads.classify import Pool
from regard.layers import Context
from regard.models.transformer import EncoderDecoder

if TYPE_CHECKING:
    from regard.bundle import Bundle

How = Literal["mean", "first", "last"]
AT_ONCE = 4096  # tokens of one row: enough to fill the processor
_POOLING = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}


def vectors(
    bundle: Bundle, texts: Sequence[str], *, how: How | None = None, normalised: bool = True, context: int | None = None
) -> Tensor:
    """(texts, D) float32. how: "mean" over a text's tokens, its "first" ([CLS]) or "last"; None as its files say, else
    the mean for an encoder and the last for a decoder. normalised: of length 1, so that a product is the cosine.

    A text is cut after `context` tokens (None: the model's). Raises RegardError for an encoder-decoder, and for an
    empty text where the tokenizer puts nothing around it.
    """
    if isinstance(bundle.model, EncoderDecoder):
        raise RegardError("tasks.no_vectors", family=bundle.family)
    model, most = bundle.model, min(context or bundle.context, bundle.context)
    pool = Pool(model.config.dim, how or usual(bundle))
    rows = [bundle.tokenizer.encode(text, context=most) for text in texts]
    for number, row in enumerate(rows, 1):
        if not row:
            raise RegardError("tasks.empty_text", number=number)
    device = next(model.parameters()).device
    found: list[Any] = [None] * len(rows)
    with torch.inference_mode():
        for group in _groups([len(row) for row in rows]):
            tokens = torch.tensor([[token for number in group for token in rows[number]]], device=device)
            packed = Context.packed([len(rows[number]) for number in group], device=device)
            for number, vector in zip(group, pool(model.hidden(tokens, packed), packed).float().cpu(), strict=True):
                found[number] = vector
    together = torch.stack(found) if found else torch.empty(0, model.config.dim)
    return torch.nn.functional.normalize(together, dim=-1) if normalised else together


def usual(bundle: Bundle) -> How:
    """How its files say that texts become vectors (sentence-transformers' 1_Pooling/config.json); else by its kind."""
    path = (bundle.folder or Path()) / "1_Pooling" / "config.json"
    if path.is_file():
        told = limits.read_json(path)
        chosen = [how for key, how in _POOLING.items() if isinstance(told, dict) and told.get(key) is True]
        others = isinstance(told, dict) and any(
            value is True for key, value in told.items() if key.startswith("pooling_mode_") and key not in _POOLING
        )
        if len(chosen) != 1 or others:
            raise BadFileError("tasks.pooling", file=path, known=", ".join(_POOLING))
        return chosen[0]  # type: ignore[return-value]
    last = bundle.task == "causal-lm" or getattr(bundle.model.head, "how", "") == "last"  # a decoder, or its body alone
    return "last" if last else "mean"


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
