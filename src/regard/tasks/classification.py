"""Classification: one label for a text, by encoders and decoders alike; where it is read off is the head's business."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers import Context, Key
from regard.models.transformer import about
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
    probabilities,
    refuse_long,
    require,
    resolve_context,
)
from regard.tasks.baselines.bag_of_words import LogisticRegression, NaiveBayes
from regard.tasks.baselines.majority import commonest
from regard.tasks.config import Classification
from regard.tasks.scores import Outcome, Result, class_scores, confusion

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.tokenizer import Tokenizer


def build(
    settings: Classification, tokenizer: Tokenizer, *, context: int, labels: tuple[str, ...]
) -> ClassificationTask:
    """The task; the recipe's labels, if it names any, stand before those found in the data."""
    return ClassificationTask(tokenizer, resolve_context(settings.context, context), settings.labels or labels)


class ClassificationTask:
    """Texts are cut to the context, and what was cut is counted. A label that is not among `labels` is an error."""

    name = "classification"
    columns: tuple[str, ...] = ("text", "label")
    primary = "accuracy"

    def __init__(self, tokenizer: Tokenizer, context: int, labels: tuple[str, ...]) -> None:
        if len(labels) < 2:
            raise RegardError("tasks.too_few_labels", labels=", ".join(labels) or "-")
        self.tokenizer = tokenizer
        self.context = context
        self.labels = labels
        self._numbers = {label: number for number, label in enumerate(labels)}

    def samples(self, row: Row, *, index: int = 0, epoch: int = 0, seed: int = 0) -> list[Sample]:
        text, klass = require(row, "text"), self._class(row)
        if not text:
            return []
        whole = len(self.tokenizer.encode(text))
        tokens = np.asarray(self.tokenizer.encode(text, context=self.context), dtype=np.int64)
        return [Sample(tokens=tokens, labels=np.full(len(tokens), IGNORED), klass=klass, cut=whole - len(tokens))]

    def collate(self, samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        return collate(samples, ids)

    def loss(self, model: nn.Module, batch: Batch, key: Key | None) -> Tensor:
        return head_of(model).loss(self._logits(model, batch, key), batch.labels)

    def evaluate(self, model: nn.Module, rows: Sequence[Row], *, progress: Progress | None = None) -> Result:
        """Accuracy, macro F1 and the confusion matrix."""
        chances, cut = np.zeros((len(rows), len(self.labels))), 0
        seen = np.zeros(len(rows), dtype=bool)
        with evaluating(model):
            for batch, samples in held_out_batches(self, rows, device_of(model), progress):
                chances[list(batch.ids)] = probabilities(self._logits(model, batch, None)).cpu().numpy()
                seen[list(batch.ids)] = True
                cut += sum(sample.cut for sample in samples)
        scored = np.flatnonzero(seen)
        truth = np.asarray([self._class(rows[i]) for i in scored.tolist()], dtype=np.int64)
        outcome = Outcome(rows=scored, truth=truth, chances=chances[scored])
        return self._result("model", truth, chances[scored].argmax(-1), cut, outcome)

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """The commonest class, naive Bayes and logistic regression on bags of words."""
        train, held_out = ([row for row in rows if require(row, "text")] for rows in (train, held_out))
        texts, classes = [row["text"] for row in train], [self._class(row) for row in train]
        asked, truth = [row["text"] for row in held_out], [self._class(row) for row in held_out]
        count = len(self.labels)
        found = {
            "majority": np.full(len(asked), commonest(classes)),
            "naive_bayes": NaiveBayes(texts, classes, count).answer(asked),
            "logistic_regression": LogisticRegression(texts, classes, count).answer(asked),
        }
        return [self._result(name, truth, answers, 0) for name, answers in found.items()]

    def predict(self, bundle: Bundle, texts: Sequence[str], *, question: str | None = None) -> list[dict[str, Any]]:
        """The likeliest label of each text and the probability of every label. question: a text that is read before
        each, by a model that was taught pairs."""
        predicted = []
        for text in texts:
            if question is None:
                ids, kinds = self.tokenizer.encode(text), None
            else:
                ids, kinds = self.tokenizer.encode_typed(question, text)
            refuse_long(text, len(ids), self.context)
            tokens = torch.tensor([ids], device=device_of(bundle.model))
            types = None if kinds is None else torch.tensor([kinds], device=tokens.device)
            with evaluating(bundle.model):
                context = Context.packed((len(ids),), device=tokens.device, types=types)
                logits = about(bundle.model, tokens, context)[0]
            shares = probabilities(logits).tolist()
            best = self.labels[shares.index(max(shares))]
            predicted.append(
                {"text": text, "label": best, "probabilities": dict(zip(self.labels, shares, strict=True))}
            )
        return predicted

    def _class(self, row: Row) -> int:
        label = require(row, "label")
        if label not in self._numbers:
            known = ", ".join(self.labels[:10]) + (" …" if len(self.labels) > 10 else "")
            raise RegardError("tasks.unseen_label", label=label, where=row.get("where", "?"), known=known)
        return self._numbers[label]

    def _logits(self, model: Any, batch: Batch, key: Key | None) -> Tensor:
        return about(model, batch.tokens, Context.packed(batch.lengths, device=batch.tokens.device, key=key))

    def _result(
        self,
        name: str,
        truth: Sequence[int] | np.ndarray,
        answers: np.ndarray,
        cut: int,
        outcome: Outcome | None = None,
    ) -> Result:
        table = confusion(truth, answers, len(self.labels))
        return Result(
            name=name,
            scores=class_scores(truth, answers, len(self.labels)),
            examples=len(truth),
            cut=cut,
            details={"labels": list(self.labels), "confusion": table.tolist()},
            outcome=outcome,
        )
