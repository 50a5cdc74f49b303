"""What a model says of images: the class, what is where, what each pixel is, a vector. An image at a time, so that each
gets what it gets alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regard.errors import RegardError, need
from regard.heads.detect import seen
from regard.heads.segment import stretched
from regard.layers import Context
from regard.tasks.base import device_of, evaluating, probabilities

if TYPE_CHECKING:
    from regard.bundle import Bundle
    from regard.inputs.images import Pictures

CLASSIFY, DETECT, SEGMENT, EMBED = "image-classification", "object-detection", "segmentation", "image-embedding"


def predict(
    bundle: Bundle, images: Sequence[Any], *, candidates: int = 5, least: float = 0.5, out: Path | None = None
) -> Iterator[dict[str, Any]]:
    """One dict of plain values for each image (a path, or a PIL image).

    candidates  of a classification, the likeliest so many labels are named
    least       of a detection, what is more likely is named
    out         a folder: a segmentation is written there as a PNG of label numbers, of the image's size

    Raises RegardError for a model that does none of these.
    """
    if bundle.task not in _ANSWERS:
        raise RegardError("tasks.says_nothing_of_images", task=bundle.task, known=", ".join(_ANSWERS))
    for image in images:
        given = prepared(bundle, image)
        name = str(image) if isinstance(image, str | Path) else getattr(image, "filename", "")
        with evaluating(bundle.model):
            found = bundle.model(*_told(bundle, given))
        answer = _ANSWERS[bundle.task](bundle, found, given, candidates=candidates, least=least, out=out, name=name)
        yield {"image": name, **answer}


def vectors(bundle: Bundle, images: Sequence[Any], *, normalised: bool = True) -> Tensor:
    """(images, D) float32: the first token of each, or the mean of the last map where there is none; of a tower what
    its classifier is given, of colours in a row the mean of all (Chen et al. 2020, section 2.3)."""
    found = []
    for image in images:
        given = prepared(bundle, image)
        x, context = _told(bundle, given)
        with evaluating(bundle.model):
            if given.numbers is not None:
                found.append(bundle.model.hidden(x, context)[0].mean(0))
            elif hasattr(bundle.model, "images"):
                found.append(bundle.model.images(x, context)[0])
            elif hasattr(bundle.model, "maps"):
                found.append(bundle.model.maps(x, context)[-1].flatten(2).mean(2)[0])
            else:
                found.append(bundle.model.hidden(x, context)[0, 0])
    together = torch.stack(found).float().cpu()
    return F.normalize(together, dim=-1) if normalised else together


def prepared(bundle: Bundle, image: Any) -> Pictures:
    """The image as the model takes it. Raises RegardError where the model's folder does not say how."""
    if bundle.processor is None or bundle.processor.reads != "image":
        raise RegardError("tasks.no_image_processor", folder=bundle.folder or bundle.family)
    return bundle.processor([image])  # type: ignore[operator]


def _told(bundle: Bundle, given: Pictures) -> tuple[Tensor, Context]:
    """What goes into the model: pixels, or the numbers of their colours where it reads those."""
    device = device_of(bundle.model)
    if given.numbers is not None:
        return given.numbers.to(device), Context()
    pixels = given.pixels.to(device, next(bundle.model.parameters()).dtype)
    sizes = given.ragged
    return pixels, Context(sizes=None if sizes is None else sizes.to(device))


def _classified(bundle: Bundle, logits: Tensor, given: Pictures, *, candidates: int, **_: Any) -> dict[str, Any]:
    shares = probabilities(logits[0])
    best = shares.topk(min(candidates, len(shares)))
    named = {bundle.labels[place]: share for share, place in zip(best[0].tolist(), best[1].tolist(), strict=True)}
    return {"label": next(iter(named)), "probabilities": named}


def _detected(bundle: Bundle, guesses: Any, given: Pictures, *, least: float, **_: Any) -> dict[str, Any]:
    (found,) = seen(guesses, given.originals, least)
    both = zip(found.scores.tolist(), found.labels.tolist(), found.boxes.tolist(), strict=True)
    named = [{"label": bundle.labels[label], "score": score, "box": box} for score, label, box in both]
    return {"objects": sorted(named, key=lambda one: -one["score"])}


def _segmented(bundle: Bundle, found: Any, given: Pictures, *, out: Path | None, name: str, **_: Any) -> dict[str, Any]:
    logits = getattr(found, "logits", found)  # beside which there may be others, for a training
    labels = stretched(logits.float(), given.originals[0])[0].argmax(0).cpu()
    counts = torch.bincount(labels.flatten(), minlength=len(bundle.labels)) / labels.numel()
    shares = {bundle.labels[place]: float(counts[place]) for place in counts.argsort(descending=True) if counts[place]}
    made: dict[str, Any] = {"shares": shares}
    if out is not None:
        made["mask"] = str(_written(labels, out / f"{Path(name).stem or 'image'}.mask.png"))
    return made


def _written(labels: Tensor, path: Path) -> Path:
    """A PNG whose pixels are label numbers, of 8 bits or 16."""
    import io

    from regard import limits

    library, file = need("PIL.Image", "images"), io.BytesIO()
    numbers = labels.numpy()
    library.fromarray(numbers.astype("uint8" if numbers.max() < 256 else "uint16")).save(file, "PNG")
    limits.write(path, file.getvalue())
    return path


_ANSWERS = {CLASSIFY: _classified, DETECT: _detected, SEGMENT: _segmented}
