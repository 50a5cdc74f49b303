"""Speech out of a text: frames said one after another until the model says that it has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.inputs.sound import Sound
from regard.layers import Context, Key, Voice
from regard.models.transformer import memory_mask

if TYPE_CHECKING:
    from regard.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class Speaking:
    """stop: the chance of an end, summed over the frames of one step, at which it ends. least and most: frames for each
    token of the text."""

    stop: float = 0.5
    least: float = 0.0
    most: float = 20.0


def speak(
    bundle: Bundle, vocoder: Bundle, text: str, voice: Tensor, key: Key | None = None, settings: Speaking | None = None
) -> Sound:
    """A text as sound, by a model that says spectrograms and one that makes them heard. Raises RegardError for models
    that do not, or that do not fit each other."""
    for one, task in ((bundle, "speech"), (vocoder, "vocoder")):
        if one.task != task:
            raise RegardError("generate.speech_models", family=one.family, task=one.task, wanted=task)
    mels, takes = bundle.model.config.mels, vocoder.model.config.mels
    if mels != takes:
        raise RegardError("generate.speech_mels", mels=mels, takes=takes)
    frames = spectrogram(bundle.model, bundle.tokenizer.encode(text), voice, key, settings)
    with torch.inference_mode():
        samples = vocoder.model(frames.unsqueeze(0))[0]
    return Sound(samples.float().cpu().numpy(), vocoder.model.config.rate)


@torch.inference_mode()
def spectrogram(
    model: Any, tokens: list[int], voice: Tensor, key: Key | None = None, settings: Speaking | None = None
) -> Tensor:
    """Frames (F, mels) of a text, said by ``voice`` (E,). key: the randomness that such a decoder needs to sound alive;
    None: it has none. Raises RegardError for a text without tokens, or one that is too long."""
    settings, config = settings or Speaking(), model.config
    if not 0 < len(tokens) <= config.context:
        raise RegardError("generate.speech_length", tokens=len(tokens), context=config.context)
    device = next(model.parameters()).device
    source = Context()
    memory = model.encode(torch.tensor([tokens], device=device), source)
    told = Context(memory=memory, memory_mask=memory_mask(source, source), cache=model.cache())
    least, most = (int(len(tokens) * each / config.together) for each in (settings.least, settings.most))
    frame, said = memory.new_zeros(1, 1, config.mels), []
    for step in range(1, min(most, config.frames // config.together) + 1):
        drawn = Voice(vector=voice.to(memory).unsqueeze(0), key=None if key is None else key.at(step))
        hidden = model.hidden(frame, replace(told, voice=drawn))
        said.append(model.head.said(hidden))
        frame = said[-1][:, -1:]
        ended = float(torch.sigmoid(model.head.stops(hidden)).sum())
        if step >= least and ended >= settings.stop:
            break
    if not said:
        raise RegardError("generate.speech_none", most=settings.most)
    return model.head.smoothed(torch.cat(said, 1))[0]
