"""Speech of any length, spelled by a model that says a letter or a blank for each frame; times are the frames'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.generate.ctc import beams, greedy
from regard.inputs.sound import Sound
from regard.layers import Context

WINDOW, MARGIN = 30.0, 2.0  # seconds that are heard at a time, of which those at the edges are heard again
PAUSE = 0.6  # seconds between two words that begin a new piece


@dataclass(frozen=True, kw_only=True)
class Said:
    """From when to when, in seconds, what was said, and its log-probability for each frame."""

    start: float
    end: float
    text: str
    letters: tuple[int, ...]
    logprob: float


def said(model: Any, tokenizer: Any, processor: Any, sound: Sound, width: int) -> Iterator[Said]:
    """What is said, piece by piece; ``width``: beams of the search, 1 for the likeliest letter of each frame."""
    logits = heard(model, processor, sound)
    if not len(logits):
        return
    step, blank = sound.seconds / len(logits), model.config.blank
    space = tokenizer.encode(" ", special=False)[:1]
    for first, last in stretches(logits.argmax(-1), {blank, *space}, max(1, round(PAUSE / step))):
        part = logits[first:last]
        letters = tuple(greedy(part, blank) if width == 1 else beams(part, blank, width)[0].letters)
        text = " ".join(tokenizer.decode(letters).split())
        if text:
            sure = float((part.amax(-1) - part.logsumexp(-1)).mean())
            yield Said(start=first * step, end=last * step, text=text, letters=letters, logprob=sure)


@torch.inference_mode()
def heard(model: Any, processor: Any, sound: Sound) -> Tensor:
    """Logits (T, V) of the whole sound, heard in windows that overlap, of which the middle is kept."""
    device = next(model.parameters()).device
    window, margin = (round(seconds * sound.rate) for seconds in (WINDOW, MARGIN))
    found, begin = [], 0
    while begin < len(sound.samples):
        end = min(begin + window, len(sound.samples))
        before, after = min(margin, begin), min(margin, len(sound.samples) - end)
        part = Sound(sound.samples[begin - before : end + after], sound.rate)
        logits = _window(model, processor, part, device)
        cut = [round(len(logits) * edge / len(part.samples)) for edge in (before, len(part.samples) - after)]
        found.append(logits[cut[0] : cut[1]])
        begin = end
    return torch.cat(found) if found else torch.zeros(0, 1)


def _window(model: Any, processor: Any, part: Sound, device: torch.device) -> Tensor:
    if part.seconds < 0.03:  # less than a frame of any processor
        return torch.zeros(0, model.config.vocab, device=device)
    x = processor(part)
    if model.embed.count(len(x)) < 1:
        return torch.zeros(0, model.config.vocab, device=device)
    return model(x.unsqueeze(0).to(device), Context())[0]


def stretches(best: Tensor, empty: set[int], pause: int) -> Iterator[tuple[int, int]]:
    """(first, after the last) frames of each stretch of speech; so many ``empty`` ones part two."""
    spoken = [place for place, letter in enumerate(best.tolist()) if letter not in empty]
    first = None
    for place, following in zip(spoken, [*spoken[1:], None], strict=False):
        first = place if first is None else first
        if following is None or following - place > pause:
            yield first, place + 1
            first = None
