"""Documents laid out as a model reads them, what it makes of them, and which input each output feels.

Three layouts occur: one packed row in training, rows padded on the right where texts are written in batches, and rows
padded on the left, which others use. What is hidden from an output can be reached for in two ways: changed by large
amounts, after which the output must be the same to the bit; and through the gradient, which must be exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from regard.layers import Context
from regard.models.transformer import about
from regard.tasks.base import Batch, Task

PUSH = 1000.0  # added to what is hidden: far outside anything a model embeds, and finite


@dataclass(frozen=True, eq=False)
class Laid:
    """Documents as one tensor of tokens (B, T). `owner` and `place` (B, T) say whose token each is and where in its
    document it stands; owner -1 is padding."""

    tokens: Tensor
    owner: Tensor
    place: Tensor
    context: Context

    @property
    def tokens_only(self) -> Tensor:
        """Bool (B, T)."""
        return self.owner >= 0

    def lengths(self) -> Tensor:
        """(documents,)"""
        return torch.bincount(self.owner[self.tokens_only])


def packed(rows: Sequence[Tensor]) -> Laid:
    """One row (1, N), none seeing another."""
    lengths = [len(row) for row in rows]
    context = Context.packed(lengths, rows[0].device)
    owner = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(lengths))[None].to(rows[0].device)
    place = torch.cat([torch.arange(length, device=rows[0].device) for length in lengths])[None]
    return Laid(torch.cat(list(rows))[None], owner, place, context)


def right(rows: Sequence[Tensor]) -> Laid:
    """Rows padded on the right."""
    return _padded(rows, left=False)


def left(rows: Sequence[Tensor]) -> Laid:
    """Rows padded on the left."""
    return _padded(rows, left=True)


Layout = Callable[[Sequence[Tensor]], Laid]
LAYOUTS: dict[str, Layout] = {"packed": packed, "right": right, "left": left}


def _padded(rows: Sequence[Tensor], *, left: bool) -> Laid:
    device, longest = rows[0].device, max(len(row) for row in rows)
    tokens = rows[0].new_zeros(len(rows), longest)
    owner, place = (torch.full((len(rows), longest), -1, device=device) for _ in range(2))
    for number, row in enumerate(rows):
        here = slice(longest - len(row), longest) if left else slice(0, len(row))
        tokens[number, here], owner[number, here] = row, number
        place[number, here] = torch.arange(len(row), device=device)
    if left:
        return Laid(tokens, owner, place, Context(positions=place))
    return Laid(tokens, owner, place, Context.padded([len(row) for row in rows], device))


@dataclass(frozen=True, eq=False)
class Seen:
    """`out` (M, ...) is what came out, row by row, `owner` and `place` (M,) of which document and where in it.

    `inputs` are the embeddings that went in, of the target and, with an encoder, of the source.
    """

    out: Tensor
    owner: Tensor
    place: Tensor
    inputs: tuple[Tensor, ...]

    def felt(self, rows: Tensor) -> list[Tensor]:
        """Of each side bool (B, T): the embeddings that a gradient reaches from the outputs `rows` (M,)."""
        # Weights that differ, so that no two ways into one sum can cancel.
        weights = torch.linspace(0.5, 1.5, self.out.shape[-1], device=self.out.device)
        total = (self.out[rows].float() * weights).sum()
        found = torch.autograd.grad(total, self.inputs, retain_graph=True, allow_unused=True)
        return [
            torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device) if gradient is None else (gradient != 0).any(-1)
            for x, gradient in zip(self.inputs, found, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Question:
    """A model and what it is to read: the target side, and the source side of an encoder-decoder.

    With a `task` and its `batch` the model is run as in training, through the task's loss.
    """

    model: Any
    sides: tuple[Laid, ...]
    task: Task | None = None
    batch: Batch | None = None

    def look(self, hidden: Sequence[Tensor] | None = None) -> Seen:
        """Run the model; of each side, `hidden` (B, T) says which tokens are changed by a large amount."""
        sides = self.sides
        if hidden is not None:
            sides = tuple(replace(s, tokens=_others(s.tokens, h)) for s, h in zip(sides, hidden, strict=True))
        with _held(self.model, len(sides), hidden) as inputs:
            out = self._called(sides) if self.task is None else self._judged(sides)
        owner, place = self._rows(out, sides[0])
        return Seen(out.flatten(0, -2)[_kept(out, sides[0])], owner, place, tuple(inputs[i] for i in range(len(sides))))

    def _called(self, sides: Sequence[Laid]) -> Tensor:
        target = sides[0]
        if len(sides) == 1:
            return about(self.model, target.tokens, target.context)
        return self.model(sides[1].tokens, target.tokens, sides[1].context, target.context)

    def _judged(self, sides: Sequence[Laid]) -> Tensor:
        """What the head is asked to judge when every position carries loss."""
        assert self.task is not None and self.batch is not None
        batch = replace(self.batch, tokens=sides[0].tokens, source=sides[1].tokens if len(sides) > 1 else None)
        if len(batch.where):
            where = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
            batch = replace(batch, where=where, labels=torch.zeros_like(where), count=len(where))
        with asked_of_head(self.model) as seen:
            self.task.loss(self.model, batch, None)
        return seen[0]

    def _rows(self, out: Tensor, side: Laid) -> tuple[Tensor, Tensor]:
        lengths = side.lengths()
        if self._per_document(out, side):
            return torch.arange(len(lengths), device=out.device), lengths - 1
        kept = side.tokens_only
        return side.owner[kept], side.place[kept]

    @staticmethod
    def _per_document(out: Tensor, side: Laid) -> bool:
        return out.dim() == 2 and len(out) != int(side.tokens_only.sum())


def question(model: Any, rows: Sequence[Tensor], sources: Sequence[Tensor] = (), layout: Layout = packed) -> Question:
    """The model called itself on these documents in a layout."""
    return Question(model, (layout(rows), layout(sources)) if sources else (layout(rows),))


def trained(model: Any, task: Task, batch: Batch) -> Question:
    """The model run as the task trains it on this batch."""
    sides = [packed(batch.tokens[0].split(batch.lengths))]
    if batch.source is not None:
        sides.append(packed(batch.source[0].split(batch.source_lengths)))
    return Question(model, tuple(sides), task, batch)


def embeddings(model: Any) -> list[Any]:
    """What turns tokens into vectors, the target's first, then the source's."""
    return [model.target_embed, model.source_embed] if hasattr(model, "encode") else [model.embed]


@contextmanager
def asked_of_head(model: Any) -> Iterator[list[Tensor]]:
    """Within, the first argument of each call of the head's loss is listed."""
    head, seen = model.head, []
    own, real = head.__dict__.get("loss"), head.loss

    def loss(rows: Tensor, targets: Tensor) -> Tensor:
        seen.append(rows)
        return real(rows, targets)

    head.loss = loss
    try:
        yield seen
    finally:
        del head.loss
        if own is not None:
            head.loss = own


@contextmanager
def read_by(model: Any) -> Iterator[dict[int, Tensor]]:
    """Within, the tokens that each side's embedding is first given are kept."""
    found: dict[int, Tensor] = {}
    turns = _turns(embeddings(model))

    def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
        if turns[module]:
            found[turns[module].pop(0)] = given[0].detach().clone()

    handles = [module.register_forward_pre_hook(hook) for module in turns]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _held(model: Any, sides: int, hidden: Sequence[Tensor] | None) -> Iterator[dict[int, Tensor]]:
    """Within, each side's embeddings are leaves of the graph, pushed away where `hidden` says so."""
    inputs: dict[int, Tensor] = {}
    turns = _turns(embeddings(model)[:sides])

    def hook(module: nn.Module, given: Any, made: Tensor) -> Tensor:
        number = turns[module].pop(0)
        x = made.detach().clone()
        if hidden is not None:
            x[hidden[number]] += PUSH * _signs(x.shape[-1], x)
        inputs[number] = x.requires_grad_()
        return inputs[number]

    handles = [module.register_forward_hook(hook) for module in turns]
    try:
        with torch.enable_grad():
            yield inputs
    finally:
        for handle in handles:
            handle.remove()


def _turns(modules: Sequence[nn.Module]) -> dict[nn.Module, list[int]]:
    """Which sides each module embeds, in the order in which it is called: an encoder reads before a decoder does."""
    turns: dict[nn.Module, list[int]] = {}
    for number in reversed(range(len(modules))):
        turns.setdefault(modules[number], []).append(number)
    return turns


def _signs(count: int, like: Tensor) -> Tensor:
    """+1 and -1 in a pattern that no norm takes away."""
    return torch.tensor([1.0 if i % 3 else -1.0 for i in range(count)], device=like.device, dtype=like.dtype)


def _others(tokens: Tensor, hidden: Tensor) -> Tensor:
    """Other tokens where it is hidden, all of which the model has: some that stand elsewhere in the row."""
    return torch.where(hidden, tokens.flatten().roll(1).view_as(tokens), tokens)


def _kept(out: Tensor, side: Laid) -> Tensor:
    """Which of the flattened rows of `out` belong to tokens."""
    if out.dim() == 2:
        return torch.ones(len(out), dtype=torch.bool, device=out.device)
    return side.tokens_only.flatten()
