"""Speaking, classing and writing down sound from the command line, on random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.generate.speech import spectrogram
from regard.inputs import letters
from regard.inputs.absent import NoTokenizer
from regard.inputs.sound import Sound, decoded, opened, written
from regard.inputs.tokenizer import Tokenizer
from regard.inputs.waveform import Waveform
from regard.layers import Key

WAVES: dict[str, Any] = {
    "dim": 22, "depth": 1, "heads": 2, "hidden": 23, "position_kernel": 5, "position_groups": 11, "width": 7,
    "first": {"channels": (7, 5), "kernels": (5, 4), "strides": (4, 2), "norm": "layer"},
}  # fmt: skip
TALKER: dict[str, Any] = {
    "dim": 22, "depth": 1, "decoder_depth": 1, "heads": 2, "decoder_heads": 2, "hidden": 13, "decoder_hidden": 13,
    "mels": 5, "speaker": 7, "first_width": 11, "last_width": 11, "last_kernel": 3, "context": 31, "furthest": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    place, alphabet = tmp_path_factory.mktemp("models"), Tokenizer(*letters.learnt(["good morning"]))
    waves = Waveform(rate=400)

    def saved(name: str, family: str, tokenizer: Any, task: str, processor: Any = None, **values: Any) -> Path:
        model = models.build(models.config(family, values), Key(5)).eval()
        labels = getattr(model.config, "labels", ())
        bundle.save(place / name, Bundle(model, tokenizer, family, task, labels, None, processor))
        return place / name

    none: Any = NoTokenizer("wav2vec2")
    labelled = {"labels": ("one", "two", "three")}
    return {
        "talker": saved("talker", "speecht5", alphabet, "speech", vocab=alphabet.size, **TALKER),
        "vocoder": saved("vocoder", "hifigan", none, "vocoder", mels=5, channels=8, rates=(3, 2), kernels=(5, 4),
                         widths=(3,), dilations=((1, 2),), rate=8000),
        "classes": saved("classes", "wav2vec2", none, "sound-classification", waves, head="classify", **labelled,
                         **WAVES),
        "tags": saved("tags", "wav2vec2", none, "sound-tagging", waves, head="tag", **labelled, **WAVES),
        "letters": saved("letters", "wav2vec2", alphabet, "ctc", waves, head="ctc", vocab=alphabet.size,
                         blank=alphabet.pad, **WAVES),
    }  # fmt: skip


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    samples = np.random.default_rng(3).normal(0, 0.2, 1200).astype(np.float32)
    (tmp_path / "noise.wav").write_bytes(written(Sound(samples, 400)))
    return tmp_path / "noise.wav"


def answered(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code = run([*map(str, arguments), "--threads", "1", "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def test_a_sound_written_is_the_sound_read() -> None:
    samples = np.array([0.0, 0.5, -1.0, 1.0, 3.0, -3.0], np.float32)
    again = decoded(written(Sound(samples, 8000)), "here")
    assert again.rate == 8000 and np.allclose(again.samples, np.clip(samples, -1, 1), atol=1e-4)
    assert len(decoded(written(Sound(samples[:0], 8000)), "here").samples) == 0


def test_speak(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voice = np.random.default_rng(2).normal(size=(1, 7)).astype(np.float32)
    np.save(tmp_path / "voice.npy", voice)
    told = (folders["talker"], "good morning", "--vocoder", folders["vocoder"], "--voice", tmp_path / "voice.npy")
    out = tmp_path / "said" / "a.wav"
    found = answered(capsys, "speak", *told, "--out", out, "--most", 2)
    sound = opened(out)
    assert (found["rate"], found["out"]) == (8000, str(out)) and sound.rate == 8000 and len(sound.samples) > 0
    # What is heard is the vocoder's, of the spectrogram of that text, voice and seed.
    from regard.generate.speech import Speaking

    talker, vocoder = bundle.load(folders["talker"]), bundle.load(folders["vocoder"])
    frames = spectrogram(
        talker.model, talker.tokenizer.encode("good morning"), torch.from_numpy(voice[0]), Key(0), Speaking(most=2.0)
    )
    with torch.inference_mode():
        expected = vocoder.model(frames[None])[0].numpy()
    assert np.allclose(sound.samples, expected, atol=1e-4)
    answered(capsys, "speak", *told, "--out", tmp_path / "b.wav", "--most", 2)
    assert (tmp_path / "b.wav").read_bytes() == out.read_bytes()
    endless = Speaking(most=2.0, stop=9.0)
    one, again, other = (
        spectrogram(talker.model, [3, 5, 4], torch.from_numpy(voice[0]), Key(seed), endless) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"[1, 2]", "wrong", "objects", "endless"])
def test_a_voice_that_is_none_is_refused(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any
) -> None:
    file = tmp_path / "voice.npy"
    if content == "wrong":
        np.save(file, np.zeros(6))
    elif content == "objects":
        np.save(file, np.array([{"a": 1}] * 7), allow_pickle=True)
    elif content == "endless":
        np.save(file, np.full(7, np.nan))
    else:
        file.write_bytes(content)
    code = run(["speak", str(folders["talker"]), "good", "--vocoder", str(folders["vocoder"]), "--voice", str(file)])
    assert code == 1 and "voice.npy" in capsys.readouterr().err


def test_models_that_do_not_speak_are_refused(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for model, vocoder in (("vocoder", "talker"), ("talker", "letters"), ("letters", "vocoder")):
        assert run(["speak", str(folders[model]), "good", "--vocoder", str(folders[vocoder])]) == 1
        assert "speech" in (err := capsys.readouterr().err) or "vocoder" in err
    assert run(["speak", str(folders["talker"]), " ", "--vocoder", str(folders["vocoder"])]) == 2


def test_predict_of_sounds(folders: dict[str, Path], noise: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answered(capsys, "predict", folders["classes"], noise, "--candidates", 2)["predictions"][0]
    loaded = bundle.load(folders["classes"])
    assert loaded.task == "sound-classification"
    heard = loaded.processor(opened(noise))  # type: ignore[misc]
    with torch.no_grad():
        shares = loaded.model(heard[None]).double().softmax(-1)[0]
    best = int(shares.argmax())
    assert found["label"] == loaded.labels[best] and len(found["probabilities"]) == 2
    assert found["probabilities"][found["label"]] == pytest.approx(float(shares[best]))

    found = answered(capsys, "predict", folders["tags"], noise, "--least", 0.4)["predictions"][0]["stretches"]
    loaded = bundle.load(folders["tags"])
    with torch.no_grad():
        on = loaded.model(loaded.processor(opened(noise))[None])[0].sigmoid() > 0.4  # type: ignore[misc]
    heard_for = {
        label: sum(one["end"] - one["start"] for one in found if one["label"] == label) for label in loaded.labels
    }
    for label, column in zip(loaded.labels, on.T, strict=True):
        assert heard_for[label] == pytest.approx(3.0 * float(column.float().mean()))

    assert run(["predict", str(folders["tags"]), str(noise), "--candidates", "2"]) == 2


def test_transcribe_by_a_model_that_spells(
    folders: dict[str, Path], noise: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written_down = answered(capsys, "transcribe", noise, "--model", folders["letters"], "--beams", 1)["files"][0]
    predicted = answered(capsys, "predict", folders["letters"], noise)["predictions"][0]
    assert written_down["text"].split() == predicted["text"].split()
    assert written_down["language"] is None and written_down["seconds"] == 3.0
