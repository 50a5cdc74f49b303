"""Sequence to sequence: the target, token by token, from the source and the target so far (teacher forcing)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from regard.errors import RegardError, need
from regard.generate import Settings, generate
from regard.inputs.marks import Marks
from regard.layers import Context, Key, Mask
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
    require,
    resolve_context,
    special,
)
from regard.tasks.baselines.neighbour import Memory
from regard.tasks.config import Seq2Seq
from regard.tasks.scores import Outcome, Result, Score, bootstrap, translation_scores

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.tokenizer import Tokenizer

_AT_ONCE = 64  # sources answered between two reports of progress


def build(
    settings: Seq2Seq, tokenizer: Tokenizer, *, context: int, labels: tuple[str, ...], marks: Marks | None = None
) -> Seq2SeqTask:
    """The task; `labels` are of no use here. `marks`: what begins and ends the model's targets."""
    need("sacrebleu", extra="text")  # said before a training, not at its first scoring
    return Seq2SeqTask(tokenizer, resolve_context(settings.context, context), settings.beams, marks)


class Seq2SeqTask:
    """The decoder reads start + target and predicts target + eos: shifted here, once. Label smoothing is the head's.

    Source and target are cut to the context, and what was cut is counted; a cut target has no eos, for it did not end
    there.
    """

    name = "seq2seq"
    columns: tuple[str, ...] = ("source", "target")
    primary = "chrf"
    labels: tuple[str, ...] = ()

    def __init__(self, tokenizer: Tokenizer, context: int, beams: int = 1, marks: Marks | None = None) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.beams = beams
        # As decoding begins (regard.generate): as the model's own texts do (BART's with eos, and a language that is
        # asked for stands behind it), else as those of a new one.
        marks = marks or Marks()
        known = marks.start is not None
        self._marks = marks if known else replace(marks, start=special(tokenizer, self.name, "bos", "pad"))
        self._end = special(tokenizer, self.name, "eos")

    def samples(self, row: Row, *, index: int = 0, epoch: int = 0, seed: int = 0) -> list[Sample]:
        source_text, target_text = require(row, "source"), require(row, "target")
        if not source_text or not target_text:
            return []
        source = np.asarray(self.tokenizer.encode(self._fitting(source_text)), dtype=np.int64)
        begin = self._marks.begin
        target = np.asarray([*begin, *self.tokenizer.encode(target_text, special=False), self._end], dtype=np.int64)
        tokens, labels = target[:-1][: self.context], target[1:][: self.context].copy()
        labels[: len(begin) - 1] = IGNORED  # a language is said, not predicted
        cut = len(self.tokenizer.encode(source_text)) - len(source) + len(target) - 1 - len(tokens)
        return [Sample(tokens=tokens, labels=labels, source=source, cut=cut)]

    def collate(self, samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        return collate(samples, ids)

    def loss(self, model: nn.Module, batch: Batch, key: Key | None) -> Tensor:
        return head_of(model).loss(self._rows(model, batch, key), batch.labels)

    def evaluate(self, model: nn.Module, rows: Sequence[Row], *, progress: Progress | None = None) -> Result:
        """chrF, BLEU and exact matches of written answers, and nats per token with the true target before each."""
        numbers = np.flatnonzero([bool(row.get("source") and row.get("target")) for row in rows])
        rows = self._complete(rows)
        nats, cut = self._nats(model, rows)
        answers = self._answers(model, [self._fitting(row["source"]) for row in rows], progress)
        scores = translation_scores(answers, [row["target"] for row in rows])
        return Result(
            name="model",
            scores=(*scores, nats),
            examples=len(rows),
            cut=cut,
            details={"answers": answers},
            outcome=Outcome(rows=numbers),
        )

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """The source as it is, and the target of the most similar training source."""
        train, held_out = self._complete(train), self._complete(held_out)
        references = [row["target"] for row in held_out]
        memory = Memory([row["source"] for row in train], [row["target"] for row in train])
        methods: dict[str, Callable[[str], str]] = {"copy": lambda source: source, "neighbour": memory.answer}
        results = []
        for name, method in methods.items():
            answers = [method(row["source"]) for row in held_out]
            scores = translation_scores(answers, references)
            results.append(Result(name=name, scores=scores, examples=len(held_out), details={"answers": answers}))
        return results

    def predict(self, bundle: Bundle, texts: Sequence[str], settings: Settings | None = None) -> list[dict[str, Any]]:
        """The target of each text."""
        found = generate(bundle, list(texts), settings or self._settings())
        return [{"text": texts[each.prompt], "target": each.text, "ended": each.reason} for each in found]

    def _rows(self, model: Any, batch: Batch, key: Key | None) -> Tensor:
        device = batch.tokens.device
        assert batch.source is not None
        memory = model.encode(batch.source, Context.packed(batch.source_lengths, device=device, key=key))
        across = Mask(documents=batch.lengths, memory_documents=batch.source_lengths)
        context = Context.packed(batch.lengths, device=device, key=key, memory=memory, memory_mask=across)
        return model.hidden(batch.tokens, context)[0, batch.where]

    def _nats(self, model: nn.Module, rows: Sequence[Row]) -> tuple[Score, int]:
        """Nats per token under the true targets, and how many tokens truncation took."""
        sums, cut = np.zeros((len(rows), 2)), 0
        with evaluating(model):
            for batch, samples in held_out_batches(self, rows, device_of(model)):
                spent, _ = judge(head_of(model), self._rows(model, batch, None), batch.labels)
                owner = np.asarray(batch.ids)[batch.document().cpu().numpy()]
                sums[:, 0] += np.bincount(owner, weights=spent, minlength=len(rows))
                sums[:, 1] += np.bincount(owner, minlength=len(rows))
                cut += sum(sample.cut for sample in samples)
        return bootstrap("nats_per_token", sums, lambda total: total[:, 0] / total[:, 1]), cut

    def _answers(self, model: nn.Module, sources: Sequence[str], progress: Progress | None) -> list[str]:
        from regard.bundle import Bundle

        bundle = Bundle(model=model, tokenizer=self.tokenizer, family="", task=self.name, marks=self._marks)
        answers: list[str] = []
        for start in range(0, len(sources), _AT_ONCE):
            part = list(sources[start : start + _AT_ONCE])
            with evaluating(model):
                answers += [each.text for each in generate(bundle, part, self._settings())]
            if progress is not None:
                progress(len(part))
        return answers

    def _settings(self) -> Settings:
        # Greedy, or a beam search: no chance in a score.
        if self.beams > 1:
            return Settings(beams=self.beams, max_tokens=self.context)
        return Settings(temperature=0.0, max_tokens=self.context)

    def _fitting(self, source: str) -> str:
        """The source, or as much of its beginning as the context holds."""
        if len(self.tokenizer.encode(source)) <= self.context:
            return source
        ids = self.tokenizer.encode(source, special=False)
        # What is decoded and encoded again may take another number of tokens: shorten until it fits.
        for kept in range(min(len(ids), self.context), 0, -1):
            text = self.tokenizer.decode(ids[:kept])
            if len(self.tokenizer.encode(text)) <= self.context:
                return text
        raise RegardError("tasks.too_long", text=source[:40], tokens=len(ids), context=self.context)

    def _complete(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that have both sides."""
        rows = [row for row in rows if require(row, "source") and require(row, "target")]
        if not rows:
            raise RegardError("tasks.nothing_to_score")
        return rows
