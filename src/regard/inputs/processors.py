"""What turns images or sound into what a model takes, by the file that comes with the model's weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from regard import limits
from regard.errors import BadFileError

FILE = "preprocessor_config.json"
BOTH = "processor_config.json"  # newer files: the parts of a processor under keys of their own

# How files name a processor -> the file here that reads its settings. Some append "Fast" to the name.
_MODULES: dict[str, str] = {
    f"{kind}{end}": "images"
    for kind in (
        "ViT", "DeiT", "Beit", "Segformer", "Detr", "Yolos", "Bit", "CLIP", "Siglip", "Blip", "ImageGPT",
    )
    for end in ("ImageProcessor", "FeatureExtractor")
} | {"WhisperFeatureExtractor": "audio", "Speech2TextFeatureExtractor": "audio", "Wav2Vec2FeatureExtractor":
     "waveform", "SpeechT5FeatureExtractor": "audio"}  # fmt: skip


class Processor(Protocol):
    """``reads`` is what it takes: "image" or "audio"."""

    reads: str

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json, so that ``load`` and Hugging Face's AutoProcessor both read it."""
        ...


def load(folder: Path) -> Processor | None:
    """The processor that a model's folder describes; None where it describes none.

    Raises BadFileError for one that is not known, or whose settings cannot be.
    """
    for file, part in ((FILE, None), (BOTH, "image_processor"), (BOTH, "feature_extractor")):
        path = limits.member(folder, file)
        if not path.is_file():
            continue
        data = limits.read_json(path)
        data = data if part is None or not isinstance(data, dict) else data.get(part)
        if data is not None:
            return read(data, str(path))
    return None


def read(data: Any, where: str) -> Processor:
    """The processor of these settings, by the name that they give it."""
    if not isinstance(data, Mapping):
        raise BadFileError("inputs.no_processor", where=where, name=type(data).__name__, known=", ".join(_MODULES))
    name = data.get("image_processor_type") or data.get("feature_extractor_type")
    module = _MODULES.get(name.removesuffix("Fast")) if isinstance(name, str) else None
    if module is None:
        raise BadFileError("inputs.no_processor", where=where, name=name, known=", ".join(_MODULES))
    return importlib.import_module(f"regard.inputs.{module}").read(data, where)
