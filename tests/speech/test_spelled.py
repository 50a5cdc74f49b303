"""Sound of any length through a model that spells: windows, pieces and their times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from regard import embed, models
from regard.bundle import Bundle
from regard.errors import RegardError
from regard.generate import spelled
from regard.generate.transcribe import Hearing, transcribe
from regard.inputs import letters
from regard.inputs.sound import Sound
from regard.inputs.tokenizer import Tokenizer
from regard.inputs.waveform import Waveform
from regard.layers import Context, Key

RATE = 400


def talker() -> Bundle:
    tokenizer = Tokenizer(*letters.learnt(["ab c"]))
    values: dict[str, Any] = {
        "dim": 22, "depth": 1, "heads": 2, "hidden": 23, "position_kernel": 5, "position_groups": 11,
        "first": {"channels": (7, 5), "kernels": (5, 4), "strides": (4, 2), "norm": "layer"},
        "vocab": tokenizer.size, "head": "ctc", "blank": tokenizer.pad,
    }  # fmt: skip
    model = models.build(models.config("wav2vec2", values), Key(3)).eval()
    return Bundle(model, tokenizer, "wav2vec2", "ctc", processor=Waveform(rate=RATE, normed=False))


def test_stretches_are_parted_by_pauses() -> None:
    best = torch.tensor([0, 3, 0, 3, 0, 0, 0, 4, 4, 1, 0, 0, 5])
    assert list(spelled.stretches(best, {0, 1}, 3)) == [(1, 4), (7, 9), (12, 13)]
    assert list(spelled.stretches(best, {0, 1}, 4)) == [(1, 13)]
    assert list(spelled.stretches(torch.zeros(7), {0}, 2)) == list(spelled.stretches(torch.zeros(0), {0}, 2)) == []


def test_windows_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly what convolutions alone give, whose reach the margin exceeds."""
    one = talker()
    conv = embed.Waves(list(one.model.embed.convolutions), project=torch.nn.Identity())
    monkeypatch.setattr(type(one.model), "forward", lambda self, x, context: conv(x, context))
    sound = Sound(np.random.default_rng(1).normal(size=RATE * 75).astype(np.float32), RATE)
    assert one.processor is not None
    with torch.no_grad():
        found, whole = spelled.heard(one.model, one.processor, sound), conv(one.processor(sound)[None], Context())
    assert abs(len(found) - whole.shape[1]) <= 2 * 3  # each window may miss what lies across its edges
    assert_close(found[:1400], whole[0, :1400])


def test_pieces_have_the_times_of_their_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    one = talker()
    a, b = (one.tokenizer.encode(letter, special=False)[0] for letter in "ab")
    best = [0] * 100
    best[10:14], best[15:17], best[80:84] = [a] * 4, [b] * 2, [a] * 4
    logits = torch.nn.functional.one_hot(torch.tensor(best), one.model.config.vocab).float() * 30
    monkeypatch.setattr(spelled, "heard", lambda model, processor, sound: logits)
    told: list[str] = []
    for width in (1, 4):
        found = transcribe(
            one, Sound(np.zeros(RATE * 10, np.float32), RATE), Hearing(beams=width), lambda x: told.append(x.text)
        )
        assert found.text == "ab a" and found.language is None and found.seconds == 10
        assert [(p.start, p.end, p.text) for p in found.pieces] == [(1.0, pytest.approx(1.7), "ab"), (8.0, 8.4, "a")]
    assert told == ["ab", "a"] * 2


@pytest.mark.parametrize("count", [0, 1, 5, 11, 12])
def test_sound_of_nothing_says_nothing(count: int) -> None:
    found = transcribe(talker(), Sound(np.zeros(count, np.float32), RATE))
    assert found.text == "" and found.pieces == ()


def test_what_such_a_model_cannot_do_is_refused() -> None:
    for how in (Hearing(language="en"), Hearing(task="translate"), Hearing(prompt="x")):
        with pytest.raises(RegardError):
            transcribe(talker(), Sound(np.zeros(RATE, np.float32), RATE), how)
