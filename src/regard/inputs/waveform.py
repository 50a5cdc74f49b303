"""The processor of models that hear a waveform as it is (wav2vec 2.0 and its kin)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regard import limits
from regard.config import Problem, between, from_dict, verify
from regard.errors import BadFileError, ConfigError
from regard.inputs.sound import Sound, resampled

FILE = "preprocessor_config.json"
_LEAST = 1e-7  # added to the variance: silence has none


@dataclass(frozen=True, kw_only=True)
class Waveform:
    """Samples at ``rate`` a second; normed: of mean 0 and deviation 1 over the sound. masked: whether the reference
    tells a model which samples are padding, which ours always are."""

    rate: int = 16_000
    normed: bool = True
    masked: bool = False
    reads = "audio"

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, 1 << 20, "rate")

    def __call__(self, sound: Sound) -> Tensor:
        """(samples,) float32."""
        samples = resampled(sound, self.rate).samples
        if self.normed and len(samples):
            samples = (samples - samples.mean()) / (samples.var() + _LEAST) ** 0.5
        return torch.from_numpy(samples.astype("float32"))

    def save(self, folder: Path) -> None:
        """Writes preprocessor_config.json, which ``read`` and Hugging Face's AutoFeatureExtractor read."""
        made = {theirs: getattr(self, ours) for theirs, ours in _KNOWN.items()}
        made |= {key: values[0] for key, values in _ONLY.items()}
        made |= {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
        limits.write(folder / FILE, json.dumps(made, indent=2) + "\n")


_KNOWN = {"sampling_rate": "rate", "do_normalize": "normed", "return_attention_mask": "masked"}
_ONLY: dict[str, tuple[Any, ...]] = {"feature_size": (1,), "padding_value": (0, 0.0), "padding_side": ("right",)}
_HARMLESS = ("feature_extractor_type", "processor_class", "tokenizer_class")


def read(data: Mapping[str, Any], where: str) -> Waveform:
    """The processor of these settings; what is not understood is refused by name."""
    for key, value in data.items():
        if key in _ONLY and value not in _ONLY[key]:
            raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=_ONLY[key])
        if key not in (*_KNOWN, *_ONLY, *_HARMLESS):
            raise BadFileError("weights.unknown_setting", where=where, key=key, value=value)
    values = {ours: data[theirs] for theirs, ours in _KNOWN.items() if data.get(theirs) is not None}
    try:
        return from_dict(Waveform, values, where)
    except ConfigError as error:
        raise BadFileError(error.key, **error.values) from None
