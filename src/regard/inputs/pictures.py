"""Image files that nobody vouched for, as RGB images: PNG, JPEG and WebP, one frame, of a bounded size."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from regard import limits
from regard.errors import BadFileError, need

FORMATS = ("PNG", "JPEG", "WEBP")
LARGEST = 64 * limits.MIB  # of a file
MOST_PIXELS = 1 << 26  # checked before anything is decoded: a file of a megabyte may claim hundreds of millions


def opened(path: str | os.PathLike[str]) -> Any:
    """The image in the file ``path``, as ``decoded`` gives it."""
    return decoded(limits.read_bytes(path, most=LARGEST), str(path))


def decoded(data: bytes, where: str) -> Any:
    """A PIL image in RGB, upright as its EXIF data says, on white where it is transparent.

    Raises BadFileError for other formats, several frames, more than MOST_PIXELS, and what is damaged or cut short.
    """
    image = need("PIL.Image", "images")
    operations = need("PIL.ImageOps", "images")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image.DecompressionBombWarning)
            found = image.open(io.BytesIO(data), formats=FORMATS)
            _check(found, where)
            if found.format == "PNG":  # of which Pillow takes what there is and leaves the rest black
                _whole(data)
            found.load()
            return on_white(operations.exif_transpose(found))
    except BadFileError:
        raise
    except (image.DecompressionBombWarning, image.DecompressionBombError) as error:
        raise BadFileError("inputs.image.pixels", where=where, most=MOST_PIXELS) from error
    except image.UnidentifiedImageError as error:
        raise BadFileError("inputs.image.format", where=where, known=", ".join(FORMATS)) from error
    except Exception as error:  # what a decoder raises on bytes made to break it is nobody's promise
        # Its text is not shown: it may hold an address in memory.
        raise BadFileError("inputs.image.damaged", where=where, why=type(error).__name__) from error


def _check(found: Any, where: str) -> None:
    width, height = found.size
    if width * height > MOST_PIXELS or not width or not height:
        raise BadFileError("inputs.image.pixels", where=where, most=MOST_PIXELS)
    if getattr(found, "n_frames", 1) > 1:
        raise BadFileError("inputs.image.frames", where=where)


_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's kinds of colour
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def _whole(data: bytes) -> None:
    """Raises ValueError for a PNG that does not run to its end, or holds fewer rows than it says."""
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits *= _CHANNELS[colour]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sides = [(-(-(height - y) // down), -(-(width - x) // across)) for y, x, down, across in passes]
    missing = sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sides if rows > 0 and columns > 0)
    unpacked = zlib.decompressobj()
    for name, held in _chunks(data):
        while name == b"IDAT" and held and missing > 0 and not unpacked.eof:
            missing -= len(unpacked.decompress(held, limits.MIB))
            held = unpacked.unconsumed_tail
        if name == b"IEND" and missing <= 0:
            return
    raise ValueError("cut short")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, name and content, as far as they are whole."""
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        if place + 12 + length > len(data):
            return
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def on_white(found: Any) -> Any:
    """A PIL image in RGB; of 16 bits the upper 8, as of images in colour. Raises BadFileError for one of no pixels, and
    for numbers of no known range (modes I and F)."""
    image = need("PIL.Image", "images")
    where = getattr(found, "filename", "") or f"PIL.Image ({found.mode})"
    if not found.width or not found.height:
        raise BadFileError("inputs.image.pixels", where=where, most=MOST_PIXELS)
    if found.mode in ("I", "F"):
        raise BadFileError("inputs.image.bytes", where=where)
    if found.mode.startswith("I;16"):  # of which Pillow would make white whatever is brighter than a 256th
        found = image.fromarray((np.asarray(found) >> 8).astype(np.uint8))
    if "A" not in found.getbands() and found.info.get("transparency") is None:
        return found.convert("RGB")
    behind = image.new("RGBA", found.size, (255, 255, 255, 255))
    return image.alpha_composite(behind, found.convert("RGBA")).convert("RGB")
