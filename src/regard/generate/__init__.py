"""From prompts to texts: greedy, sampling and beam search, for decoder-only and encoder-decoder models alike.

    generate(bundle, ["今天天气很好", "明月"], Settings(top_p=0.95, samples=5))

A prompt gets the same text alone or in a batch, at any place in it: every number drawn for a text depends on the seed
and the sample's number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regard.generate.settings import Settings
from regard.generate.text import Generated, Given, OnText, Prompt

if TYPE_CHECKING:
    from regard.bundle import Bundle

__all__ = ["Generated", "Given", "OnText", "Settings", "generate"]


def generate(
    bundle: Bundle, prompts: Sequence[Prompt], settings: Settings | None = None, on_text: OnText | None = None
) -> list[Generated]:
    """Write `settings.samples` texts for each prompt: those of the first prompt first, each prompt's in order (beams:
    best first; fewer where the vocabulary has not that many texts of the length).

    `on_text(prompt, sample, piece)` is called with each piece of a text as soon as it is certain; the pieces of a text
    joined are its `text`. A beam search is certain only at its end. An encoder-decoder's prompt is the source text;
    that of an encoder of sound or images is what it is `Given`. A prompt that is a list of token numbers is taken as it
    is, with nothing before it.
    Raises RegardError for a model that predicts no next token, and for a prompt that leaves no room in its context.
    """
    from regard.generate.job import Job

    if isinstance(prompts, str):
        raise TypeError("prompts is a list of texts, not one text")
    return Job(bundle, prompts, settings or Settings(), on_text or _unheard).results()


def _unheard(prompt: int, sample: int, piece: str) -> None:
    pass
