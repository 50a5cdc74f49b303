"""All prompts of one call: encoded, batched, written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard import models
from regard.errors import RegardError
from regard.generate import ahead, beam, contrast, sample
from regard.generate.choose import Chooser
from regard.generate.rows import CachedReader, FreshReader, Memory, Rows, Source, ask, encode
from regard.generate.settings import Settings
from regard.generate.stream import Writer
from regard.generate.text import Generated, Given, Limits, OnText, Prompt, Text, replay

if TYPE_CHECKING:
    from regard.bundle import Bundle

ROWS = 32  # texts written at a time: enough to fill the processor, few enough for their caches to fit in memory


class Job:
    """What `generate` was asked for; `results` does it. `told`: how many of the most probable tokens are told of at
    each step; `draft`: a smaller model that guesses ahead."""

    def __init__(
        self,
        bundle: Bundle,
        prompts: Sequence[Prompt],
        settings: Settings,
        on_text: OnText,
        *,
        told: int = 0,
        draft: Bundle | None = None,
    ) -> None:
        self.model = bundle.model
        self.tokenizer, self.marks = bundle.tokenizer, bundle.marks.settled(bundle.model.config)
        self.settings, self.told = settings, told
        self.on_text = on_text
        self.context = bundle.context
        if draft is not None:
            _check_draft(bundle, draft)
            self.context = min(self.context, draft.model.config.context)
        if bundle.task not in ("causal-lm", "seq2seq"):
            raise RegardError("generate.not_a_writer", family=bundle.family)
        self.encodes = bundle.task == "seq2seq"
        self.reads = models.reads(bundle.family)
        self.perceives = self.encodes and self.reads[0] != "text"
        self.sources: list[Source] = []
        self.questions = [one.question for one in prompts if isinstance(one, Given) and one.question]
        if self.questions and (len(self.questions) < len(prompts) or not hasattr(self.model, "ask")):
            raise RegardError("tasks.no_question")
        if self.encodes:
            self.sources = [self._source(number, text) for number, text in enumerate(prompts, 1)]
            self.starts = [self._start(prompt) for prompt in prompts]
        else:
            self.starts = [self._prompt(number, text) for number, text in enumerate(prompts, 1)]
        self.limits = {prompt: self._limits(len(start)) for prompt, start in enumerate(self.starts)}
        self.chooser = Chooser(self.tokenizer, settings, self.marks)
        self.draft = None if draft is None else Job(draft, prompts, settings, on_text)

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
        size = self._at_once()
        for _, alike in groupby(order, key=lambda number: () if padded else sizes[number]):
            group = list(alike)
            for first in range(0, len(group), size):
                yield group[first : first + size]

    def _at_once(self) -> int:
        """Prompts of one batch."""
        if self.settings.search.guesses:
            return 1
        contrasted = self.settings.search.contrast is not None
        wide = self.settings.top_k or 1 if contrasted else max(self.settings.drawn, self.settings.beams)
        return max(1, ROWS // wide)

    def _run(self, group: Sequence[int]) -> Iterator[Generated]:
        """The texts of some prompts."""
        if self.settings.beams > 1:
            yield from self._searched(group)
            return
        numbers = range(self.settings.drawn)
        texts = {prompt: [self._text(prompt, number) for number in numbers] for prompt in group}
        every = [text for prompt in group for text in texts[prompt]]
        if self.settings.search.guesses:
            for text in every:
                self._write_ahead(text)
        elif self.settings.search.contrast is not None:
            contrast.write(self._rows(group), every, self.chooser, self.told)
        else:
            parents = [row for row in range(len(group)) for _ in numbers]
            sample.write(self._rows(group), every, parents, self.chooser, self.told)
        for prompt in group:
            yield from (
                self._best(texts[prompt]) if self.settings.search.best_of else (t.result() for t in texts[prompt])
            )

    def _searched(self, group: Sequence[int]) -> Iterator[Generated]:
        ends = [self._beam_ends(prompt) for prompt in group]
        found = beam.search(self._rows(group), ends, self.chooser, self.told)
        for prompt, best in zip(group, found, strict=True):
            for number, one in enumerate(best[: self.settings.samples]):
                yield replay(self._text(prompt, number), one.steps)

    def _best(self, texts: Sequence[Text]) -> Iterator[Generated]:
        """The texts with the best log-probability a token; only now can they be shown."""
        ranked = sorted((text.result() for text in texts), key=lambda one: -one.logprob / len(one.tokens))
        for number, one in enumerate(ranked[: self.settings.samples]):
            if one.text:
                self.on_text(one.prompt, number, one.text)
            yield replace(one, sample=number)

    def _write_ahead(self, text: Text) -> None:
        guesser: ahead.Guesser = ahead.Lookup(self.settings.search.lookup or 1)
        if self.draft is not None:
            guesser = ahead.Draft(self.draft._rows([text.prompt], self.limits[text.prompt].most), self.draft.chooser)
        ahead.write(self._rows([text.prompt]), text, self.chooser, guesser, self.told)

    def _rows(self, group: Sequence[int], most: int | None = None) -> Rows:
        starts = [self.starts[prompt] for prompt in group]
        most = max(self.limits[prompt].most for prompt in group) if most is None else most
        memory: Memory | None = None
        if self.questions:
            memory = ask(self.model, [self._pixels(prompt) for prompt in group], [self.questions[one] for one in group])
        elif self.encodes:
            memory = encode(self.model, [self.sources[prompt] for prompt in group])
        if self.settings.cache == "none":
            reader = FreshReader(self.model, starts, memory)
        else:
            capacity = max(map(len, starts)) + most if self.settings.cache == "preallocated" else None
            spare = self.settings.search.guesses + 1 if self.settings.search.guesses else 0
            reader = CachedReader(self.model, starts, memory, capacity, spare)
        return Rows(reader, starts, self.tokenizer.size)

    def _pixels(self, prompt: int) -> Tensor:
        source = self.sources[prompt]
        assert isinstance(source, Tensor)
        return source

    def _limits(self, length: int) -> Limits:
        last = self.tokenizer.eos if self.tokenizer.eos is not None else getattr(self.model.config, "end", None)
        ends = frozenset(self.marks.ends) | (frozenset() if last is None else frozenset([last]))
        room = self.context - length
        most = min(room, self.settings.max_tokens)
        return Limits(ends, most, "context" if room < self.settings.max_tokens else "length")

    def _text(self, prompt: int, number: int) -> Text:
        def show(piece: str) -> None:
            if not self.settings.search.best_of:
                self.on_text(prompt, number, piece)

        limits, seed = self.limits[prompt], self.settings.seed
        return Text(self._writer(prompt), limits, show, prompt=prompt, sample=number, seed=seed)

    def _writer(self, prompt: int) -> Writer:
        decoder = self.tokenizer.stream()
        for token in self.starts[prompt]:
            # A piece of text can depend on what stands before it (the space a first word has not).
            decoder.feed(token)
        return Writer(decoder, self.settings.stop)

    def _beam_ends(self, prompt: int) -> beam.Ends:
        limits = self.limits[prompt]
        return beam.Ends(self._ended(prompt), limits.most, len(limits.ends))

    def _ended(self, prompt: int) -> Callable[[Sequence[int]], str | None]:
        limits = self.limits[prompt]

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
        given = list(prompt.start) if isinstance(prompt, Given) else []
        return given or list(self.marks.begin[:1])


def _check_draft(bundle: Bundle, draft: Bundle) -> None:
    """Raises RegardError for a draft model that does not write with the same tokens."""
    if bundle.task != draft.task or _vocabulary(bundle) != _vocabulary(draft):
        raise RegardError("generate.other_tokens", draft=draft.family, family=bundle.family)


def _vocabulary(bundle: Bundle) -> Any:
    document = bundle.tokenizer.document()
    return document["model"], document["added_tokens"]
