"""Naming the class of an image: its path, or the image itself, is a row's text."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from regard.errors import BadFileError, RegardError, need
from regard.inputs import pictures
from regard.layers import Context, Key
from regard.ops.losses import class_loss
from regard.tasks import pictures as answers
from regard.tasks.base import IGNORED, Batch, Row, Sample, collate, require
from regard.tasks.baselines.majority import commonest
from regard.tasks.classification import ClassificationTask
from regard.tasks.config import ImageClassification
from regard.tasks.scores import Result

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.processors import Processor

INLINE = "data:image/png;base64,"  # before an image that stands in the row itself


def build(
    settings: ImageClassification, tokenizer: Any, *, context: int, labels: tuple[str, ...], processor: Processor | None
) -> ImageClassificationTask:
    """The task; the recipe's labels, if it names any, stand before those found in the data."""
    if processor is None:
        raise RegardError("tasks.no_image_processor", folder=settings)
    return ImageClassificationTask(tokenizer, context, settings.labels or labels, processor, settings.shift)


class ImageClassificationTask(ClassificationTask):
    """A path counts from the folder that the row's file is in. In training, an image is moved by up to `shift` pixels
    in either direction, another way in each epoch."""

    name = "image-classification"

    def __init__(self, tokenizer: Any, context: int, labels: tuple[str, ...], processor: Any, shift: int) -> None:
        super().__init__(tokenizer, context, labels)
        self.processor, self.shift = processor, shift

    def samples(self, row: Row, *, index: int = 0, epoch: int = 0, seed: int = 0) -> list[Sample]:
        pixels = self._pixels(row)
        if self.shift and (epoch or seed):  # held-out rows are those of epoch 0 of seed 0
            pixels = moved(pixels, self.shift, Key(seed).at(epoch, index))
        tokens = np.zeros(self.context, dtype=np.int64)  # a place for each patch, so that a batch is of a known size
        return [Sample(tokens=tokens, labels=np.full(len(tokens), IGNORED), klass=self._class(row), image=pixels)]

    def collate(self, samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        """Images of one size, side by side."""
        images = [one.image for one in samples if one.image is not None]
        return replace(collate(samples, ids), image=torch.from_numpy(np.stack(images)))

    def baselines(self, train: Sequence[Row], held_out: Sequence[Row]) -> list[Result]:
        """The commonest class, logistic regression on the pixels, and the class of the nearest training image."""
        seen, asked = (np.stack([self._pixels(row).ravel() for row in rows]) for rows in (train, held_out))
        classes, truth = ([self._class(row) for row in rows] for rows in (train, held_out))
        found = {
            "majority": np.full(len(asked), commonest(classes)),
            "pixel_regression": regressed(seen, classes, asked, len(self.labels)),
            "neighbour": np.asarray(classes)[[int(((seen - one) ** 2).sum(1).argmin()) for one in asked]],
        }
        return [self._result(name, truth, answered, 0) for name, answered in found.items()]

    def predict(self, bundle: Bundle, texts: Sequence[str]) -> list[dict[str, Any]]:
        """The likeliest label of each image and the probability of every label."""
        opened = [image(text) for text in texts]
        found = answers.predict(bundle, opened, candidates=len(self.labels))
        return [{**one, "image": text[:80]} for text, one in zip(texts, found, strict=True)]

    def _pixels(self, row: Row) -> np.ndarray:
        """(C, H, W) float32."""
        given = self.processor([image(require(row, "text"), str(row.get("where", "")))])
        return given.pixels[0].numpy()

    def _logits(self, model: Any, batch: Batch, key: Key | None) -> Tensor:
        return model(batch.image, Context(key=key))


def image(text: str, where: str = "") -> Any:
    """The image that a row's text is or names; `where` is the row's place, file:line."""
    if text.startswith(INLINE):
        try:
            data = base64.b64decode(text.removeprefix(INLINE), validate=True)
        except binascii.Error as error:
            raise BadFileError("inputs.image.damaged", where=where or "?", why="base64") from error
        return pictures.decoded(data, where or INLINE)
    beside = Path(where.rpartition(":")[0]).parent / text
    return pictures.opened(beside if where and beside.is_file() else text)


def noise(count: int, side: int = 32) -> list[str]:
    """So many images of random colours, as a row's text."""
    drawn = []
    for number in range(count):
        dots = torch.randint(256, (side, side, 3), generator=Key(number).generator(), dtype=torch.uint8)
        file = io.BytesIO()
        need("PIL.Image", "images").fromarray(dots.numpy()).save(file, "PNG")
        drawn.append(INLINE + base64.b64encode(file.getvalue()).decode())
    return drawn


def moved(pixels: np.ndarray, most: int, key: Key) -> np.ndarray:
    """(C, H, W) moved by up to `most` pixels each way, its edge repeated."""
    down, across = torch.randint(2 * most + 1, (2,), generator=key.generator()).tolist()
    padded = np.pad(pixels, ((0, 0), (most, most), (most, most)), mode="edge")
    return np.ascontiguousarray(padded[:, down : down + pixels.shape[1], across : across + pixels.shape[2]])


def regressed(seen: np.ndarray, classes: Sequence[int], asked: np.ndarray, count: int) -> np.ndarray:
    """The classes of `asked` (M, D) by a logistic regression on `seen` (N, D), a little drawn to zero."""
    mean, spread = seen.mean(0), seen.std(0) + 1e-3
    x, wanted = (torch.from_numpy((one - mean) / spread) for one in (seen, asked))
    y = torch.tensor(classes)
    weight = torch.zeros(count, x.shape[1], requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = class_loss(x @ weight.T + bias, y) / len(x) + 1e-3 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(step)  # type: ignore[arg-type]
    with torch.no_grad():
        return (wanted @ weight.T + bias).argmax(1).numpy()
