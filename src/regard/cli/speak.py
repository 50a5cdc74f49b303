"""`regard speak`: a text in, a WAV file out."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from regard.cli.command import answer, argument, option, verb
from regard.cli.mistakes import Mistake
from regard.errors import BadFileError
from regard.words import say

if TYPE_CHECKING:
    from torch import Tensor

MOST_TEXT, MOST_VOICE = 1 << 20, 1 << 20  # bytes


@verb("speak")
@argument("model", type=click.Path())
@argument("text", required=False)
@option("--vocoder", type=click.Path(), required=True)
@option("--voice", type=click.Path(dir_okay=False))
@option("--out", type=click.Path(dir_okay=False), default="speech.wav")
@option("--most", type=click.FloatRange(0.1, 1000.0), default=20.0)
@option("--seed", type=int, default=0)
@option("--device", default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    model: str, text: str | None, vocoder: str, voice: str | None, out: str, most: float, seed: int, device: str,
    threads: int | None,
) -> None:  # fmt: skip
    text = (text if text is not None else _piped()).strip()
    if not text:
        raise Mistake("cli_speak.no_text")
    from regard import bundle, limits
    from regard.cli.machine import chosen
    from regard.generate.speech import Speaking, speak
    from regard.inputs.sound import written
    from regard.ops.random import Key

    how = chosen(device, "float32", threads)
    speaker, heard = bundle.load(model, **how), bundle.load(vocoder, **how)
    width = int(getattr(speaker.model.config, "speaker", 0))
    sound = speak(speaker, heard, text, _voice(voice, width), Key(seed), Speaking(most=most))
    limits.write(Path(out), written(sound))
    size = {"out": out, "seconds": round(sound.seconds, 2), "rate": sound.rate}
    answer(size, lambda screen: screen.print(say("cli_speak.done", **size), markup=False))


def _piped() -> str:
    if sys.stdin.isatty():
        raise Mistake("cli_speak.no_text")
    data = sys.stdin.buffer.read(MOST_TEXT)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError("cli.not_utf8", why=error.reason) from error


def _voice(file: str | None, width: int) -> Tensor:
    """The numbers of a voice; zeros, which belong to nobody, where none is given."""
    import numpy as np
    import torch

    from regard import limits

    if file is None:
        return torch.zeros(width)
    data = limits.read_bytes(Path(file), most=MOST_VOICE)
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        numbers = np.asarray(found, dtype=np.float32).reshape(-1)
    except (ValueError, TypeError, OSError, EOFError, KeyError) as error:
        raise BadFileError("cli_speak.bad_voice", file=file, width=width, why=str(error)[:100]) from error
    if len(numbers) != width or not np.isfinite(numbers).all():
        raise BadFileError("cli_speak.bad_voice", file=file, width=width, why=str(numbers.shape))
    return torch.from_numpy(numbers)
