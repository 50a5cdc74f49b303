"""Heads of models of sound that the rows of their families cannot hold: those of half a model."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_every_family as every
import torch
import transformers
from family_rows import Case
from family_rows_speech import FRAMES, MELS, WHISPER_CLASSIFIER
from family_rows_waves import WAV2VEC2
from family_twins import Twins, make
from test_every_family import listening
from torch import Tensor
from torch.testing import assert_close

from regard.cli.main import run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
RATE = 1300  # samples a second, of which FRAMES frames are made
CLASSIFIERS = [Case(WHISPER_CLASSIFIER, variant) for variant in ("", *WHISPER_CLASSIFIER.variants)]
over = pytest.mark.parametrize("case", CLASSIFIERS, ids=[case.name for case in CLASSIFIERS])


def spectrograms(count: int = 2) -> Tensor:
    return torch.randn(count, FRAMES, MELS, generator=torch.Generator().manual_seed(5))


@over
def test_outputs(case: Case, twins: Twins) -> None:
    x = spectrograms()
    with torch.no_grad():
        assert_close(twins.model(x), twins.reference(x.transpose(1, 2)).logits)


@over
def test_hidden_states(case: Case, twins: Twins) -> None:
    x = spectrograms()
    with torch.no_grad(), listening(twins) as heard:
        twins.model(x)
        expected = twins.reference.encoder(x.transpose(1, 2), output_hidden_states=True).hidden_states
    assert len(heard["stack"]) == len(expected)
    for mine, other in list(zip(heard["stack"], expected, strict=True))[: -1 if case.variant else None]:
        assert_close(mine, other)  # a mixed stack's last is the average, which the outputs show


@over
def test_loss(case: Case, twins: Twins) -> None:
    x, labels = spectrograms(), torch.tensor([2, 0])
    with torch.no_grad():
        expected = twins.reference(x.transpose(1, 2), labels=labels).loss
        assert_close(twins.model.head.loss(twins.model(x), labels) / 2, expected)


@over
def test_back(case: Case, twins: Twins, tmp_path: Path) -> None:
    every.test_back(case, twins, tmp_path)


@over
def test_config_round_trip(case: Case, twins: Twins) -> None:
    every.test_config_round_trip(case, twins)


def written(path: Path, count: int = RATE) -> Any:
    """Noise in a file, and its samples."""
    noise = (np.random.default_rng(1).standard_normal(count) * 3000).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(noise.tobytes())
    return noise


def test_a_sound_is_named_from_the_command_line(tmp_path: Path, capsys: Any) -> None:
    """By the folder that the reference writes, with its feature extractor's settings beside the weights."""
    twins = make(Case(WHISPER_CLASSIFIER), tmp_path)
    sizes = {"feature_size": MELS, "sampling_rate": RATE, "hop_length": RATE // FRAMES, "n_fft": 64, "chunk_length": 1}
    extractor = transformers.WhisperFeatureExtractor(**sizes)
    extractor.save_pretrained(tmp_path)
    noise = written(tmp_path / "x.wav")
    given = extractor(noise / 32768.0, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        shares = twins.reference(given["input_features"]).logits[0].softmax(-1)
    assert run(["predict", str(tmp_path), str(tmp_path / "x.wav")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["label"] == f"LABEL_{int(shares.argmax())}"
    assert told["probabilities"][told["label"]] == pytest.approx(float(shares.max()), abs=1e-4)


@pytest.mark.parametrize("variant", ["speaker", "body"])
def test_a_voice_is_a_vector_on_the_command_line(variant: str, tmp_path: Path, capsys: Any) -> None:
    twins = make(Case(WAV2VEC2, variant), tmp_path)
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE)
    extractor.save_pretrained(tmp_path)
    noise = written(tmp_path / "x.wav")
    x = extractor(noise / 32768.0, sampling_rate=RATE, return_tensors="pt")["input_values"].float()
    with torch.no_grad():
        found = twins.reference(x)
    expected = found.embeddings[0] if variant == "speaker" else found.last_hidden_state[0].mean(0)
    assert run(["embed", str(tmp_path), str(tmp_path / "x.wav"), "--plain", "--json"]) == 0
    (vector,) = json.loads(capsys.readouterr().out)["vectors"]
    assert_close(torch.tensor(vector), expected, atol=1e-4, rtol=1e-4)
    assert run(["embed", str(tmp_path), str(tmp_path / "x.wav"), "--pool", "mean"]) == 2
    written(tmp_path / "short.wav", 21)
    if variant == "speaker":
        assert run(["embed", str(tmp_path), str(tmp_path / "short.wav")]) == 1
        assert "a voice is told by at least 6" in capsys.readouterr().err
