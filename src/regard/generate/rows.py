"""A batch of token rows and the model's next-token logits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regard.layers import Context, Mask

# A text's tokens; or frames (F, C) or pixels (C, height, width), where the encoder takes these.
Source = Sequence[int] | Tensor


@dataclass
class History:
    """The tokens of one row: its prompt's, and those written after it."""

    prompt: tuple[int, ...]
    written: tuple[int, ...] = ()

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.prompt + self.written

    def then(self, tokens: Sequence[int]) -> History:
        return History(self.prompt, (*self.written, *tokens))


class Rows:
    """Rows that grow. A row gets what it would get alone, whatever stands beside it: rows of different lengths are
    padded on the right, and padding is no token (position -1)."""

    def __init__(self, reader: Reader, prompts: Sequence[Sequence[int]], vocab: int) -> None:
        self._reader = reader
        self._vocab = vocab
        self.histories = [History(tuple(prompt)) for prompt in prompts]

    @property
    def hidden(self) -> Tensor:
        """What the stack made of the tokens read last: (B, T, D) of the prompts, padding included, or of new tokens."""
        return self._reader.hidden

    def start(self) -> Tensor:
        """Logits (B, V), float32, of the token after each prompt."""
        return self._logits(self._reader.start())

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token to each row; logits (B, V), float32, of the token after it."""
        return self.read([[token] for token in tokens])[:, 0]

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Append T tokens to each row; logits (B, T, V), float32, of the token after each of them."""
        self.histories = [history.then(new) for history, new in zip(self.histories, tokens, strict=True)]
        return self._logits(self._reader.read(torch.tensor(tokens, device=self.hidden.device)))

    def back(self, count: int) -> None:
        """Forget the newest ``count`` tokens of each row, read by the last ``read``."""
        if count:
            self.histories = [History(each.prompt, each.written[:-count]) for each in self.histories]
            self._reader.back(count)

    def select(self, parents: Sequence[int]) -> None:
        """Row i goes on from where row `parents[i]` is: reorder, repeat or drop rows."""
        if list(parents) == list(range(len(self.histories))):
            return
        self.histories = [self.histories[parent] for parent in parents]
        self._reader.select(torch.tensor(parents, device=self.hidden.device))

    def _logits(self, logits: Tensor) -> Tensor:
        return logits[..., : self._vocab].float()


class Reader(Protocol):
    """How the model reads the rows: every token once, into a cache, or the whole rows again for each token.

    ``start`` gives logits (B, V) after the prompts, ``read`` (B, T, V) after each of T new tokens."""

    hidden: Tensor

    def start(self) -> Tensor: ...

    def read(self, tokens: Tensor, /) -> Tensor: ...

    def back(self, count: int, /) -> None: ...

    def select(self, parents: Tensor, /) -> None: ...


@dataclass(frozen=True)
class Memory:
    """What an encoder made of the source texts: states (B, S, D), the first `lengths` (B,) of a row being tokens, or
    all where it is None."""

    states: Tensor
    lengths: Tensor | None

    def select(self, parents: Tensor) -> Memory:
        return Memory(self.states[parents], None if self.lengths is None else self.lengths[parents])

    def beside(self, context: Context) -> Context:
        return replace(context, memory=self.states, memory_mask=Mask(lengths=self.lengths))


class CachedReader:
    """Keeps keys and values in the model's cache, growing, or allocated at once for `capacity` tokens a row.

    spare: how many tokens ``back`` may forget."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], memory: Memory | None, capacity: int | None, spare: int = 0
    ) -> None:
        self._model = model
        self._memory = memory
        self._tokens, self._lengths = _padded(prompts, _device(model))
        self._cache = model.cache(batch=len(prompts), capacity=capacity, spare=spare)
        self.hidden = torch.empty(0, device=self._tokens.device)

    def start(self) -> Tensor:
        context = Context.padded(self._lengths.tolist(), device=self._lengths.device, cache=self._cache)
        self.hidden = self._model.hidden(self._tokens, self._beside(context))
        return _last(self._model, self.hidden, self._lengths)

    def read(self, tokens: Tensor) -> Tensor:
        # The cache counts each row's positions on; where all rows are as long, that also spares every mask.
        self.hidden = self._model.hidden(tokens, self._beside(Context(cache=self._cache)))
        return self._model.head(self.hidden)

    def back(self, count: int) -> None:
        self._cache.back(count)

    def select(self, parents: Tensor) -> None:
        self._cache.select(parents)
        self.hidden = self.hidden[parents]
        self._memory = self._memory.select(parents) if self._memory else None

    def _beside(self, context: Context) -> Context:
        return self._memory.beside(context) if self._memory else context


class FreshReader:
    """Reads every row from its first token each time: slow, and what the caches are held against."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], memory: Memory | None) -> None:
        self._model = model
        self._memory = memory
        self._rows = [torch.tensor(prompt, device=_device(model)) for prompt in prompts]
        self.hidden = torch.empty(0, device=_device(model))

    def start(self) -> Tensor:
        lengths = self._reread()
        return _last(self._model, self.hidden, lengths)

    def read(self, tokens: Tensor) -> Tensor:
        self._rows = [torch.cat([row, new]) for row, new in zip(self._rows, tokens, strict=True)]
        ends = self._reread()[:, None] + torch.arange(-tokens.shape[1], 0, device=tokens.device)
        self.hidden = self.hidden[torch.arange(len(ends), device=ends.device)[:, None], ends]
        return self._model.head(self.hidden)

    def back(self, count: int) -> None:
        self._rows = [row[:-count] for row in self._rows]

    def select(self, parents: Tensor) -> None:
        self._rows = [self._rows[parent] for parent in parents.tolist()]
        self.hidden = self.hidden[parents]
        self._memory = self._memory.select(parents) if self._memory else None

    def _reread(self) -> Tensor:
        tokens, lengths = _padded([row.tolist() for row in self._rows], self._rows[0].device)
        context = Context.padded(lengths.tolist(), device=lengths.device)
        self.hidden = self._model.hidden(tokens, self._memory.beside(context) if self._memory else context)
        return lengths


def encode(model: Any, sources: Sequence[Source]) -> Memory:
    """Read the sources of an encoder-decoder: all texts, or all of what else its encoder takes."""
    if isinstance(sources[0], Tensor):
        return _perceived(model, cast(Sequence[Tensor], sources))
    tokens, lengths = _padded(cast(Sequence[Sequence[int]], sources), _device(model))
    states = model.encode(tokens, Context.padded(lengths.tolist(), device=tokens.device))
    return Memory(states, None if len(set(lengths.tolist())) == 1 else lengths)


def ask(model: Any, sources: Sequence[Tensor], questions: Sequence[Sequence[int]]) -> Memory:
    """What a model that answers makes of questions, each about its source; the sources are of one shape."""
    tokens, lengths = _padded(questions, _device(model))
    context = Context.padded(lengths.tolist(), device=tokens.device)
    states = model.ask(torch.stack(list(sources)).to(tokens.device), tokens, context)
    return Memory(states, None if len(set(lengths.tolist())) == 1 else lengths)


def _perceived(model: Any, sources: Sequence[Tensor]) -> Memory:
    """Frames of any lengths, which their embedding says how to pad; or images of one shape."""
    embed, device, lengths = model.source_embed, _device(model), [len(source) for source in sources]
    batch = pad_sequence([source.to(device) for source in sources], batch_first=True)
    context = embed.context(lengths, device) if hasattr(embed, "context") else Context()
    counted = None if context.positions is None else (context.positions >= 0).sum(-1)
    return Memory(model.encode(batch, context), counted)


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens (B, longest), zeros after a row's end, and lengths (B,)."""
    lengths = [len(row) for row in rows]
    tokens = [[*row, *[0] * (max(lengths) - len(row))] for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(lengths, device=device)


def _last(model: Any, hidden: Tensor, lengths: Tensor) -> Tensor:
    """Logits (B, V) at the last token of each row; no other row of the vocabulary product is computed."""
    last = hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    return model.head(last[:, None])[:, 0]


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
