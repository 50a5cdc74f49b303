"""From prompts to texts: greedy, sampling and beam search, for decoder-only and encoder-decoder models alike.

    generate(bundle, ["今天天气很好", "明月"], Settings(top_p=0.95, samples=5))

A prompt gets the same text alone or in a batch, at any place in it: every number drawn for a text depends on the seed
and the sample's number alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regard.errors import ConfigError
from regard.generate.settings import Rules, Search, Settings
from regard.generate.text import Generated, Given, OnText, Prompt, Step

if TYPE_CHECKING:
    from regard.bundle import Bundle

__all__ = ["Generated", "Given", "OnText", "Rules", "Search", "Settings", "Step", "generate"]


def generate(
    bundle: Bundle,
    prompts: Sequence[Prompt],
    settings: Settings | None = None,
    on_text: OnText | None = None,
    *,
    told: int = 0,
    draft: Bundle | None = None,
) -> list[Generated]:
    """Write `settings.samples` texts for each prompt: those of the first prompt first, each prompt's in order (beams:
    best first; fewer where the vocabulary has not that many texts of the length).

    `on_text(prompt, sample, piece)` is called with each piece of a text as soon as it is certain; the pieces of a text
    joined are its `text`. A beam search, and the best of several, are certain only at their end. An encoder-decoder's
    prompt is the source text; that of an encoder of sound or images is what it is `Given`. A prompt that is a list of
    token numbers is taken as it is, with nothing before it.
    `told`: so many of the most probable tokens, with their log-probabilities, stand in each of a text's `steps`.
    `draft`: a smaller model with the same tokenizer that guesses `settings.search.guesses` tokens ahead.
    Raises RegardError for a model that predicts no next token, and for a prompt that leaves no room in its context.
    """
    from regard.generate.job import Job

    if isinstance(prompts, str):
        raise TypeError("prompts is a list of texts, not one text")
    settings = settings or Settings()
    if settings.search.guesses and draft is None and settings.search.lookup is None:
        raise ConfigError("generate.needs_draft")
    if draft is not None and (not settings.search.guesses or settings.search.lookup is not None):
        raise ConfigError("generate.draft_unused")
    return Job(bundle, prompts, settings, on_text or _unheard, told=told, draft=draft).results()


def _unheard(prompt: int, sample: int, piece: str) -> None:
    pass
