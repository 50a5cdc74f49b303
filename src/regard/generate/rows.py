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


class Rows:
    """Rows that grow by a token at a time. A row gets what it would get alone, whatever stands beside it: rows of
    different lengths are padded on the right, and padding is no token (position -1)."""

    def __init__(self, reader: Reader, prompts: Sequence[Sequence[int]], vocab: int) -> None:
        self._reader = reader
        self._prompts = prompts
        self._vocab = vocab
        self.seen: Tensor  # (B, V) bool: the tokens a row holds, its prompt's among them

    def start(self) -> Tensor:
        """Logits (B, V), float32, of the token after each prompt."""
        logits = self._reader.start()[:, : self._vocab].float()
        self.seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
        for row, prompt in zip(self.seen, self._prompts, strict=True):
            row[list(prompt)] = True
        return logits

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token to each row; logits (B, V), float32, of the token after it."""
        new = torch.tensor(tokens, device=self.seen.device)
        self.seen.scatter_(1, new[:, None], True)
        return self._reader.step(new)[:, : self._vocab].float()

    def select(self, parents: Sequence[int]) -> None:
        """Row i goes on from where row `parents[i]` is: reorder, repeat or drop rows."""
        if list(parents) == list(range(len(self.seen))):
            return
        kept = torch.tensor(parents, device=self.seen.device)
        self.seen = self.seen[kept]
        self._reader.select(kept)


class Reader(Protocol):
    """How the model reads the rows: every token once, into a cache, or the whole rows again for each token."""

    def start(self) -> Tensor: ...

    def step(self, tokens: Tensor, /) -> Tensor: ...

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
    """Keeps keys and values in the model's cache, growing, or allocated at once for `capacity` tokens a row."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], memory: Memory | None, capacity: int | None):
        self._model = model
        self._memory = memory
        self._tokens, self._lengths = _padded(prompts, _device(model))
        self._cache = model.cache(batch=len(prompts), capacity=capacity)

    def start(self) -> Tensor:
        context = Context.padded(self._lengths.tolist(), device=self._lengths.device, cache=self._cache)
        return _last(self._model, self._tokens, self._lengths, self._beside(context))

    def step(self, tokens: Tensor) -> Tensor:
        # The cache counts each row's positions on; where all rows are as long, that also spares every mask.
        hidden = self._model.hidden(tokens[:, None], self._beside(Context(cache=self._cache)))
        return self._model.head(hidden)[:, 0]

    def select(self, parents: Tensor) -> None:
        self._cache.select(parents)
        self._memory = self._memory.select(parents) if self._memory else None

    def _beside(self, context: Context) -> Context:
        return self._memory.beside(context) if self._memory else context


class FreshReader:
    """Reads every row from its first token each time: slow, and what the caches are held against."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], memory: Memory | None) -> None:
        self._model = model
        self._memory = memory
        self._rows = [torch.tensor(prompt, device=_device(model)) for prompt in prompts]

    def start(self) -> Tensor:
        tokens, lengths = _padded([row.tolist() for row in self._rows], self._rows[0].device)
        context = Context.padded(lengths.tolist(), device=lengths.device)
        return _last(self._model, tokens, lengths, self._memory.beside(context) if self._memory else context)

    def step(self, tokens: Tensor) -> Tensor:
        self._rows = [torch.cat([row, token[None]]) for row, token in zip(self._rows, tokens, strict=True)]
        return self.start()

    def select(self, parents: Tensor) -> None:
        self._rows = [self._rows[parent] for parent in parents.tolist()]
        self._memory = self._memory.select(parents) if self._memory else None


def encode(model: Any, sources: Sequence[Source]) -> Memory:
    """Read the sources of an encoder-decoder: all texts, or all of what else its encoder takes."""
    if isinstance(sources[0], Tensor):
        return _perceived(model, cast(Sequence[Tensor], sources))
    tokens, lengths = _padded(cast(Sequence[Sequence[int]], sources), _device(model))
    states = model.encode(tokens, Context.padded(lengths.tolist(), device=tokens.device))
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


def _last(model: Any, tokens: Tensor, lengths: Tensor, context: Context) -> Tensor:
    """Logits (B, V) at the last token of each row; no other row of the vocabulary product is computed."""
    hidden = model.hidden(tokens, context)
    last = hidden[torch.arange(len(tokens), device=tokens.device), lengths - 1]
    return model.head(last[:, None])[:, 0]


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
