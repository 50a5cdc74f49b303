"""Sound files that lie, and the frames made of honest ones, beside the reference's."""

from __future__ import annotations

import io
import math
import re
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.testing import assert_close

from regard.errors import BadFileError, RegardError
from regard.inputs import processors, sound
from regard.inputs.audio import Filterbank, LogMel
from regard.inputs.sound import Sound, decoded, resampled

RATE = 16_000


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack("<4sI", name, len(body) if size is None else size) + body + bytes(len(body) % 2)


def form(kind: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, block: int | None = None) -> bytes:
    step = channels * bits // 8 if block is None else block
    return chunk(b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * step % (1 << 32), step, bits))


def riff(*chunks: bytes, magic: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return struct.pack("<4sI", magic, len(body)) + body


DATA = chunk(b"data", bytes(8))
RULES = {
    "no channels": (riff(form(channels=0), DATA), "0 channels"),
    "channels beyond reason": (riff(form(channels=65), DATA), "65 channels"),
    "no rate": (riff(form(rate=0), DATA), "0 samples a second"),
    "a rate beyond reason": (riff(form(rate=1 << 31), DATA), "2147483648 samples"),
    "a size past the end": (riff(form(), chunk(b"data", bytes(8), 1 << 30)), "claims a part of 1073741824 bytes"),
    "a size past the end by one": (riff(form(), chunk(b"data", bytes(8), 9)), "9 bytes where 8 are left"),
    "another part past the end": (riff(form(), chunk(b"LIST", b"", 1 << 31)), "2147483648 bytes"),
    "blocks that do not fit": (riff(form(block=3), DATA), "blocks of 3"),
    "twelve bits": (riff(form(bits=12, block=1), DATA), "12 bits"),
    "A-law": (riff(form(kind=6, bits=8), DATA), "kind 6"),
    "a form cut short": (riff(chunk(b"fmt ", bytes(9)), DATA), "fmt"),
    "no form": (riff(DATA), "data before fmt"),
    "no data": (riff(form()), "no data"),
    "big-endian": (riff(form(), DATA, magic=b"RIFX"), "RIFX"),
    "numbers that are none": (riff(form(kind=3, bits=32), chunk(b"data", struct.pack("<f", math.nan))), "NaN"),
}


@pytest.mark.parametrize("name", RULES)
def test_a_file_that_breaks_a_rule_is_refused_by_it(name: str) -> None:
    data, said = RULES[name]
    with pytest.raises(BadFileError, match=re.escape(said)) as caught:
        decoded(data, "bad.wav")
    assert "bad.wav" in str(caught.value)


@pytest.mark.parametrize("damaged", [b"", b"RIFF", b"fLaC" + bytes(40), b"OggS" + bytes(99), b"ID3" + bytes(50)])
def test_what_is_no_sound_is_refused_without_an_address(damaged: bytes) -> None:
    pytest.importorskip("soundfile")
    with pytest.raises(BadFileError, match="bad") as caught:
        decoded(damaged, "bad")
    assert "0x" not in str(caught.value)


def test_a_length_is_counted_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "MOST_FRAMES", 5)
    with pytest.raises(BadFileError, match="longer than 5"):
        decoded(riff(form(), chunk(b"data", bytes(12))), "long.wav")


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_whole_numbers_of_every_width_and_the_mean_of_channels(bits: int) -> None:
    top = 1 << (bits - 1)
    frames = [[-top, top - 2], [top // 2, -top // 2], [6, 2]]
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setframerate(11_025)
        out.setsampwidth(bits // 8)
        shift = top if bits == 8 else 0  # of eight bits they are stored without a sign
        raw = [(x + shift).to_bytes(bits // 8, "little", signed=bits > 8) for frame in frames for x in frame]
        out.writeframes(b"".join(raw))
    found = decoded(file.getvalue(), "x.wav")
    assert found.rate == 11_025
    assert_close(found.samples, np.array([-1 / top, 0.0, 4 / top], np.float32), rtol=0, atol=2.0**-24)


def test_a_length_that_was_not_known_is_all_that_follows() -> None:
    for size in sound.UNKNOWN:
        assert len(decoded(riff(form(), chunk(b"data", bytes(8), size)), "pipe").samples) == 4


def test_other_formats_through_soundfile() -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = np.sin(np.arange(4000) / 7).astype(np.float32) / 2
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples, samples], 1), 8000, format="FLAC")
    found = decoded(file.getvalue(), "x.flac")
    assert found.rate == 8000
    assert_close(found.samples, samples, rtol=0, atol=2.0**-15)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
def test_another_rate_keeps_what_can_be_kept(rate: int) -> None:
    """To the bounds that ``resampled`` states, away from the ends."""
    lower = min(rate, RATE) / 2
    for share in (0.02, 0.5, 0.9):
        at = 2 * math.pi * share * lower
        given = Sound(np.sin(np.arange(rate) / rate * at).astype(np.float32), rate)
        found = resampled(given, RATE)
        assert (found.rate, len(found.samples)) == (RATE, RATE)
        expected = np.sin(np.arange(RATE) / RATE * at)
        assert np.abs(found.samples - expected)[2000:-2000].max() < 1e-4
    if rate > RATE:
        high = Sound(np.sin(np.arange(rate) / rate * 2 * math.pi * 1.01 * lower).astype(np.float32), rate)
        assert np.abs(resampled(high, RATE).samples)[2000:-2000].max() < 1e-4


def test_rates_that_have_nothing_in_common_are_refused() -> None:
    with pytest.raises(RegardError, match="47999"):
        resampled(Sound(np.zeros(9, np.float32), 47_999), RATE)


def some(seconds: float) -> Sound:
    generator = np.random.default_rng(7)
    length = int(seconds * RATE)
    tones = sum(np.sin(np.arange(length) / RATE * 2 * math.pi * tone) for tone in (173, 1031, 6007))
    return Sound((0.2 * tones + 0.01 * generator.standard_normal(length)).astype(np.float32), RATE)


@pytest.mark.parametrize("seconds", [0, 0.3, 30, 31.7])
@pytest.mark.parametrize("mels", [80, 128])
def test_log_mel_is_the_reference_s(seconds: float, mels: int) -> None:
    reference = transformers.WhisperFeatureExtractor(feature_size=mels)
    given = some(seconds)
    expected = reference(given.samples, sampling_rate=RATE, return_tensors="pt").input_features[0].T
    assert_close(LogMel(mels=mels)(given), expected)


@pytest.mark.parametrize("seconds", [0.045, 0.3, 30])
@pytest.mark.parametrize("settings", [{}, {"normalize_vars": False}, {"do_ceptral_normalize": False}])
def test_filterbank_is_the_reference_s(seconds: float, settings: dict, tmp_path: Path) -> None:
    reference = transformers.Speech2TextFeatureExtractor(num_mel_bins=23, feature_size=23, **settings)
    reference.save_pretrained(tmp_path)
    given, ours = some(seconds), processors.load(tmp_path)
    assert isinstance(ours, Filterbank)
    assert_close(ours(given), reference(given.samples, sampling_rate=RATE, return_tensors="pt").input_features[0])


def test_less_than_a_frame_is_refused() -> None:
    with pytest.raises(RegardError, match="399 samples"):
        Filterbank()(Sound(np.zeros(399, np.float32), RATE))


@pytest.mark.parametrize("name", ["WhisperFeatureExtractor", "Speech2TextFeatureExtractor"])
def test_settings_go_there_and_back(name: str, tmp_path: Path) -> None:
    getattr(transformers, name)(feature_size=23, **({"num_mel_bins": 23} if "2" in name else {})).save_pretrained(
        tmp_path / "theirs"
    )
    ours = processors.load(tmp_path / "theirs")
    assert ours is not None and ours.reads == "audio"
    (tmp_path / "ours").mkdir()
    ours.save(tmp_path / "ours")
    assert processors.load(tmp_path / "ours") == ours
    again = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "ours")
    assert type(again).__name__ == name and again.feature_size == 23


WRONG = {"dither": 0.1, "unheard_of": 1, "sampling_rate": 0, "feature_size": "many"}
CALLED = {"sampling_rate": "rate", "feature_size": "mels"}


@pytest.mark.parametrize("key", WRONG)
def test_settings_that_are_not_heeded_are_refused_by_name(key: str) -> None:
    with pytest.raises(BadFileError, match=CALLED.get(key, key)):
        processors.read({"feature_extractor_type": "WhisperFeatureExtractor", key: WRONG[key]}, "x.json")


def test_silence_is_silent() -> None:
    assert torch.isfinite(LogMel()(Sound(np.zeros(0, np.float32), RATE))).all()
    assert Filterbank()(Sound(np.zeros(RATE, np.float32), RATE)).abs().max() < 1e-5
