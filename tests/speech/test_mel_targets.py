"""What a model that speaks is taught to say equals the reference's frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.testing import assert_close

from regard.errors import BadFileError, RegardError
from regard.inputs import audio, processors
from regard.inputs.sound import Sound

CHANGES = [{}, {"num_mel_bins": 13, "fmin": 50, "fmax": 7000, "hop_length": 10, "win_length": 30, "mel_floor": 1e-4}]


@pytest.mark.parametrize("change", CHANGES)
def test_frames_are_the_references(change: dict, tmp_path: Path) -> None:
    reference = transformers.SpeechT5FeatureExtractor(**change)
    reference.save_pretrained(tmp_path)
    ours = processors.load(tmp_path)
    assert isinstance(ours, audio.MelTarget)
    for count in (1200, 16_001):
        samples = np.random.default_rng(count).normal(0, 0.1, count).astype(np.float32)
        expected = reference(audio_target=samples, sampling_rate=16_000, return_tensors="pt").input_values[0]
        assert_close(ours(Sound(samples, 16_000)), expected, atol=2e-5, rtol=1e-5)  # logarithms of single precision
    ours.save(tmp_path / "again")
    assert processors.load(tmp_path / "again") == ours
    assert transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "again").num_mel_bins == ours.mels


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RegardError):
        audio.MelTarget()(Sound(np.zeros(200, np.float32), 16_000))
    for change in ({"win_function": "povey"}, {"fmin": 9000}, {"odd": 1}, {"num_mel_bins": -1}, {"hop_length": "a"}):
        with pytest.raises(BadFileError):
            audio.read({"feature_extractor_type": "SpeechT5FeatureExtractor", **change}, "here")
    assert torch.isfinite(audio.MelTarget()(Sound(np.zeros(2000, np.float32), 16_000))).all()
