"""Image processors against the reference's, pixel for pixel; and files that lie."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from regard.errors import BadFileError
from regard.inputs import images, pictures, processors

# name -> settings that files have had (each a change of the class's own), small so that the tests are quick
KINDS = {
    "ViT": [{"size": {"height": 31, "width": 29}}, {"size": 23, "resample": 3}, {"do_normalize": False, "size": 19}],
    "DeiT": [{"size": {"height": 37, "width": 31}, "crop_size": {"height": 29, "width": 23}}, {"crop_size": 41}],
    "Beit": [{"size": 23, "do_center_crop": False}, {"size": 19, "do_center_crop": True, "crop_size": 29}],
    "Segformer": [{"size": 31}, {"size": 29, "do_reduce_labels": True}],
    "Detr": [{"size": 29, "max_size": 47}, {"size": {"shortest_edge": 23, "longest_edge": 31}}, {"size": 17}],
    "Yolos": [{"size": 53, "max_size": 83}, {"size": {"shortest_edge": 49, "longest_edge": 71}}],
    "Bit": [{"size": {"shortest_edge": 31}, "crop_size": {"height": 23, "width": 23}}, {"size": 37, "crop_size": 29}],
    "CLIP": [{"size": 23, "crop_size": 23}, {"size": {"shortest_edge": 19}, "crop_size": {"height": 29, "width": 11}}],
    "Siglip": [{"size": {"height": 23, "width": 23}}, {"size": 23, "resample": 2}],
    "Blip": [{"size": {"height": 23, "width": 29}}, {"size": 19, "rescale_factor": 0.01}],
    "ImageGPT": [{"size": 7, "clusters": [[-0.7, 0.1, 0.3], [0.9, -0.2, 0.5], [0.0, 0.0, 0.1]]}],
}  # fmt: skip
SHAPES = [(37, 53), (53, 37), (41, 41), (11, 97), (23, 19)]
CASES = [pytest.param(kind, changes, id=f"{kind}-{i}") for kind, all in KINDS.items() for i, changes in enumerate(all)]


def picture(height: int, width: int, seed: int = 1) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR)


@pytest.mark.parametrize(("kind", "changes"), CASES)
def test_pixels_are_the_references(kind: str, changes: dict, tmp_path: Path) -> None:
    reference = getattr(transformers, f"{kind}ImageProcessorPil")(**changes)
    ours = images.read({"image_processor_type": f"{kind}ImageProcessor", **changes}, "here")
    reference.save_pretrained(tmp_path / "theirs")
    ours.save(tmp_path)
    again = getattr(transformers, f"{kind}ImageProcessorPil").from_pretrained(tmp_path)
    by_file = processors.load(tmp_path / "theirs")
    assert processors.load(tmp_path) == ours
    for number, (height, width) in enumerate(SHAPES[:3] if kind == "Yolos" else SHAPES):
        image = picture(height, width, number)
        found = ours([image])
        for other in (reference, again):
            expected = other([image], return_tensors="pt")
            if "input_ids" in expected:
                assert torch.equal(found.numbers, expected["input_ids"])
            else:
                assert torch.equal(found.pixels, expected["pixel_values"]), (height, width)
        assert torch.equal(by_file([image]).pixels, found.pixels)
        assert found.originals == ((height, width),)


@pytest.mark.parametrize("kind", ["Detr", "Yolos"])
def test_a_batch_of_several_sizes_is_padded_and_says_where(kind: str) -> None:
    reference = getattr(transformers, f"{kind}ImageProcessorPil")(size={"shortest_edge": 40, "longest_edge": 71})
    ours = images.read(json.loads(reference.to_json_string()), "here")
    some = [picture(*shape, seed) for seed, shape in enumerate(SHAPES[:3])]
    found, expected = ours(some), reference(some, return_tensors="pt")
    assert torch.equal(found.pixels, expected["pixel_values"])
    rows, columns = (torch.arange(side) for side in found.pixels.shape[2:])
    inside = [(rows.unsqueeze(1) < height) & (columns < width) for height, width in found.sizes]
    assert torch.equal(torch.stack(inside).long(), expected["pixel_mask"])
    assert found.ragged is not None and ours(some[:1]).ragged is None


def test_sizes_that_nothing_makes_one_are_refused() -> None:
    with pytest.raises(BadFileError, match="37 x 53"):
        images.Images(images.Settings())([picture(*shape) for shape in SHAPES[:2]])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"size": {"shortest_edge": 3, "width": 4}}, "size"),
        ({"size": 10**9}, "resize"),
        ({"size": {"shortest_edge": -1}}, "shortest"),
        ({"size": "large"}, "size"),
        ({"resample": 9}, "resample"),
        ({"image_std": [1, 0, 1]}, "std"),
        ({"image_mean": [1, 0]}, "image_mean"),
        ({"do_resize": "yes"}, "do_resize"),
        ({"do_flip": True}, "do_flip"),
        ({"clusters": [[1, 2]]}, "clusters"),
        ({"rescale_factor": "x"}, "scale"),
        ({"image_processor_type": "GLPNImageProcessor"}, "GLPN"),
        ({"auto_map": {"AutoImageProcessor": "x.y"}}, "auto_map"),
    ],
)
def test_settings_that_are_not_understood_are_refused_by_name(settings: dict, named: str) -> None:
    with pytest.raises(BadFileError, match=named):
        images.read({"image_processor_type": "ViTImageProcessor", **settings}, "here")


def saved(image: Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def test_files_are_read_upright_in_colour_and_on_white(tmp_path: Path) -> None:
    image = picture(5, 7)
    assert np.array_equal(np.array(pictures.decoded(saved(image, "PNG"), "x")), np.array(image))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    turned = pictures.decoded(saved(image, "PNG", exif=exif), "x")
    assert np.array_equal(np.array(turned), np.rot90(np.array(image), -1))
    clear = Image.new("RGBA", (3, 2), (10, 20, 30, 0))
    clear.putpixel((1, 1), (10, 20, 30, 255))
    found = np.array(pictures.decoded(saved(clear, "WEBP", lossless=True), "x"))
    assert found[1, 1].tolist() == [10, 20, 30] and found[0, 0].tolist() == [255, 255, 255]
    assert pictures.decoded(saved(picture(5, 7), "PNG", interlace=1), "x").size == (7, 5)
    for mode in ("L", "P", "1", "LA", "I;16"):
        assert pictures.decoded(saved(picture(5, 7).convert("L").convert(mode), "PNG"), "x").mode == "RGB"
    (tmp_path / "a.jpg").write_bytes(saved(image, "JPEG"))
    assert pictures.opened(tmp_path / "a.jpg").size == (7, 5)


def test_of_sixteen_bits_the_upper_eight_are_seen() -> None:
    """Grey ones as those in colour, whose lower bits the decoder leaves out; Pillow alone makes nearly all white."""
    deep = np.linspace(0, 65_535, 13 * 11).reshape(13, 11).astype(np.uint16)
    found = np.array(pictures.decoded(saved(Image.fromarray(deep), "PNG"), "x"))
    assert np.array_equal(found, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2))
    rows = b"".join(b"\0" + np.repeat(row[:, None], 3, 1).astype(">u2").tobytes() for row in deep)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 11, 13, 16, 2, 0, 0, 0))
    coloured = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(np.array(pictures.decoded(coloured, "x")), found)


NO_BYTES = {
    "floats": np.ones((3, 5, 3), np.float32),
    "wide": np.ones((3, 5, 3), np.uint16),
    "grey": np.ones((3, 5), np.uint8),
    "one channel": np.ones((3, 5, 1), np.uint8),
    "rows of none": np.ones((0, 5, 3), np.uint8),
    "I": Image.fromarray(np.ones((3, 5), np.int32)),
    "F": Image.fromarray(np.ones((3, 5), np.float32)),
    "empty": Image.new("RGB", (0, 5)),
}


@pytest.mark.parametrize("name", NO_BYTES)
def test_what_is_no_image_of_bytes_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(BadFileError, match=r"bytes|pixels"):
        images.Images(images.Settings(resize=(3, 3)))([NO_BYTES[name]])


WHAT_FILES_SAY = {  # of published models, word by word where they are at hand -> what is made of them
    "vit-gpt2": (
        {"do_normalize": True, "do_resize": True, "feature_extractor_type": "ViTFeatureExtractor",
         "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "size": 224},
        {"resize": (224, 224), "filter": "bilinear", "mean": (0.5,) * 3},
    ),
    "clip-336": (
        {"crop_size": 336, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_resize": True,
         "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
         "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "CLIPProcessor", "resample": 3,
         "size": 336},
        {"shortest": 336, "crop": (336, 336), "filter": "bicubic"},
    ),
    "dinov2-small": (
        {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_convert_rgb": True,
         "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406],
         "image_processor_type": "BitImageProcessor", "image_std": [0.229, 0.224, 0.225], "resample": 3,
         "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}},
        {"shortest": 256, "crop": (224, 224), "filter": "bicubic", "std": (0.229, 0.224, 0.225)},
    ),
    "detr-layout-detection": (
        {"_valid_processor_keys": ["images", "annotations"], "do_convert_annotations": True, "do_normalize": True,
         "do_pad": True, "do_rescale": True, "do_resize": True, "format": "coco_panoptic",
         "image_mean": [0.485, 0.456, 0.406], "image_processor_type": "DetrImageProcessor",
         "image_std": [0.229, 0.224, 0.225], "resample": 2, "rescale_factor": 0.00392156862745098,
         "size": {"height": 1024, "width": 1024}},
        {"resize": (1024, 1024), "pad": True},
    ),
    "a fast one, with every key it has": (
        {"crop_size": None, "data_format": "channels_first", "default_to_square": True, "device": None,
         "disable_grouping": None, "do_center_crop": None, "do_convert_rgb": None, "do_normalize": True, "do_pad": None,
         "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
         "image_processor_type": "ViTImageProcessorFast", "image_seq_length": None,
         "image_std": [0.5] * 3, "input_data_format": None, "pad_size": None, "resample": 3,
         "rescale_factor": 0.00392156862745098, "return_tensors": None, "size": {"height": 256, "width": 256}},
        {"resize": (256, 256), "filter": "bicubic", "pad": False},
    ),
    "segformer": (
        {"do_normalize": True, "do_resize": True, "feature_extractor_type": "SegformerFeatureExtractor",
         "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "reduce_labels": True, "resample": 2,
         "size": 512},
        {"resize": (512, 512), "reduce": True},
    ),
    "blip": (
        {"do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
         "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "BlipImageProcessor",
         "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "BlipProcessor", "resample": 3,
         "rescale_factor": 0.00392156862745098, "size": {"height": 384, "width": 384}, "size_divisor": 32},
        {"resize": (384, 384), "filter": "bicubic", "pad": False},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHAT_FILES_SAY)
def test_files_of_published_models_are_read(name: str) -> None:
    data, expected = WHAT_FILES_SAY[name]
    made = processors.read(data, "here").settings  # type: ignore[attr-defined]
    assert {key: getattr(made, key) for key in expected} == expected


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


LYING = {
    "many pixels": (png(17_000, 17_000), "pixels"),
    "fewer than Pillow warns of": (png(8_600, 8_600), "pixels"),
    "more than Pillow allows": (png(60_000, 60_000), "pixels"),
    "a wide one": (png(1 << 27, 1), "pixels"),
    "no data": (png(30, 30), "damaged"),
    "too little data": (png(30, 30, bytes(91 * 20)), "damaged"),
    "another format": (saved(Image.new("RGB", (3, 3)), "BMP"), "PNG"),
    "a GIF": (saved(Image.new("P", (3, 3)), "GIF"), "PNG"),
    "nothing": (b"", "PNG"),
    "text": (b"%PDF-1.7 not an image", "PNG"),
    "a lying chunk": (png(3, 3)[:33] + struct.pack(">I", 1 << 30) + b"IDATx", "x"),
}


@pytest.mark.parametrize("name", LYING)
def test_lying_files_are_refused_before_anything_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, told = LYING[name]
    if told == "pixels":
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadFileError, match=told) as refused:
        pictures.decoded(data, "x")
    assert "0x" not in str(refused.value) and "BytesIO" not in str(refused.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_files_cut_short_anywhere_are_refused(kind: str) -> None:
    data = saved(picture(23, 31), kind)
    for length in range(0, len(data) - 2, max(1, len(data) // 23)):
        with pytest.raises(BadFileError) as refused:
            pictures.decoded(data[:length], "x")
        assert "0x" not in str(refused.value)


def test_animations_are_refused() -> None:
    frames = [picture(7, 5, seed) for seed in range(3)]
    for kind in ("PNG", "WEBP"):
        with pytest.raises(BadFileError, match="animation"):
            pictures.decoded(saved(frames[0], kind, save_all=True, append_images=frames[1:]), "x")


def test_proportions_that_leave_nothing_are_refused() -> None:
    ours = images.read({"image_processor_type": "CLIPImageProcessor"}, "x")
    with pytest.raises(BadFileError, match="1 x 3000"):
        ours([Image.new("RGB", (3000, 1))])
