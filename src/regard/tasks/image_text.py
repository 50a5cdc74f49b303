"""What a model says of images in words, which of several texts fits one best, and what it paints for a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regard import models
from regard.errors import RegardError, need
from regard.generate.pictures import Paint, colours, images
from regard.generate.settings import Settings
from regard.layers import Context
from regard.models.towers import Matched
from regard.tasks.base import device_of, evaluating, probabilities
from regard.tasks.pictures import prepared

if TYPE_CHECKING:
    from regard.bundle import Bundle

CONTRAST, PAINT = "contrast", "text-to-image"
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def captions(
    bundle: Bundle, pictures: Sequence[Any], settings: Settings, *, question: str | None = None, prompt: str = ""
) -> Iterator[dict[str, Any]]:
    """What the model writes of each image (a path, or a PIL image); ``prompt``: what it goes on from. A model that
    answers needs a ``question``, and another takes none."""
    from regard.generate import Given, generate

    asks = hasattr(bundle.model, "ask")
    if asks != (question is not None):
        raise RegardError("tasks.question_needed" if asks else "tasks.no_question")
    told = {} if question is None else {"question": tuple(bundle.tokenizer.encode(question))}
    start = (bundle.model.config.start, *bundle.tokenizer.encode(prompt, special=False)) if prompt else ()
    for picture in pictures:
        given = Given(prepared(bundle, picture).pixels[0], start, **told)
        (found,) = generate(bundle, [given], settings)
        yield {"image": _name(picture), **({} if question is None else {"question": question}), "text": found.text}


def zero_shot(bundle: Bundle, pictures: Sequence[Any], among: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Which of the texts ``among`` goes best with each image, and how likely each (Radford et al. 2021, section 3.1);
    of a model that judges each pair by itself (SigLIP, BLIP) how likely that pair is."""
    if not among:
        raise RegardError("tasks.among_what")
    judged = (_seen if isinstance(bundle.model, Matched) else _beside)(bundle, among)
    for picture in pictures:
        with evaluating(bundle.model):
            shares = judged(picture)
        named = dict(sorted(zip(among, shares.tolist(), strict=True), key=lambda one: -one[1]))
        yield {"image": _name(picture), "label": next(iter(named)), "probabilities": named}


def _beside(bundle: Bundle, among: Sequence[str]) -> Callable[[Any], Tensor]:
    """How likely each text is for an image, by vectors."""
    from regard.heads.pairs import SigmoidPairs

    head, texts = bundle.model.head, _texts(bundle, among)
    chances = torch.sigmoid if isinstance(head, SigmoidPairs) else probabilities
    return lambda picture: chances(head(texts, _image(bundle, picture))[:, 0])


def _seen(bundle: Bundle, among: Sequence[str]) -> Callable[[Any], Tensor]:
    """How likely each text fits an image, by a model whose texts look at it."""
    tokens, context = _rows(bundle, among)
    return lambda picture: probabilities(bundle.model(tokens, _pixels(bundle, picture), context)[:, 0])[:, 1]


def vectors(bundle: Bundle, given: Sequence[Any], *, normalised: bool = True) -> Tensor:
    """(given, D) float32, in the space that texts and images share. What names a file with an image's ending is an
    image, as is what is no text; anything else is a text."""
    found = []
    for one in given:
        with evaluating(bundle.model):
            found.append((_image(bundle, one) if pictured(one) else _texts(bundle, [one]))[0])
    together = torch.stack(found).float().cpu()
    return F.normalize(together, dim=-1) if normalised else together


def pictured(given: Any) -> bool:
    """Whether this is an image, or the path of one that is there."""
    return not isinstance(given, str) or (given.lower().endswith(ENDINGS) and Path(given).is_file())


def paint(bundle: Bundle, texts: Sequence[str], settings: Paint) -> Tensor:
    """An image (texts, height, width, 3) uint8 for each text."""
    if bundle.task != PAINT:
        raise RegardError("tasks.paints_nothing", task=bundle.task)
    rows = [bundle.tokenizer.encode(text, special=False) for text in texts]
    with evaluating(bundle.model):
        found = images(bundle.model, rows, settings)
    return ((found.float().cpu() + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def draws(bundle: Bundle) -> bool:
    """Whether the model writes images colour by colour (ImageGPT)."""
    return bundle.task == "causal-lm" and models.reads(bundle.family) == ("image",)


def draw(bundle: Bundle, begun: Sequence[Any], settings: Paint) -> Tensor:
    """An image (begun, height, width, 3) uint8 for each of ``begun``: a picture whose upper half is kept and whose
    lower half the model draws, or None for a whole one. Pictures and None are not mixed."""
    side, palette = isqrt(bundle.model.config.context), getattr(bundle.processor, "settings", None)
    if palette is None or palette.clusters is None or side * side != bundle.model.config.context:
        raise RegardError("tasks.no_colours", family=bundle.family)
    beginnings = [[] if one is None else _upper_half(prepared(bundle, one).numbers, side) for one in begun]
    with evaluating(bundle.model):
        found = colours(bundle.model, beginnings, settings)
    shown = ((torch.tensor(palette.clusters) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return shown[found.cpu()].unflatten(1, (side, side))


def _upper_half(numbers: Tensor | None, side: int) -> list[int]:
    assert numbers is not None  # the processor knows the colours
    return numbers[0, : side // 2 * side].tolist()


def sheet(pictures: Tensor, path: Path, *, most: int = 8, scale: int = 1) -> None:
    """Images (N, height, width, 3) uint8 beside each other, ``most`` in a row, as a PNG; each pixel ``scale`` wide."""
    import io

    from regard import limits

    library, file = need("PIL.Image", "images"), io.BytesIO()
    columns = min(most, len(pictures))
    missing = -len(pictures) % columns
    filled = torch.cat((pictures, torch.full((missing, *pictures.shape[1:]), 255, dtype=torch.uint8)))
    rows = filled.unflatten(0, (-1, columns)).transpose(2, 1)  # (rows, height, columns, width, 3)
    whole = rows.flatten(2, 3).flatten(0, 1).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    library.fromarray(whole.numpy()).save(file, "PNG")
    limits.write(path, file.getvalue())


def _texts(bundle: Bundle, texts: Sequence[str]) -> Tensor:
    with evaluating(bundle.model):
        return bundle.model.texts(*_rows(bundle, texts))


def _rows(bundle: Bundle, texts: Sequence[str]) -> tuple[Tensor, Context]:
    return bundle.model.rows([bundle.tokenizer.encode(text) for text in texts], device_of(bundle.model))


def _image(bundle: Bundle, picture: Any) -> Tensor:
    return bundle.model.images(_pixels(bundle, picture))


def _pixels(bundle: Bundle, picture: Any) -> Tensor:
    return prepared(bundle, picture).pixels.to(device_of(bundle.model), next(bundle.model.parameters()).dtype)


def _name(picture: Any) -> str:
    return str(picture) if isinstance(picture, str | Path) else getattr(picture, "filename", "")
