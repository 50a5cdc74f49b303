"""Causal language modelling: each token from those before it, the first from the beginning, the end from the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from regard.generate import Settings, generate
from regard.layers import Context, Key
from regard.layers.side import side_loss
from regard.tasks.base import (
    Batch,
    Progress,
    Row,
    Sample,
    collate,
    device_of,
    evaluating,
    head_of,
    held_out_batches,
    judge,
    require,
    resolve_context,
    special,
)
from regard.tasks.baselines.ngram import SCALARS, NGram
from regard.tasks.config import CausalLM
from regard.tasks.scores import Outcome, Result, language_scores

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.tokenizer import Tokenizer

ORDERS = {"unigram": 1, "bigram": 2, "5-gram": 5}  # the baselines: characters looked at together


def build(settings: CausalLM, tokenizer: Tokenizer, *, context: int, labels: tuple[str, ...]) -> CausalLMTask:
    """The task; `labels` are of no use here."""
    return CausalLMTask(tokenizer, resolve_context(settings.context, context))


class CausalLMTask:
    """A document is bos, its tokens, eos. Longer ones are cut into chunks of about one length, none above the context.

    Inputs are all but the last token, labels all but the first: shifted here, once. Chunks share no token that is
    predicted, so each is predicted exactly once; a chunk begins with the token before it and sees nothing further
    back.
    """

    name = "causal-lm"
    columns: tuple[str, ...] = ("text",)
    primary = "bits_per_character"
    labels: tuple[str, ...] = ()

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        self.tokenizer = tokenizer
        self.context = context
        # A tokenizer without bos begins documents with eos, as GPT-2's does.
        self._begin = special(tokenizer, self.name, "bos", "eos", "cls")
        self._end = special(tokenizer, self.name, "eos", "sep")

    def samples(self, row: Row, *, index: int = 0, epoch: int = 0, seed: int = 0) -> list[Sample]:
        ids = self.tokenizer.encode(require(row, "text"), special=False)
        if not ids:
            return []
        stream = np.asarray([self._begin, *ids, self._end], dtype=np.int64)
        chunks = math.ceil((len(stream) - 1) / self.context)
        inputs, labels = np.array_split(stream[:-1], chunks), np.array_split(stream[1:], chunks)
        return [Sample(tokens=tokens, labels=wanted) for tokens, wanted in zip(inputs, labels, strict=True)]

    def collate(self, samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        return collate(samples, ids)

    def loss(self, model: nn.Module, batch: Batch, key: Key | None) -> Tensor:
        # Experts share their load over the tokens of a micro-batch: only training asks for it.
        side: dict[int, Any] | None = None if key is None else {}
        loss = head_of(model).loss(self._rows(model, batch, key, side), batch.labels)
        return loss + batch.count * side_loss(model.config, side) if side else loss

    def evaluate(self, model: nn.Module, rows: Sequence[Row], *, progress: Progress | None = None) -> Result:
        """Bits per character of whole documents, comparable with the n-gram baselines.

        A character that the tokenizer cannot spell costs its unknown token and, on top, a choice among all of Unicode.
        Under a tokenizer that is not `lossless` (lower case, joined spaces) they are of the text as it sees it.
        """
        nats = np.zeros(len(rows))
        tokens = np.zeros(len(rows), dtype=np.int64)
        with evaluating(model):
            for batch, _ in held_out_batches(self, rows, device_of(model), progress):
                spent, _ = judge(head_of(model), self._rows(model, batch, None), batch.labels)
                owner = np.asarray(batch.ids)[batch.document().cpu().numpy()]
                nats += np.bincount(owner, weights=spent, minlength=len(rows))
                tokens += np.bincount(owner, minlength=len(rows))
        scored = np.flatnonzero(tokens).tolist()
        lost = np.asarray([self._lost(rows[i]["text"]) for i in scored], dtype=np.int64)
        characters = [len(rows[i]["text"]) for i in scored]
        return Result(
            name="model",
            scores=language_scores(nats[scored] + lost * math.log(SCALARS), characters, tokens[scored]),
            examples=len(scored),
            details={"unknown_characters": int(lost.sum()), "lossless": self.tokenizer.lossless},
            outcome=Outcome(rows=np.asarray(scored)),
        )

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """Character n-gram models."""
        texts = [text for row in held_out if (text := require(row, "text"))]
        known = [text for row in train if (text := require(row, "text"))]
        lengths = [len(text) for text in texts]
        results = []
        for name, order in ORDERS.items():
            nats = NGram(known, order).nats(texts)
            # Perplexity and nats per token would be of other tokens than the model's: they have no place beside them.
            score = language_scores(nats, lengths, [length + 1 for length in lengths])[:1]
            results.append(Result(name=name, scores=score, examples=len(texts)))
        return results

    def predict(self, bundle: Bundle, texts: Sequence[str], settings: Settings | None = None) -> list[dict[str, Any]]:
        """A continuation of each text."""
        found = generate(bundle, list(texts), settings)
        return [{"text": texts[each.prompt], "continuation": each.text, "ended": each.reason} for each in found]

    def _rows(self, model: Any, batch: Batch, key: Key | None, side: dict[int, Any] | None = None) -> Tensor:
        context = Context.packed(batch.lengths, device=batch.tokens.device, key=key, side=side)
        return model.hidden(batch.tokens, context)[0, batch.where]

    def _lost(self, text: str) -> int:
        """Characters behind unknown tokens."""
        unk = self.tokenizer.unk
        ids = self.tokenizer.encode(text, special=False)
        if unk is None or unk not in ids:
            return 0
        kept = self.tokenizer.decode([token for token in ids if token != unk])
        return max(len(text) - len(kept), ids.count(unk))
