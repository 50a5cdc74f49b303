"""Speech written down with its times: which token may follow which, windows, second attempts, subtitles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers.generation.logits_process import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

from regard import models
from regard.bundle import Bundle
from regard.errors import BadFileError, ConfigError, RegardError
from regard.generate import subtitles, transcribe
from regard.generate.spoken import Ruled
from regard.generate.transcribe import Hearing, Piece, Transcript, _Listener, _Taken
from regard.generate.warp import log_probabilities
from regard.inputs.audio import LogMel
from regard.inputs.sound import Sound
from regard.inputs.spoken import Spoken, spoken
from regard.ops.random import Key

WORDS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>",
         "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
END, FIRST, TIMES = 23, 24, 33  # words stand before the end, times after all others
STEP = 0.5
KNOWN = Spoken(
    start=24, end=END, before=30, silent=31, times=TIMES, step=STEP, tasks={"transcribe": 28, "translate": 27},
    languages={"en": 25, "zh": 26}, never=(5, 24, 27, 28, 29, 30, 31, 32), never_first=(7, END),
)  # fmt: skip
VOCAB = TIMES + 8
RATE = 16_000


class Letters:
    """Token n below END is the n-th letter; all the others are special."""

    bos, eos, pad, size = None, END, None, TIMES

    def encode(self, text: str, special: bool = True) -> list[int]:
        return [ord(letter) - ord("a") for letter in text if letter.isalpha()]

    def decode(self, tokens: Any, special: bool = False) -> str:
        return "".join(chr(ord("a") + token) for token in tokens if token < END)

    def document(self) -> dict[str, Any]:
        return {"added_tokens": [{"content": word, "id": END + n} for n, word in enumerate(WORDS)]}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    sizes = dict.fromkeys(("depth", "decoder_depth"), 1) | dict.fromkeys(("hidden", "decoder_hidden"), 17)
    sizes |= {"dim": 18, "heads": 3, "decoder_heads": 3, "mels": 5, "frames": 50, "context": 41, "vocab": VOCAB}
    tokens = {"start": 24, "pad": END, "suppressed": [5], "suppressed_first": [7, END]}
    model = models.build(models.config("whisper", {**sizes, **tokens}), Key(3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20.0)
    letters: Any = Letters()
    return Bundle(model, letters, "whisper", "seq2seq", processor=LogMel(mels=5, seconds=1))


@pytest.mark.parametrize(
    "written",
    [(), (33,), (33, 4), (33, 4, 8), (33, 4, 35), (33, 4, 35, 35), (34, 4, 35, 36, 9), (35, 4, 35), (4,), (4, 36)],
    ids=str,
)
def test_what_may_follow_is_what_the_reference_lets_follow(written: tuple[int, ...]) -> None:
    prompt = [24, 25, 28]
    rows = object.__new__(Ruled)
    rows._spoken, rows._latest = KNOWN, TIMES + 2
    told = SimpleNamespace(no_timestamps_token_id=32, eos_token_id=END, bos_token_id=END, max_initial_timestamp_index=2)
    given = torch.tensor([[*prompt, *written]])
    for seed in range(40):
        logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3
        rows.histories = [SimpleNamespace(prompt=tuple(prompt), written=written)]  # type: ignore[list-item]
        expected = SuppressTokensLogitsProcessor(KNOWN.never)(given, logits)
        if not written:
            expected = SuppressTokensAtBeginLogitsProcessor(KNOWN.never_first, 3)(given, expected)
        timed: Any = WhisperTimeStampLogitsProcessor(told, begin_index=3)  # type: ignore[arg-type]
        assert_close(rows._ruled(logits), log_probabilities(timed(given, expected)))


def test_tokens_of_speech_are_known_by_their_names(bundle: Bundle) -> None:
    known = spoken(bundle)
    assert known is not None
    assert (known.start, known.end, known.times, known.step) == (24, END, TIMES, 0.02)
    assert known.languages == {}  # a vocabulary this small is that of a model of English alone
    assert set(known.never) == {5, 24, 27, 28, 29, 30, 31, 32}


def test_lists_of_suppressed_tokens_may_stand_beside_the_config(bundle: Bundle, tmp_path: Path) -> None:
    """As newer folders have it: config.json without the lists."""
    config = replace(bundle.model.config, suppressed=(), suppressed_first=())
    bare = replace(bundle, model=SimpleNamespace(config=config), folder=tmp_path)
    file = tmp_path / "generation_config.json"
    file.write_text('{"suppress_tokens": [3], "begin_suppress_tokens": [4, 23]}')
    known = spoken(bare)
    assert known is not None and known.never[0] == 3 and known.never_first == (4, 23)
    for wrong in ("[99]", '["a"]', "3"):
        file.write_text(f'{{"suppress_tokens": {wrong}}}')
        with pytest.raises(BadFileError, match="suppress_tokens"):
            spoken(bare)


def listener(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, attempts: list[tuple[Any, ...]], **how: Any) -> Any:
    """One whose attempts are given: (tokens, log-probability, silence); keeps what each was asked."""
    monkeypatch.setattr(transcribe, "encode", lambda model, sources: len(sources[0]))
    one = _Listener(bundle, KNOWN, Hearing(**how))
    asked: list[Any] = []

    def attempt(memory: Any, prompt: list[int], temperature: float) -> _Taken:
        tokens, logprob, silence = attempts[len(asked)]
        asked.append((prompt, temperature))
        return _Taken(tuple(tokens), Letters().decode(tokens), logprob, temperature, silence)

    one._attempt = attempt  # type: ignore[method-assign]
    return one, asked


def seconds(count: float) -> Sound:
    return Sound(np.zeros(int(count * RATE), np.float32), RATE)


def test_a_window_begins_where_the_last_piece_surely_ended(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    one, asked = listener(
        bundle, monkeypatch,
        [([33, 1, 2, 34, 34, 3], -0.1, 0.0),  # cut: "d" is heard again from 0.5 s on
         ([33, 3, 34, 34, 4, 35, END], -0.1, 0.0),  # whole: the next begins a second later
         ([33, 6, END], -0.1, 0.0)], language="en",
    )  # fmt: skip
    heard: list[Piece] = []
    found = one.transcript(seconds(2), heard.append)
    assert [(piece.start, piece.end, piece.text) for piece in found.pieces] == [
        (0.0, 0.5, "bc"), (0.5, 1.0, "d"), (1.0, 1.5, "e"), (1.5, 2.0, "g")
    ]  # fmt: skip
    assert heard == list(found.pieces) and found.text == "bcdeg" and found.language == "en"
    assert [prompt for prompt, _ in asked] == [[24, 25, 28], [30, 1, 2, 24, 25, 28], [30, 1, 2, 3, 4, 24, 25, 28]]


def test_what_repeats_itself_or_is_doubtful_is_tried_again(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    one, asked = listener(
        bundle, monkeypatch,
        [([33, *[1] * 200, END], -0.1, 0.0), ([33, 1, END], -1.2, 0.0), ([33, 2, END], -0.9, 0.0)], language="en",
    )  # fmt: skip
    found = one.transcript(seconds(1), lambda piece: None)
    assert [temperature for _, temperature in asked] == [0.0, 0.2, 0.4]
    assert found.text == "c" and found.pieces[0].temperature == 0.4


def test_what_was_guessed_is_not_told_to_the_next_window(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = [([33, 1, END], -2.0, 0.0)] * 6
    one, asked = listener(bundle, monkeypatch, [*wild, ([33, 2, END], -0.1, 0.0)], language="en", prompt="ij")
    assert one.transcript(seconds(2), lambda piece: None).text == "bc"
    assert [temperature for _, temperature in asked] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.0]
    assert asked[0][0] == [30, 8, 9, 24, 25, 28] and asked[-1][0] == [24, 25, 28]


def test_nothing_is_written_where_nobody_speaks(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    one, asked = listener(bundle, monkeypatch, [([33, 1, END], -1.5, 0.7), ([33, 2, END], -0.5, 0.7)], language="en")
    assert one.transcript(seconds(2), lambda piece: None).text == "c"
    assert [temperature for _, temperature in asked] == [0.0, 0.0]


def test_a_window_that_ends_where_it_began_does_not_last_for_ever(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = listener(bundle, monkeypatch, [([33, 33, 1], -0.1, 0.0)] * 2, language="en")
    assert one.transcript(seconds(2), lambda piece: None).pieces == ()


@pytest.mark.parametrize("beams", [1, 3])
def test_a_random_model_writes_something_with_times_that_never_go_back(bundle: Bundle, beams: int) -> None:
    noise = np.random.default_rng(3).standard_normal(3 * RATE).astype(np.float32) / 9
    hearing = Hearing(beams=beams, samples=2, temperatures=(0.0, 1.0))
    found = transcribe.transcribe(bundle, Sound(noise, RATE), hearing)
    again = transcribe.transcribe(bundle, Sound(noise, RATE), hearing)
    assert isinstance(found, Transcript) and found == again and found.language is None
    times = [time for piece in found.pieces for time in (piece.start, piece.end)]
    assert found.pieces and times == sorted(times) and times[-1] <= 3.0


def test_another_rate_is_another_number_of_samples_and_the_same_seconds(bundle: Bundle) -> None:
    assert transcribe.transcribe(bundle, Sound(np.zeros(4000, np.float32), 8000)).seconds == 0.5
    assert transcribe.transcribe(bundle, Sound(np.zeros(0, np.float32), 8000)).pieces == ()


def test_what_a_model_cannot_do_is_said(bundle: Bundle) -> None:
    with pytest.raises(RegardError, match="English alone"):
        transcribe.transcribe(bundle, seconds(1), Hearing(language="zh"))
    with pytest.raises(RegardError, match="English alone"):
        transcribe.transcribe(bundle, seconds(1), Hearing(task="translate"))
    with pytest.raises(RegardError, match="'fr' is not one of"):
        _Listener(bundle, KNOWN, Hearing(language="fr"))
    with pytest.raises(RegardError, match="whisper-tiny"):
        transcribe.transcribe(Bundle(bundle.model, bundle.tokenizer, "gpt2", "causal-lm"), seconds(1))
    with pytest.raises(ConfigError, match="temperatures"):
        Hearing(temperatures=())


def test_subtitles() -> None:
    pieces = [Piece(0.0, 1.5, " One & <two>"), Piece(3661.25, 3662.0, "a\n\n--> b")]
    assert subtitles.srt(pieces) == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne & <two>\n\n2\n01:01:01,250 --> 01:01:02,000\na -> b\n\n"
    )
    assert subtitles.vtt(pieces) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne &amp; &lt;two&gt;\n\n01:01:01.250 --> 01:01:02.000\na -&gt; b\n\n"
    )
