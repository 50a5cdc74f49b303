"""All prompts of one call: encoded, batched, written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regard import models
from regard.errors import RegardError
from regard.generate import beam, sample
from regard.generate.rows import CachedReader, FreshReader, Memory, Rows, Source, encode
from regard.generate.settings import Settings
from regard.generate.stream import Writer
from regard.generate.text import Generated, Given, Limits, OnText, Prompt, Text, replay

if TYPE_CHECKING:
    from regard.bundle import Bundle

ROWS = 32  # texts written at a time: enough to fill the processor, few enough for their caches to fit in memory


class Job:
    """What `generate` was asked for; `results` does it."""

    def __init__(self, bundle: Bundle, prompts: Sequence[Prompt], settings: Settings, on_text: OnText) -> None:
        self.model = bundle.model
        self.tokenizer = bundle.tokenizer
        self.settings = settings
        self.on_text = on_text
        self.context = bundle.model.config.context
        if bundle.task not in ("causal-lm", "seq2seq"):
            raise RegardError("generate.not_a_writer", family=bundle.family)
        self.encodes = bundle.task == "seq2seq"
        self.reads = models.reads(bundle.family)
        self.perceives = self.encodes and self.reads[0] != "text"
        self.sources: list[Source] = []
        if self.encodes:
            self.sources = [self._source(number, text) for number, text in enumerate(prompts, 1)]
            self.starts = [self._start(prompt) for prompt in prompts]
        else:
            self.starts = [self._prompt(number, text) for number, text in enumerate(prompts, 1)]

    def results(self) -> list[Generated]:
        """Every text, those of the first prompt first."""
        training = self.model.training
        self.model.eval()  # a model in training drops elements at random
        try:
            with torch.inference_mode():
                found = [each for group in self._groups() for each in self._run(group)]
        finally:
            self.model.train(training)
        return sorted(found, key=lambda each: (each.prompt, each.sample))

    def _groups(self) -> Iterator[list[int]]:
        """The prompts in batches, those of like length together; of images those of one shape."""
        each = self.sources or self.starts
        sizes = [tuple(one.shape) if isinstance(one, Tensor) else (len(one),) for one in each]
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        padded = not self.perceives or hasattr(self.model.source_embed, "context")
        size = max(1, ROWS // max(self.settings.samples, self.settings.beams))
        for _, alike in groupby(order, key=lambda number: () if padded else sizes[number]):
            group = list(alike)
            for first in range(0, len(group), size):
                yield group[first : first + size]

    def _run(self, group: Sequence[int]) -> Iterator[Generated]:
        """The texts of some prompts."""
        limits = {prompt: self._limits(len(self.starts[prompt])) for prompt in group}
        rows = self._rows(group, max(each.most for each in limits.values()))
        if self.settings.beams > 1:
            ended = [self._ended(prompt, limits[prompt]) for prompt in group]
            for prompt, best in zip(group, beam.search(rows, ended, self.settings), strict=True):
                for number, one in enumerate(best[: self.settings.samples]):
                    yield replay(self._text(prompt, number, limits[prompt]), one.tokens, one.logprob)
            return
        numbers = range(self.settings.samples)
        texts = [self._text(prompt, number, limits[prompt]) for prompt in group for number in numbers]
        sample.write(rows, texts, [row for row in range(len(group)) for _ in numbers], self.settings)
        yield from (text.result() for text in texts)

    def _rows(self, group: Sequence[int], most: int) -> Rows:
        starts = [self.starts[prompt] for prompt in group]
        memory: Memory | None = None
        if self.encodes:
            memory = encode(self.model, [self.sources[prompt] for prompt in group])
        if self.settings.cache == "none":
            reader = FreshReader(self.model, starts, memory)
        else:
            capacity = max(map(len, starts)) + most if self.settings.cache == "preallocated" else None
            reader = CachedReader(self.model, starts, memory, capacity)
        return Rows(reader, starts, self.tokenizer.size)

    def _limits(self, length: int) -> Limits:
        ends = frozenset() if self.tokenizer.eos is None else frozenset([self.tokenizer.eos])
        room = self.context - length
        most = min(room, self.settings.max_tokens)
        return Limits(ends, most, "context" if room < self.settings.max_tokens else "length")

    def _text(self, prompt: int, number: int, limits: Limits) -> Text:
        def show(piece: str) -> None:
            self.on_text(prompt, number, piece)

        return Text(self._writer(prompt), limits, show, prompt=prompt, sample=number, seed=self.settings.seed)

    def _writer(self, prompt: int) -> Writer:
        decoder = self.tokenizer.stream()
        for token in self.starts[prompt]:
            # A piece of text can depend on what stands before it (the space a first word has not).
            decoder.feed(token)
        return Writer(decoder, self.settings.stop)

    def _ended(self, prompt: int, limits: Limits) -> beam.Ended:
        def ended(tokens: Sequence[int]) -> str | None:
            reason = limits.reached(tokens[-1], len(tokens))
            if self.settings.stop and reason != "eos":
                writer = self._writer(prompt)
                for token in tokens:
                    writer.feed(token)
                return "stop" if writer.stopped else reason
            return reason

        return ended

    def _prompt(self, number: int, text: Prompt) -> list[int]:
        if isinstance(text, Given):
            raise RegardError("generate.other_input", number=number, reads=", ".join(self.reads))
        if not isinstance(text, str):
            tokens = list(text)
        else:
            tokens = [*self.tokenizer.template.before, *self.tokenizer.encode(text, special=False)]
        if not tokens:  # a tokenizer that begins texts with nothing: its documents stand between end tokens
            tokens = [token for token in (self.tokenizer.bos, self.tokenizer.eos) if token is not None][:1]
        if not tokens:
            raise RegardError("generate.empty_prompt", number=number)
        if len(tokens) >= self.context:
            most = self.context - 1
            raise RegardError("generate.no_room", number=number, tokens=len(tokens), context=self.context, most=most)
        return tokens

    def _source(self, number: int, prompt: Prompt) -> Source:
        if isinstance(prompt, Given) != self.perceives:
            raise RegardError("generate.other_input", number=number, reads=", ".join(self.reads))
        if isinstance(prompt, Given):
            return prompt.source
        tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if len(tokens) > self.context:
            raise RegardError("generate.source_too_long", number=number, tokens=len(tokens), context=self.context)
        return tokens

    def _start(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, Given):
            return list(prompt.start) or [self.model.config.start]
        for token in (self.tokenizer.bos, self.tokenizer.pad):
            if token is not None:
                return [token]
        raise RegardError("generate.no_start")
