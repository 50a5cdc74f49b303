"""Masked language modelling with whole words: some words are hidden and the model names their tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers import Context, Key
from regard.layers.side import side_loss
from regard.tasks.base import (
    IGNORED,
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
    probabilities,
    refuse_long,
    require,
    resolve_context,
    special,
)
from regard.tasks.baselines.gaps import Bigram, Unigram
from regard.tasks.config import MaskedLM
from regard.tasks.scores import Outcome, Result, token_scores

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.tokenizer import Tokenizer


def build(settings: MaskedLM, tokenizer: Tokenizer, *, context: int, labels: tuple[str, ...]) -> MaskedLMTask:
    """The task; `labels` are of no use here."""
    return MaskedLMTask(settings, tokenizer, resolve_context(settings.context, context))


class MaskedLMTask:
    """Long documents are cut into chunks, each between cls and sep; nothing is thrown away.

    What is hidden is a pure function of (seed, epoch, index, chunk), so each epoch asks for other words. Only hidden
    positions carry loss, and only their rows reach the vocabulary head.
    """

    name = "masked-lm"
    columns: tuple[str, ...] = ("text",)
    primary = "accuracy"
    labels: tuple[str, ...] = ()

    def __init__(self, settings: MaskedLM, tokenizer: Tokenizer, context: int) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.context = context
        self._begin = special(tokenizer, self.name, "cls", "bos")
        self._end = special(tokenizer, self.name, "sep", "eos")
        self._mask = special(tokenizer, self.name, "mask")
        self._special = np.asarray(sorted(tokenizer.specials), dtype=np.int64)
        self._ordinary = np.setdiff1d(np.arange(tokenizer.size), self._special)

    def samples(self, row: Row, *, index: int = 0, epoch: int = 0, seed: int = 0) -> list[Sample]:
        made = []
        for number, ids in enumerate(self._chunks(require(row, "text"))):
            generator = np.random.default_rng([seed, epoch, index, number])
            words = np.asarray(self.tokenizer.words(ids.tolist()), dtype=object)
            chosen = choose_words(words, ~np.isin(ids, self._special), self.settings.rate, generator)
            if len(chosen) == 0:
                continue
            labels = np.full(len(ids) + 2, IGNORED, dtype=np.int64)
            labels[1 + chosen] = ids[chosen]
            tokens = np.concatenate([[self._begin], self._hide(ids, chosen, generator), [self._end]])
            made.append(Sample(tokens=tokens, labels=labels))
        return made

    def collate(self, samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        return collate(samples, ids)

    def loss(self, model: nn.Module, batch: Batch, key: Key | None) -> Tensor:
        side: dict[int, Any] = {}
        loss = head_of(model).loss(self._rows(model, batch, key, side), batch.labels)
        return loss + batch.count * side_loss(model.config, side) if side else loss

    def evaluate(self, model: nn.Module, rows: Sequence[Row], *, progress: Progress | None = None) -> Result:
        """Share of hidden tokens named right, each row hidden as in epoch 0 of seed 0."""
        right, count, nats = np.zeros((3, len(rows)))
        with evaluating(model):
            for batch, _ in held_out_batches(self, rows, device_of(model), progress):
                spent, answers = judge(head_of(model), self._rows(model, batch, None), batch.labels)
                owner = np.asarray(batch.ids)[batch.document().cpu().numpy()]
                hits = (answers == batch.labels.cpu().numpy()).astype(np.float64)
                right += np.bincount(owner, weights=hits, minlength=len(rows))
                nats += np.bincount(owner, weights=spent, minlength=len(rows))
                count += np.bincount(owner, minlength=len(rows))
        scored = np.flatnonzero(count).tolist()
        scores = token_scores(right[scored], count[scored], nats[scored])
        return Result(name="model", scores=scores, examples=len(scored), outcome=Outcome(rows=np.asarray(scored)))

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """The commonest token, and the one that goes best with its two neighbours."""
        known = [ids for row in train for ids in self._chunks(require(row, "text"))]
        known = [ids[~np.isin(ids, self._special)] for ids in known]
        results = []
        for name, filler in (
            ("unigram", Unigram(known, self.tokenizer.size)),
            ("bigram", Bigram(known, self.tokenizer.size)),
        ):
            right, count = [], []
            for index, row in enumerate(held_out):
                samples = self.samples(row, index=index)
                places = [np.flatnonzero(sample.labels != IGNORED) for sample in samples]
                if samples:
                    pairs = list(zip(samples, places, strict=True))
                    right.append(sum(int((filler.fill(s.tokens, at) == s.labels[at]).sum()) for s, at in pairs))
                    count.append(sum(len(at) for at in places))
            results.append(Result(name=name, scores=token_scores(right, count), examples=len(count)))
        return results

    def predict(self, bundle: Bundle, texts: Sequence[str], *, candidates: int = 5) -> list[dict[str, Any]]:
        """For each mask in each text its likeliest tokens, and the text with the likeliest filled in."""
        return [self._fill(bundle.model, text, candidates) for text in texts]

    def _chunks(self, text: str) -> list[np.ndarray]:
        ids = np.asarray(self.tokenizer.encode(text, special=False), dtype=np.int64)
        return np.array_split(ids, math.ceil(len(ids) / (self.context - 2))) if len(ids) else []

    def _hide(self, ids: np.ndarray, chosen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        hidden, draw = ids.copy(), generator.random(len(chosen))
        masked, replaced = self.settings.masked, self.settings.masked + self.settings.replaced
        hidden[chosen[draw < masked]] = self._mask
        swapped = chosen[(draw >= masked) & (draw < replaced)]
        hidden[swapped] = generator.choice(self._ordinary, size=len(swapped))
        return hidden

    def _rows(self, model: Any, batch: Batch, key: Key | None, side: dict[int, Any] | None = None) -> Tensor:
        context = Context.packed(batch.lengths, device=batch.tokens.device, key=key, side=side)
        return model.hidden(batch.tokens, context)[0, batch.where]

    def _fill(self, model: Any, text: str, candidates: int) -> dict[str, Any]:
        mark = self.tokenizer.roles["mask"]
        parts = [self.tokenizer.encode(part, special=False) for part in text.split(mark)]
        if len(parts) == 1:
            raise RegardError("tasks.no_mask", text=text[:40], mask=mark)
        ids = [self._begin, *parts[0]]
        gaps = []
        for part in parts[1:]:
            gaps.append(len(ids))
            ids += [self._mask, *part]
        ids.append(self._end)
        refuse_long(text, len(ids), self.context)
        tokens = torch.tensor([ids], device=device_of(model))
        with evaluating(model):
            hidden = model.hidden(tokens, Context.packed((len(ids),), device=tokens.device))[0, gaps]
            shares, best = probabilities(model.head(hidden)).topk(min(candidates, self.tokenizer.size))
        for gap, answers in zip(gaps, best.tolist(), strict=True):
            ids[gap] = answers[0]
        return {
            "text": text,
            "filled": self.tokenizer.decode(ids[1:-1]),
            "masks": [
                [
                    {"token": self.tokenizer.decode([token]), "probability": share}
                    for token, share in zip(tokens, row, strict=True)
                ]
                for tokens, row in zip(best.tolist(), shares.tolist(), strict=True)
            ],
        }


def choose_words(words: np.ndarray, real: np.ndarray, rate: float, generator: np.random.Generator) -> np.ndarray:
    """Sorted positions of whole words that make up about `rate` of the real tokens, and never less than a word.

    `words` (T,) numbers the word of each token, None for none; `real` (T,) says which tokens may be hidden. Words are
    taken in random order, those that no longer fit are passed over (as google-research/bert does); the first is
    always taken.
    """
    found: dict[Any, list[int]] = {}
    for place in np.flatnonzero(real):
        if words[place] is not None:
            found.setdefault(words[place], []).append(int(place))
    groups = list(found.values())
    budget = max(1, round(rate * sum(map(len, groups))))
    chosen: list[int] = []
    for group in (groups[number] for number in generator.permutation(len(groups))):
        if not chosen or len(chosen) + len(group) <= budget:
            chosen += group
    return np.sort(np.asarray(chosen, dtype=np.int64))
