"""Processors of sound: the frames that a model of speech is given, by the settings that come with its weights.

Equal to the reference's feature extractors. What a model of waveforms takes is another file's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard import limits
from regard.config import Problem, between, from_dict, verify
from regard.errors import BadFileError, ConfigError, RegardError
from regard.inputs.sound import Sound, resampled

FILE = "preprocessor_config.json"
LOWEST = 1e-10  # the least power of a band: what has none would have no logarithm
SPAN = 8.0  # decades below a spectrogram's loudest that are told apart


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """Whisper's (Radford et al. 2022, section 2.2): the logarithm of the power in ``mels`` bands of a window of
    ``seconds``, padded with silence, every ``hop`` samples. All frames of a window are told apart down to eight decades
    below its loudest."""

    mels: int = 80
    rate: int = 16_000
    hop: int = 160
    width: int = 400  # samples of one frame
    seconds: int = 30
    reads = "audio"

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, 1 << 12, "mels", "hop", "width")
        yield from between(self, 1, 1 << 20, "rate")
        yield from between(self, 1, 1 << 12, "seconds")

    @property
    def length(self) -> int:
        """Samples of a window."""
        return self.seconds * self.rate

    @property
    def per_second(self) -> float:
        """Frames of a second."""
        return self.rate / self.hop

    def __call__(self, sound: Sound) -> Tensor:
        """The first window of the sound: (F, mels) float32."""
        samples = torch.from_numpy(resampled(sound, self.rate).samples[: self.length])
        padded = torch.nn.functional.pad(samples, (0, self.length - len(samples)))
        window = torch.hann_window(self.width)
        spectrum = torch.stft(padded, self.width, self.hop, window=window, return_complex=True)
        power = spectrum[:, :-1].abs().square()
        bands = (self.filters.T @ power).clamp(min=LOWEST).log10()
        return ((torch.maximum(bands, bands.max() - SPAN) + 4.0) / 4.0).T.contiguous()

    @cached_property
    def filters(self) -> Tensor:
        """(bins, mels)."""
        return _triangles(1 + self.width // 2, self.mels, self.rate).float()

    def save(self, folder: Path) -> None:
        """Writes preprocessor_config.json, which ``read`` and Hugging Face's AutoFeatureExtractor read."""
        made = {"feature_extractor_type": "WhisperFeatureExtractor", **_written(self, _WHISPER), "padding_value": 0.0,
                "return_attention_mask": False, "n_samples": self.length,
                "nb_max_frames": self.length // self.hop}  # fmt: skip
        limits.write(folder / FILE, json.dumps(made, indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class MelTarget:
    """What a model that speaks is taught to say (SpeechT5): the logarithm of the magnitude in ``mels`` bands from
    ``low`` to ``high`` Hertz of windows of ``width`` milliseconds, ``hop`` of them apart. normed: of waveforms, which
    such a model does not read, kept for who does."""

    mels: int = 80
    rate: int = 16_000
    hop: int = 16
    width: int = 64
    low: float = 80.0
    high: float = 7600.0
    floor: float = 1e-10
    normed: bool = False
    masked: bool = True
    reads = "spectrogram"

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, 1 << 12, "mels", "hop", "width")
        yield from between(self, 1000, 1 << 20, "rate")
        yield from between(self, 0.0, self.rate / 2, "low", "high")
        yield from between(self, 1e-30, 1.0, "floor")
        if self.low >= self.high:
            yield "high", "config.at_least", {"least": self.low}

    def __call__(self, sound: Sound) -> Tensor:
        """(F, mels) float32. Raises RegardError for a sound that is shorter than half a window."""
        size, stride = (one * self.rate // 1000 for one in (self.width, self.hop))
        samples = torch.from_numpy(resampled(sound, self.rate).samples).double()
        if len(samples) <= size // 2 + 1:
            raise RegardError("inputs.sound.short", least=size // 2 + 2, count=len(samples))
        bins = 1 << (size - 1).bit_length()
        window = torch.hann_window(size, dtype=torch.float64)
        around = torch.nn.functional.pad(samples[None], (size // 2, size // 2), mode="reflect")[0]
        frames = around.unfold(0, size, stride) * window
        magnitude = torch.fft.rfft(frames, bins).to(torch.complex64).abs().double()
        filters = _triangles(1 + bins // 2, self.mels, self.rate, self.low, self.high)
        return (magnitude @ filters).clamp(min=self.floor).log10().float()

    def save(self, folder: Path) -> None:
        """Writes preprocessor_config.json, which ``read`` and Hugging Face's AutoFeatureExtractor read."""
        made = {"feature_extractor_type": "SpeechT5FeatureExtractor", **_written(self, _SPEECHT5), "padding_value": 0.0,
                "feature_size": 1, "win_function": "hann_window"}  # fmt: skip
        limits.write(folder / FILE, json.dumps(made, indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class Filterbank:
    """Kaldi's: the logarithm of the energy in ``mels`` bands of frames of 25 ms, 10 ms apart, each with its mean taken
    out, its high tones raised and its ends faded; each band then of mean 0 (``means``) and deviation 1
    (``deviations``) over the sound, if ``normed``."""

    mels: int = 80
    rate: int = 16_000
    normed: bool = True
    means: bool = True
    deviations: bool = True
    reads = "audio"

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, 1 << 12, "mels")
        yield from between(self, 16_000, 16_000, "rate")  # the reference's frames are of so many samples, not seconds

    @property
    def per_second(self) -> float:
        """Frames of a second."""
        return self.rate / _HOP

    def __call__(self, sound: Sound) -> Tensor:
        """(F, mels) float32. Raises RegardError for a sound that is shorter than one frame."""
        samples = torch.from_numpy(resampled(sound, self.rate).samples)
        if len(samples) < _WIDTH:
            raise RegardError("inputs.sound.short", least=_WIDTH, count=len(samples))
        frames = (samples * 2.0**15).double().unfold(0, _WIDTH, _HOP)
        frames = frames - frames.mean(1, keepdim=True)
        first = frames[:, :1] * (1 - _EMPHASIS)
        frames = torch.cat((first, frames[:, 1:] - _EMPHASIS * frames[:, :-1]), 1)
        faded = frames * torch.hann_window(_WIDTH, periodic=False, dtype=torch.float64) ** _FADE
        power = torch.fft.rfft(faded, _BINS).to(torch.complex64).to(torch.complex128).abs().square()
        bands = (power @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log().float()
        return self._normed(bands) if self.normed else bands

    def _normed(self, bands: Tensor) -> Tensor:
        found = bands.numpy()  # whose sums down a column round otherwise than PyTorch's, and as the reference's do
        found = found - found.mean(0) if self.means else found
        if self.deviations:
            spread = found.std(0)
            found = found / np.where(spread > 0, spread, 1)  # silence stays 0, where the reference makes it NaN
        return torch.from_numpy(found)

    @cached_property
    def filters(self) -> Tensor:
        """(bins, mels) float64."""
        return _kaldi_triangles(1 + _BINS // 2, self.mels, self.rate)

    def save(self, folder: Path) -> None:
        """Writes preprocessor_config.json, which ``read`` and Hugging Face's AutoFeatureExtractor read."""
        made = {"feature_extractor_type": "Speech2TextFeatureExtractor", **_written(self, _SPEECH2TEXT),
                "feature_size": self.mels, "padding_value": 0.0, "return_attention_mask": True}  # fmt: skip
        limits.write(folder / FILE, json.dumps(made, indent=2) + "\n")


_WIDTH, _HOP, _BINS, _EMPHASIS, _FADE = 400, 160, 512, 0.97, 0.85

# Theirs -> ours; what is accepted at one value only; what changes no number.
_WHISPER = {"feature_size": "mels", "sampling_rate": "rate", "hop_length": "hop", "n_fft": "width", "chunk_length":
            "seconds"}  # fmt: skip
_SPEECH2TEXT = {"num_mel_bins": "mels", "sampling_rate": "rate", "do_ceptral_normalize": "normed", "normalize_means":
                "means", "normalize_vars": "deviations"}  # fmt: skip
_SPEECHT5 = {"num_mel_bins": "mels", "sampling_rate": "rate", "hop_length": "hop", "win_length": "width", "fmin": "low",
             "fmax": "high", "mel_floor": "floor", "do_normalize": "normed",
             "return_attention_mask": "masked"}  # fmt: skip
_TARGET_ONLY: dict[str, tuple[Any, ...]] = {
    "padding_value": (0.0,), "feature_size": (1,), "win_function": ("hann_window",), "frame_signal_scale": (1.0,),
}  # fmt: skip
_ONLY: dict[str, tuple[Any, ...]] = {"padding_value": (0.0,), "dither": (0.0,), "do_normalize": (False, None)}
_HARMLESS = ("feature_extractor_type", "processor_class", "padding_side", "return_attention_mask", "n_samples",
             "nb_max_frames", "mel_filters")  # fmt: skip


def read(data: Mapping[str, Any], where: str) -> LogMel | Filterbank | MelTarget:
    """The processor of these settings; what is not understood is refused by name."""
    if data.get("feature_extractor_type") == "SpeechT5FeatureExtractor":
        return _target(data, where)
    whisper = data.get("feature_extractor_type") == "WhisperFeatureExtractor"
    known = _WHISPER if whisper else _SPEECH2TEXT
    for key, value in data.items():
        if key in _ONLY and value not in _ONLY[key]:
            raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=_ONLY[key])
        if key not in (*known, *_ONLY, *_HARMLESS) and (whisper or key != "feature_size"):
            raise BadFileError("weights.unknown_setting", where=where, key=key, value=value)
    if not whisper and data.get("feature_size", 80) != data.get("num_mel_bins", 80):
        accepted = (data.get("num_mel_bins", 80),)
        raise BadFileError(
            "weights.setting", where=where, key="feature_size", value=data["feature_size"], accepted=accepted
        )
    values = {ours: data[theirs] for theirs, ours in known.items() if data.get(theirs) is not None}
    try:
        return from_dict(LogMel if whisper else Filterbank, values, where)
    except ConfigError as error:
        raise BadFileError(error.key, **error.values) from None


def _target(data: Mapping[str, Any], where: str) -> MelTarget:
    for key, value in data.items():
        if key in _TARGET_ONLY and value not in _TARGET_ONLY[key]:
            raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=_TARGET_ONLY[key])
        if key not in (*_SPEECHT5, *_TARGET_ONLY, *_HARMLESS, "reduction_factor"):
            raise BadFileError("weights.unknown_setting", where=where, key=key, value=value)
    values = {ours: data[theirs] for theirs, ours in _SPEECHT5.items() if data.get(theirs) is not None}
    try:
        return from_dict(MelTarget, values, where)
    except ConfigError as error:
        raise BadFileError(error.key, **error.values) from None


def _written(processor: Any, known: Mapping[str, str]) -> dict[str, Any]:
    return {theirs: getattr(processor, ours) for theirs, ours in known.items()}


@cache
def _triangles(bins: int, mels: int, rate: int, low: float = 0.0, high: float = 8000.0) -> Tensor:
    """Slaney's mel scale from ``low`` to ``high`` (linear to 1 kHz, logarithmic above), each triangle of area 1 in
    Hertz."""

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        above = 15.0 + np.log(np.maximum(hertz, 1000.0) / 1000.0) * (27.0 / math.log(6.4))
        return np.where(hertz >= 1000.0, above, 3.0 * hertz / 200.0)

    def to_hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel >= 15.0, 1000.0 * np.exp(math.log(6.4) / 27.0 * (mel - 15.0)), 200.0 * mel / 3.0)

    ends = to_mel(np.array([low, high]))
    corners = to_hertz(np.linspace(ends[0], ends[1], mels + 2))
    found = _sloped(np.linspace(0, rate // 2, bins), corners)
    return torch.from_numpy(found * (2.0 / (corners[2:] - corners[:-2])))


@cache
def _kaldi_triangles(bins: int, mels: int, rate: int) -> Tensor:
    """Kaldi's mel scale from 20 Hz up, its triangles straight in mel."""

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log(1.0 + hertz / 700.0)

    ends = to_mel(np.array([20.0, rate // 2]))
    corners = np.linspace(ends[0], ends[1], mels + 2)
    return torch.from_numpy(_sloped(to_mel(np.arange(bins) * (rate / ((bins - 1) * 2))), corners))


def _sloped(at: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Triangles between every third of the corners, (points, corners - 2)."""
    slopes = corners[None] - at[:, None]
    widths = np.diff(corners)
    rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    return np.maximum(0.0, np.minimum(rising, falling))
