"""Image processors: the pixels that a vision model is given, by the settings that come with its weights.

Equal to the reference's processors on PIL, pixel for pixel. (Its "fast" ones resize with another library, whose pixels
differ in the last bit; files that name them are read by the same settings.)
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard import limits
from regard.config import Problem, between, from_dict, verify
from regard.errors import BadFileError, ConfigError, need
from regard.inputs import pictures

FILE = "preprocessor_config.json"
LARGEST = 1 << 13  # pixels of a side
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # as PIL numbers them
Size = tuple[int, int]  # height, width


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is done with an image, in this order.

    name       how files call a processor of this kind
    resize     to (height, width); or ``shortest``: the shorter side gets so many pixels, the longer one at most
               ``longest``, and both are cut down to multiples of ``multiple``; or ``fit``: the largest of its own
               proportions inside (height, width)
    crop       (height, width) out of the middle, black where the image has none
    scale      multiplies the pixels, 0 to 255
    mean, std  subtracted from each channel, then divided by; None: are not
    pad        images of several sizes are put into one batch, zeros to the right and below
    clusters   colours: an image becomes the numbers of those nearest to its pixels (ImageGPT)
    reduce     label 0 of a map of labels is no class (ADE20k)
    """

    name: str = "ViTImageProcessor"
    resize: Size | None = None
    shortest: int | None = None
    longest: int | None = None
    multiple: int = 1
    fit: Size | None = None
    filter: str = "bilinear"
    crop: Size | None = None
    scale: float | None = 1 / 255
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    pad: bool = False
    clusters: tuple[tuple[float, float, float], ...] | None = None
    reduce: bool = False

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, LARGEST, "shortest", "longest", "multiple")
        for name in ("resize", "fit", "crop"):
            sides = getattr(self, name)
            if sides is not None and not all(1 <= side <= LARGEST for side in sides):
                yield name, "config.between", {"least": 1, "most": LARGEST}
        if self.filter not in FILTERS:
            yield "filter", "inputs.image.filters", {"known": ", ".join(FILTERS)}
        if (self.mean is None) != (self.std is None) or (self.std is not None and min(map(abs, self.std)) == 0):
            yield "std", "inputs.image.std", {}


@dataclass(frozen=True, eq=False)
class Pictures:
    """pixels (B, C, H, W) float32; sizes: (height, width) of each image in them, the rest is padding; originals:
    (height, width) of each as it was; numbers: (B, H * W) int64, the nearest colours, if the settings name any."""

    pixels: Tensor
    sizes: tuple[Size, ...]
    originals: tuple[Size, ...]
    numbers: Tensor | None = None

    @property
    def ragged(self) -> Tensor | None:
        """(B, 2) int64 of ``sizes``, as a context takes it; None where every image fills its place."""
        whole = tuple(self.pixels.shape[2:])
        return None if all(size == whole for size in self.sizes) else torch.tensor(self.sizes)


@dataclass(frozen=True)
class Images:
    """A processor of images by ``settings``."""

    settings: Settings
    reads = "image"

    def __call__(self, images: Sequence[Any]) -> Pictures:
        """The batch of these images: paths, PIL images, or arrays (height, width, 3) of bytes.

        Raises RegardError for images of several sizes where the settings neither resize to one nor pad.
        """
        opened = [_opened(one) for one in images]
        arrays = [prepared(one, self.settings) for one in opened]
        sizes = tuple((one.shape[1], one.shape[2]) for one in arrays)
        originals = tuple((one.height, one.width) for one in opened)
        if not self.settings.pad and len(set(sizes)) > 1:
            raise BadFileError("inputs.image.sizes", sizes=", ".join(f"{h} x {w}" for h, w in sorted(set(sizes))))
        height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
        pixels = np.zeros((len(arrays), 3, height, width), np.float32)
        for place, one in zip(pixels, arrays, strict=True):
            place[:, : one.shape[1], : one.shape[2]] = one
        found = torch.from_numpy(pixels)
        numbers = None if self.settings.clusters is None else nearest(found, self.settings.clusters)
        return Pictures(found, sizes, originals, numbers)

    def save(self, folder: Path) -> None:
        """Writes preprocessor_config.json, which ``read`` and Hugging Face's AutoImageProcessor read."""
        limits.write(folder / FILE, json.dumps(written(self.settings), indent=2) + "\n")


def prepared(image: Any, settings: Settings) -> np.ndarray:
    """A PIL image in RGB as (3, height, width) float32."""
    size = target((image.height, image.width), settings)
    if size is not None:
        image = image.resize((size[1], size[0]), resample=FILTERS.index(settings.filter))
    array = np.moveaxis(np.array(image), -1, 0)
    array = array if settings.crop is None else middle(array, settings.crop)
    # Scaled in double precision and then rounded, as in the reference, whose pixels these are to be.
    found = (array.astype(np.float64) * (1.0 if settings.scale is None else settings.scale)).astype(np.float32)
    if settings.mean is None or settings.std is None:
        return found
    mean, std = (np.array(one, np.float32).reshape(3, 1, 1) for one in (settings.mean, settings.std))
    return (found - mean) / std


def target(size: Size, settings: Settings) -> Size | None:
    """The (height, width) that an image of ``size`` is resized to; None where it is not.

    Raises BadFileError where its proportions would make one side too long or leave nothing of the other.
    """
    if settings.resize is not None:
        return settings.resize
    if settings.fit is not None:
        share = min(most / side for most, side in zip(settings.fit, size, strict=True))
        found = (int(size[0] * share), int(size[1] * share))
    elif settings.shortest is None:
        return None
    elif settings.longest is None:
        short, long = settings.shortest, int(settings.shortest * max(size) / min(size))
        found = (long, short) if size[1] <= size[0] else (short, long)
    else:
        found = _between(size, settings.shortest, settings.longest, settings.multiple)
    if not 1 <= min(found) <= max(found) <= LARGEST:
        raise BadFileError("inputs.image.proportions", height=size[0], width=size[1], most=LARGEST)
    return found


def _between(size: Size, shortest: int, longest: int, multiple: int) -> Size:
    """DETR's rule. Where sides are cut to multiples (YOLOS) an upright image of the right width is computed too."""
    (height, width), exact = size, None
    if max(size) / min(size) * shortest > longest:
        exact = longest * min(size) / max(size)
        shortest = round(exact)
    scale = shortest if exact is None else exact
    if (height <= width and height == shortest) or (width < height and width == shortest and multiple == 1):
        found = (height, width)
    elif width < height:
        found = (int(scale * height / width), shortest)
    else:
        found = (shortest, int(scale * width / height))
    return found[0] - found[0] % multiple, found[1] - found[1] % multiple


def middle(array: np.ndarray, crop: Size) -> np.ndarray:
    """(C, height, width) -> (C, *crop): the middle of the image, zeros where it is smaller."""
    sides = array.shape[1:]
    bigger = tuple(max(pair) for pair in zip(sides, crop, strict=True))
    if bigger != sides:
        before = [math.ceil((new - old) / 2) for new, old in zip(bigger, sides, strict=True)]
        after = [new - old - pad for new, old, pad in zip(bigger, sides, before, strict=True)]
        array = np.pad(array, ((0, 0), *zip(before, after, strict=True)))
        starts = [(old - new) // 2 + pad for old, new, pad in zip(sides, crop, before, strict=True)]
    else:
        starts = [(old - new) // 2 for old, new in zip(sides, crop, strict=True)]
    top, left = (max(0, start) for start in starts)
    return array[:, top : starts[0] + crop[0], left : starts[1] + crop[1]]


def nearest(pixels: Tensor, clusters: Sequence[Sequence[float]]) -> Tensor:
    """(B, 3, H, W) -> (B, H * W) int64: for each pixel the number of the nearest colour."""
    colours = np.array(clusters)
    flat = pixels.permute(0, 2, 3, 1).reshape(len(pixels), -1, 3).numpy()
    found = [
        np.argmin((one**2).sum(1)[:, None] - 2 * one @ colours.T + (colours**2).sum(1)[None], axis=1) for one in flat
    ]
    return torch.from_numpy(np.stack(found))


def _opened(image: Any) -> Any:
    if isinstance(image, str | os.PathLike):
        return pictures.opened(image)
    if isinstance(image, np.ndarray):
        library = need("PIL.Image", "images")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise BadFileError("inputs.image.bytes", where=f"array {image.shape} {image.dtype}")
        return library.fromarray(image)
    return pictures.on_white(image)


# What each processor does where its file says nothing. ``size``: as files say it; ``edge``: one number means the
# shorter side. Their statistics are those of ImageNet, of CLIP's images, or none in particular.
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_KINDS: dict[str, dict[str, Any]] = {
    "ViT": {"size": 224, "filter": "bilinear", **_HALF},
    "DeiT": {"size": 256, "filter": "bicubic", "crop": 224, **_HALF},
    "Beit": {"size": 224, "filter": "bicubic", **_HALF},
    "Segformer": {"size": 512, "filter": "bilinear", **_IMAGENET},
    "Detr": {"size": 800, "edge": True, "longest": 1333, "filter": "bilinear", "pad": True, **_IMAGENET},
    "Yolos": {"size": 800, "edge": True, "longest": 1333, "multiple": 16, "filter": "bilinear", "pad": True}
    | _IMAGENET,
    "Bit": {"size": 224, "edge": True, "filter": "bicubic", "crop": 224, **_CLIP},
    "CLIP": {"size": 224, "edge": True, "filter": "bicubic", "crop": 224, **_CLIP},
    "Siglip": {"size": 224, "edge": True, "square": True, "filter": "bicubic", **_HALF},
    "Blip": {"size": 384, "filter": "bicubic", **_CLIP},
    "ImageGPT": {"size": 256, "filter": "bilinear", **_HALF},
}
NAMES = tuple(f"{kind}{end}" for kind in _KINDS for end in ("ImageProcessor", "FeatureExtractor"))
# What changes no pixel here: images are always made RGB, boxes and maps are made by tasks.
_HARMLESS = frozenset({
    "image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb", "format",
    "do_convert_annotations", "data_format", "input_data_format", "return_tensors", "device", "disable_grouping",
    "default_to_square", "image_seq_length", "return_segmentation_masks", "masks_path", "_valid_processor_keys",
})  # fmt: skip
_UNDERSTOOD = frozenset({
    "size", "max_size", "resample", "crop_size", "do_resize", "do_center_crop", "do_rescale", "rescale_factor",
    "do_normalize", "image_mean", "image_std", "do_pad", "pad_and_return_pixel_mask", "clusters", "do_color_quantize",
    "do_reduce_labels", "reduce_labels", "size_divisor", "pad_size",
})  # fmt: skip


def read(data: Mapping[str, Any], where: str) -> Images:
    """The processor of a preprocessor_config.json; a BadFileError names what of it is not understood."""
    name = str(data.get("image_processor_type") or data.get("feature_extractor_type")).removesuffix("Fast")
    name = name.removesuffix("FeatureExtractor").removesuffix("ImageProcessor")
    kind = _KINDS.get(name)
    if kind is None:
        raise BadFileError("inputs.no_processor", where=where, name=name, known=", ".join(NAMES))
    for key, value in data.items():
        asks = key == "pad_size" or (key == "size_divisor" and name != "Blip")  # BLIP's files say it; nothing heeds it
        if value is not None and (asks or key not in _UNDERSTOOD | _HARMLESS):
            raise BadFileError("weights.unknown_setting", where=where, key=key, value=value)
    values: dict[str, Any] = {"name": f"{name}ImageProcessor", "multiple": kind.get("multiple", 1)}
    if _flag(data, "do_resize", True, where):
        values |= _sizes(data, kind, where) | {"filter": _filter(data.get("resample"), kind["filter"], where)}
    if _flag(data, "do_center_crop", "crop" in kind, where):
        crop = _size(data.get("crop_size", kind.get("crop", 224)), where, "crop_size")
        values["crop"] = _pair(crop, where, "crop_size")
    values["scale"] = data.get("rescale_factor", 1 / 255) if _flag(data, "do_rescale", True, where) else None
    if _flag(data, "do_normalize", True, where):
        values |= {ours: _three(data.get(key, kind[ours]), where, key) for ours, key in _STATISTICS.items()}
    values["pad"] = _flag(data, "do_pad", _flag(data, "pad_and_return_pixel_mask", "pad" in kind, where), where)
    values["pad"] = values["pad"] and "pad" in kind
    if data.get("clusters") is not None and _flag(data, "do_color_quantize", True, where):
        values["clusters"] = data["clusters"]
    values["reduce"] = _flag(data, "do_reduce_labels", _flag(data, "reduce_labels", False, where), where)
    try:
        return Images(from_dict(Settings, values, where))
    except ConfigError as error:
        raise BadFileError(error.key, **error.values) from None


def written(settings: Settings) -> dict[str, Any]:
    """The settings as a preprocessor_config.json says them."""
    kind = settings.name.removesuffix("ImageProcessor")
    size: dict[str, int] | None = None
    if settings.shortest is not None:
        size = {"shortest_edge": settings.shortest}
        size |= {} if settings.longest is None else {"longest_edge": settings.longest}
    elif settings.fit is not None:
        size = {"max_height": settings.fit[0], "max_width": settings.fit[1]}
    elif settings.resize is not None:
        size = _sides(settings.resize)
    made: dict[str, Any] = {
        "image_processor_type": settings.name,
        "do_resize": size is not None,
        "resample": FILTERS.index(settings.filter),
        "do_center_crop": settings.crop is not None,
        "do_rescale": settings.scale is not None,
        "do_normalize": settings.mean is not None,
    }
    made |= {} if size is None else {"size": size}
    made |= {} if settings.crop is None else {"crop_size": _sides(settings.crop)}
    made |= {} if settings.scale is None else {"rescale_factor": settings.scale}
    made |= {} if settings.mean is None else {"image_mean": settings.mean, "image_std": settings.std}
    made |= {"do_pad": settings.pad} if "pad" in _KINDS[kind] else {}
    made |= {"do_reduce_labels": settings.reduce} if kind in ("Beit", "Segformer") else {}
    made |= {} if settings.clusters is None else {"clusters": settings.clusters, "do_color_quantize": True}
    return made


_SIZE = '{"height": 224, "width": 224}'
_STATISTICS = {"mean": "image_mean", "std": "image_std"}


def _sides(size: Size) -> dict[str, int]:
    return {"height": size[0], "width": size[1]}


def _sizes(data: Mapping[str, Any], kind: Mapping[str, Any], where: str) -> dict[str, Any]:
    """How an image is resized, out of the ways in which files have said it."""
    size = data.get("size", kind["size"])
    edge = kind.get("edge", False) and not ("size" not in data and kind.get("square"))
    if isinstance(size, int) and edge:
        size = {"shortest_edge": size}
        longest = data.get("max_size", kind.get("longest"))
        size |= {} if longest is None else {"longest_edge": longest}
    size = _size(size, where, "size")
    if "shortest_edge" in size:
        return {"shortest": size["shortest_edge"], "longest": size.get("longest_edge")}
    if "max_height" in size:
        return {"fit": (size["max_height"], size.get("max_width"))}
    return {"resize": _pair(size, where, "size")}


def _size(size: Any, where: str, key: str) -> dict[str, Any]:
    """A size as a dictionary: one number is both sides, two are height and width."""
    if isinstance(size, int) and not isinstance(size, bool):
        return _sides((size, size))
    if isinstance(size, list) and len(size) == 2:
        return {"height": size[0], "width": size[1]}
    ways = ({"height", "width"}, {"shortest_edge"}, {"shortest_edge", "longest_edge"}, {"max_height", "max_width"})
    given = {key: value for key, value in size.items() if value is not None} if isinstance(size, Mapping) else {}
    if set(given) not in ways:
        raise BadFileError("weights.setting", where=where, key=key, value=size, accepted=_SIZE)
    return given


def _pair(size: Mapping[str, Any], where: str, key: str) -> tuple[Any, Any]:
    if set(size) != {"height", "width"}:
        raise BadFileError("weights.setting", where=where, key=key, value=size, accepted=_SIZE)
    return size["height"], size["width"]


def _filter(number: Any, usual: str, where: str) -> str:
    if number is None:
        return usual
    if type(number) is not int or not 0 <= number < len(FILTERS):
        raise BadFileError("weights.setting", where=where, key="resample", value=number, accepted="0 … 5")
    return FILTERS[number]


def _three(value: Any, where: str, key: str) -> tuple[float, ...]:
    """A number for each channel; one stands for all three."""
    value = [value] * 3 if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(type(one) in (int, float) for one in value):
        raise BadFileError("weights.setting", where=where, key=key, value=value, accepted="[0.5, 0.5, 0.5]")
    return tuple(float(one) for one in value)


def _flag(data: Mapping[str, Any], key: str, usual: bool, where: str) -> bool:
    value = data.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=(True, False))
    return usual if value is None else value
