"""Spelling what is heard: a letter or a blank for each frame, without saying which (Graves et al. 2006)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.generate.ctc import beams, greedy
from regard.inputs.audio import Filterbank
from regard.inputs.sound import opened
from regard.layers import Context, Key
from regard.models.transformer import answering
from regard.tasks.base import (
    Batch,
    Progress,
    Row,
    Sample,
    device_of,
    evaluating,
    head_of,
    held_out_batches,
    require,
)
from regard.tasks.config import CTC
from regard.tasks.scores import Outcome, Result, bootstrap, spelling_scores

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.processors import Processor
    from regard.inputs.tokenizer import Tokenizer


def build(
    settings: CTC, tokenizer: Tokenizer, *, context: int, labels: tuple[str, ...], processor: Processor | None
) -> CTCTask:
    """The task; `labels` and `context` are of no use here."""
    return CTCTask(tokenizer, processor or Filterbank(mels=settings.mels), settings.beams, context)


class CTCTask:
    """A row's source is the path of a sound, as it stands or beside the file of the rows, its target what is said."""

    name = "ctc"
    columns: tuple[str, ...] = ("source", "target")
    primary = "wer"
    labels: tuple[str, ...] = ()

    def __init__(self, tokenizer: Tokenizer, processor: Any, width: int, context: int) -> None:
        self.tokenizer, self.processor, self.width, self.context = tokenizer, processor, width, context

    def samples(self, row: Row, *, index: int = 0, epoch: int = 0, seed: int = 0) -> list[Sample]:
        letters = np.asarray(self.tokenizer.encode(require(row, "target"), special=False), dtype=np.int64)
        if not len(letters):
            return []
        sound = self.processor(opened(_place(row))).numpy()
        return [Sample(tokens=letters, labels=letters, sound=sound)]

    def collate(self, samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        """Sounds side by side, the shortest first; letters one after the other."""
        sounds = [np.zeros(0, np.float32) if one.sound is None else one.sound for one in samples]
        order = sorted(range(len(samples)), key=lambda i: len(sounds[i]))
        lengths = tuple(len(sounds[i]) for i in order)
        padded = np.zeros((len(order), lengths[-1], *sounds[0].shape[1:]), np.float32)
        for place, i in enumerate(order):
            padded[place, : lengths[place]] = sounds[i]
        letters = torch.from_numpy(np.concatenate([samples[i].tokens for i in order]))
        return Batch(
            tokens=letters.unsqueeze(0),
            lengths=tuple(len(samples[i].tokens) for i in order),
            where=torch.arange(len(letters)),
            labels=letters,
            source=None,
            source_lengths=lengths,
            count=len(letters),
            ids=tuple(int(ids[i]) for i in order),
            sound=torch.from_numpy(padded),
        )

    def loss(self, model: nn.Module, batch: Batch, key: Key | None) -> Tensor:
        logits, context = _heard(model, batch, key)
        targets = batch.labels.split(batch.lengths)
        self._refuse_fast(logits, context, targets)
        return head_of(model).loss(logits, targets, context)

    def evaluate(self, model: nn.Module, rows: Sequence[Row], *, progress: Progress | None = None) -> Result:
        """Word and character error rates, and nats for each letter; letters that a sound has too few frames for have
        no nats, and count as cut."""
        answers: dict[int, str] = {}
        nats, cut = np.zeros((len(rows), 2)), 0
        with evaluating(model):
            for batch, _ in held_out_batches(self, rows, device_of(model), progress):
                logits, context = _heard(model, batch, None)
                counts = _counts(logits, context)
                for number, target in enumerate(batch.labels.split(batch.lengths)):
                    own, row = logits[number, : counts[number]], batch.ids[number]
                    answers[row] = self._spelled(model, own)
                    if _needed(target) > counts[number]:
                        cut += len(target)
                        continue
                    nats[row] = float(head_of(model).loss(own.unsqueeze(0), [target])), len(target)
        scored = np.array(sorted(answers), dtype=np.int64)
        if not len(scored):
            raise RegardError("tasks.nothing_to_score")
        said = [answers[row] for row in scored.tolist()]
        spelt = spelling_scores(said, [rows[row]["target"] for row in scored.tolist()])
        each = bootstrap("nats_per_token", nats[scored], lambda total: total[:, 0] / total[:, 1])
        details = {"answers": said}
        known = {"examples": len(scored), "details": details, "outcome": Outcome(rows=scored)}
        return Result(name="model", scores=(*spelt, each) if nats[:, 1].any() else spelt, cut=cut, **known)

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """Nothing, and what is said most often in training, whatever is heard."""
        references = [row["target"] for row in held_out if require(row, "target")]
        commonest = Counter(require(row, "target") for row in train).most_common(1)[0][0]
        return [
            Result(
                name=name,
                scores=spelling_scores([answer] * len(references), references),
                examples=len(references),
                details={"answers": [answer] * len(references)},
            )
            for name, answer in (("empty", ""), ("majority", commonest))
        ]

    def predict(self, bundle: Bundle, texts: Sequence[str]) -> list[dict[str, Any]]:
        """What is said in each of the sounds at these paths; nothing in one too short to say anything."""
        return [{"sound": path, "text": self.transcribe(bundle.model, Path(path))} for path in texts]

    def transcribe(self, model: Any, path: Path) -> str:
        """What is said in the sound at `path`."""
        heard = self.processor(opened(path))
        if len(heard) == 0 or model.embed.count(len(heard)) < 1:
            return ""
        with evaluating(model):
            return self._spelled(model, model(heard.unsqueeze(0).to(device_of(model)), Context())[0])

    def _refuse_fast(self, logits: Tensor, context: Context, targets: Sequence[Tensor]) -> None:
        """Refuses letters for which there are not enough frames, for no weights could ever say them."""
        if logits.device.type == "meta":
            return
        for count, target in zip(_counts(logits, context), targets, strict=True):
            if _needed(target) > count:
                text = self.tokenizer.decode(target.tolist())[:40]
                raise RegardError("tasks.too_fast", text=text, need=_needed(target), frames=count)

    def _spelled(self, model: Any, logits: Tensor) -> str:
        blank = model.config.blank
        letters = greedy(logits, blank) if self.width == 1 else beams(logits, blank, self.width)[0].letters
        return " ".join(self.tokenizer.decode(letters).split())


def _place(row: Row) -> Path:
    """The sound of a row: where its path says, or beside the file that the row is from."""
    path = Path(require(row, "source"))
    beside = Path(str(row.get("where", "")).rpartition(":")[0]).parent / path
    return path if path.is_absolute() or not beside.is_file() else beside


def _heard(model: Any, batch: Batch, key: Key | None) -> tuple[Tensor, Context]:
    assert batch.sound is not None
    context = replace(model.embed.context(batch.source_lengths, batch.sound.device), key=key)
    return model(batch.sound, context), answering(model, batch.sound, context)


def _counts(logits: Tensor, context: Context) -> list[int]:
    real = context.valid(logits.shape[1])
    return [logits.shape[1]] * len(logits) if real is None else real.expand(logits.shape[:2]).sum(-1).tolist()


def _needed(letters: Tensor) -> int:
    """The fewest frames in which letters can be said: one each, and a blank between two alike."""
    return len(letters) + int((letters[1:] == letters[:-1]).sum())
