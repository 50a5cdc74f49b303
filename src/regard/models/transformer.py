"""How embedding, stack and head make a model: one stack, or an encoder and a decoder. No family, no modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.heads.outline import Around
from regard.layers.attention import Attention, CrossAttention
from regard.layers.cache import Cache, Growing, Memory
from regard.layers.context import DECODER, Context
from regard.layers.mask import Mask
from regard.layers.residual import Stack
from regard.ops.random import Key


class Transformer(nn.Module):
    """``head(stack(embed(x)))``, every layer under ``mask`` (causal for a decoder) and the context's own mask."""

    def __init__(
        self, config: Any, *, embed: nn.Module, stack: Stack, head: nn.Module, mask: Mask | None = None
    ) -> None:
        super().__init__()
        self.config, self.mask = config, mask or Mask()
        self.embed, self.stack, self.head = embed, stack, head

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """What the head makes of x (B, T), or of what else embed takes (pixels, waveforms): logits (B, T, V), or one
        row for each sequence."""
        context = _keyed(self, context)
        return self.head(self.hidden(x, context), context)

    def hidden(self, x: Tensor, context: Context | None = None) -> Tensor:
        """The stack's output (B, T, D), the final norm included, the head not."""
        context = _opened(self.embed, x, _keyed(self, context), self.mask)
        return self.stack(self.embed(x, context), context)

    def cache(self, batch: int = 1, capacity: int | None = None, spare: int = 0) -> Cache:
        """An empty cache for this model; ``capacity`` tokens are laid out beforehand, None lets it grow. ``spare``: how
        many of the newest tokens it can forget again."""
        return _cache(self.stack, capacity, spare)


class Shortened(Transformer):
    """The same, whose stack's output is made fewer tokens before the head reads it: ``narrow``, if any, brings it to
    another width, then go the convolutions of ``shorter``. Each row gets what it would get alone."""

    def __init__(
        self, config: Any, *, embed: nn.Module, stack: Stack, head: nn.Module, shorter: Any, narrow: nn.Module | None
    ) -> None:
        super().__init__(config, embed=embed, stack=stack, head=head)
        self.narrow, self.shorter = narrow, shorter

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        context = _keyed(self, context)
        hidden = self.hidden(x, context)
        return self.head(hidden, self.fewer(x, context))

    def hidden(self, x: Tensor, context: Context | None = None) -> Tensor:
        """What the head reads (B, T', D')."""
        context = _keyed(self, context)
        states = super().hidden(x, context)
        states = states if self.narrow is None else self.narrow(states)
        lengths = _opened(self.embed, x, context).valid(states.shape[1])
        counts = None if lengths is None else lengths.sum(-1).expand(states.shape[0])
        return self.shorter.convolved(states, counts)

    def fewer(self, x: Tensor, context: Context) -> Context:
        """The context of what the head reads: which of the tokens that are left are real."""
        opened = _opened(self.embed, x, context)
        assert opened.queries is not None
        real = opened.valid(opened.queries.length)
        if real is None:
            return context
        counts = self.shorter.count(real.sum(-1))
        at = torch.arange(self.shorter.count(real.shape[-1]), device=real.device)
        return replace(context, positions=torch.where(at < counts.unsqueeze(-1), at, -1))


def answering(model: Any, x: Tensor, context: Context) -> Context:
    """The context of what a model's head is given, and gives, for x under ``context``."""
    return model.fewer(x, context) if isinstance(model, Shortened) else context


class EncoderDecoder(nn.Module):
    """An encoder whose output is the memory of a causal decoder (Vaswani et al. 2017, figure 1). bridge: what brings
    it to the width that the decoder looks at."""

    def __init__(
        self,
        config: Any,
        *,
        source_embed: nn.Module,
        encoder: Stack,
        target_embed: nn.Module,
        stack: Stack,
        head: nn.Module,
        bridge: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config, self.mask = config, Mask(causal=True)
        self.source_embed, self.encoder, self.bridge = source_embed, encoder, bridge
        self.target_embed, self.stack, self.head = target_embed, stack, head

    def forward(
        self, source: Tensor, target: Tensor, source_context: Context | None = None, context: Context | None = None
    ) -> Tensor:
        """Logits (B, T, V) for target (B, T) given source (B, S), or what else its embed takes; the source's padding is
        hidden from the target."""
        source_context = _keyed(self, source_context)
        memory = self.encode(source, source_context)
        context = _keyed(self, context)
        mask = memory_mask(source_context, context) & context.memory_mask
        context = replace(context, memory=memory, memory_mask=mask)
        return self.head(self.hidden(target, context), context)

    def encode(self, source: Tensor, context: Context | None = None) -> Tensor:
        """The memory (B, S, D)."""
        context = _opened(self.source_embed, source, _keyed(self, context))
        memory = self.encoder(self.source_embed(source, context), context)
        return memory if self.bridge is None else self.bridge(memory)

    def hidden(self, target: Tensor, context: Context) -> Tensor:
        """The decoder's output (B, T, D) over ``context.memory``."""
        context = _keyed(self, context)
        if context.key is not None:
            context = replace(context, key=context.key.at(DECODER))  # the encoder's draws are other draws
        context = context.open((target.shape[0], target.shape[1]), target.device, self.mask)
        return self.stack(self.target_embed(target, context), context)

    def cache(self, batch: int = 1, capacity: int | None = None, spare: int = 0) -> Cache:
        """An empty cache for the decoder."""
        return _cache(self.stack, capacity, spare)


def about(model: Any, tokens: Tensor, context: Context) -> Tensor:
    """What a model's head says of texts, (B, T) or a packed row, as wholes or of their tokens. An encoder-decoder is
    given each again as its target, one place later, behind the token that its targets begin with."""
    if not isinstance(model, EncoderDecoder):
        return model(tokens, context)
    start = torch.full_like(tokens[:, :1], model.config.start)
    target = torch.cat((start, tokens[:, :-1]), 1)
    if context.positions is not None:
        target = target.masked_fill(context.positions == 0, model.config.start)
    return model(tokens, target, context, context)


class Queried(nn.Module):
    """An encoder whose output is the memory of a stack over learned queries, all answered at once (Carion et al. 2020,
    DETR). What embeds says by its ``added`` what attention adds to the places; to queries it adds ``queries`` (Q, D).
    """

    def __init__(
        self, config: Any, *, embed: Any, encoder: Stack, queries: nn.Parameter, stack: Stack, head: nn.Module
    ) -> None:
        super().__init__()
        self.config, self.mask = config, Mask()
        self.embed, self.encoder = embed, encoder
        self.queries, self.stack, self.head = queries, stack, head

    def forward(self, x: Tensor, context: Context | None = None) -> Any:
        """What the head makes of each query's answer, and of what layers leave beside it."""
        context = _keyed(self, context)
        context = replace(context, side={}) if context.side is None else context
        return self.head(self.hidden(x, context), context)

    def hidden(self, x: Tensor, context: Context | None = None) -> Tensor:
        """(B, Q, D)."""
        context = _keyed(self, context)
        source = self._source(x, context)
        return self._answers(self.encoder(self.embed(x, source), source), source, context)

    def _source(self, x: Tensor, context: Context) -> Context:
        """The encoder's context."""
        source = _opened(self.embed, x, context)
        return replace(source, added=self.embed.added(source.places()))

    def _answers(self, memory: Tensor, source: Context, context: Context) -> Tensor:
        key = None if context.key is None else context.key.at(DECODER)
        count, dim = self.queries.shape
        asked = Context(
            key=key,
            added=self.queries.unsqueeze(0),
            memory=memory,
            memory_added=source.added,
            memory_mask=memory_mask(source, context),
            side=context.side,
        ).open((len(memory), count), memory.device)
        return self.stack(memory.new_zeros(len(memory), count, dim), asked)


class Outlined(Queried):
    """The same under a head that is also given what objects are outlined in: ``head(answers, context, around)``."""

    def forward(self, x: Tensor, context: Context | None = None) -> Any:
        """What the head makes of each query's answer and of the maps around it."""
        context = _keyed(self, context)
        context = replace(context, side={}) if context.side is None else context
        source, maps = self._source(x, context), self.embed.network.maps(x)
        projected = self.embed.project(maps[-1])
        memory = self.encoder(self.embed.tokens(projected, source), source)
        around = Around(memory, source.valid(memory.shape[1]), [projected, *maps[-2::-1]])
        return self.head(self._answers(memory, source, context), context, around)


class Pyramid(nn.Module):
    """Stages, each an embedding of what the last one made, as an image, and a stack over it: ``head(maps)`` of all that
    they make (Xie et al. 2021, SegFormer)."""

    def __init__(self, config: Any, *, stages: Sequence[tuple[nn.Module, Stack]], head: nn.Module) -> None:
        super().__init__()
        self.config, self.mask = config, Mask()
        self.stages = nn.ModuleList(nn.ModuleDict({"embed": embed, "stack": stack}) for embed, stack in stages)
        self.head = head

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """What the head makes of the maps."""
        context = _keyed(self, context)
        return self.head(self.maps(x, context), context)

    def maps(self, x: Tensor, context: Context | None = None) -> list[Tensor]:
        """(B, D, rows, columns) of each stage, the largest first."""
        context, made = _keyed(self, context), []
        for number, stage in enumerate(self.stages):
            embed, stack = (cast(Any, stage)[name] for name in ("embed", "stack"))
            own = replace(context, key=None if context.key is None else context.key.at(number))
            own = _opened(embed, x, own)
            grid = own.places().grid
            assert grid is not None
            x = stack(embed(x, own), own).mT.unflatten(2, grid)
            made.append(x)
        return made


class Levels(nn.Module):
    """One stack over the patches of an image, of which what goes into the layers ``taken`` is a map each:
    ``head(maps)`` (Bao et al. 2021)."""

    def __init__(self, config: Any, *, embed: Any, stack: Stack, head: nn.Module, taken: Sequence[int]) -> None:
        super().__init__()
        self.config, self.mask, self.taken = config, Mask(), tuple(taken)
        self.embed, self.stack, self.head = embed, stack, head

    def forward(self, x: Tensor, context: Context | None = None) -> Any:
        """What the head makes of the maps."""
        context = _keyed(self, context)
        return self.head(self.maps(x, context), context)

    def maps(self, x: Tensor, context: Context | None = None) -> list[Tensor]:
        """(B, D, rows, columns) of each layer, all of one grid."""
        context = _opened(self.embed, x, _keyed(self, context))
        grid = context.places().grid
        assert grid is not None
        found = self.stack.inputs(self.embed(x, context), context, self.taken)
        return [one[:, self.embed.others :].mT.unflatten(2, grid) for one in found]  # the learned tokens stand first


def _opened(embed: Any, x: Tensor, context: Context, mask: Mask | None = None) -> Context:
    """The context of a pass over x. What embeds other things than tokens says by its ``size(x)`` how many tokens it
    makes of them, (B, T), or by its ``places(x, context)`` also where they stand."""
    if hasattr(embed, "places"):
        places = embed.places(x, context)
        if places.start is None:  # some are padding, which heads and cross-attention ask the context for
            context = replace(context, positions=places.positions)
        return context.open((x.shape[0], places.length), x.device, mask, places)
    return context.open(embed.size(x) if hasattr(embed, "size") else (x.shape[0], x.shape[1]), x.device, mask)


def memory_mask(source: Context, target: Context) -> Mask:
    """Who of the target may see which of the source: its tokens, not its padding; its own document, no other."""
    if source.mask.documents is not None:
        return Mask(documents=target.mask.documents, memory_documents=source.mask.documents)
    if source.positions is None and not any(term.lengths is not None for term in source.mask.terms):
        return Mask()

    def tokens(q: Tensor, k: Tensor) -> Tensor:
        valid = source.valid(k.shape[-1])
        assert valid is not None
        return valid.unsqueeze(1)

    return Mask(predicate=tokens)


def _keyed(model: nn.Module, context: Context | None) -> Context:
    """A model in training mode that was given no key draws one, as PyTorch's own dropout would."""
    context = context or Context()
    if model.training and context.key is None:
        return replace(context, key=Key(int(torch.randint(1 << 62, ()).item())))
    return context


def _cache(stack: Stack, capacity: int | None, spare: int) -> Cache:
    made: dict[Any, Memory] = {}
    layers = []
    for layer, number in enumerate(stack.order):
        attentions = [m for m in stack.blocks[number].modules() if isinstance(m, Attention)]
        found = [attention for attention in attentions if not isinstance(attention, CrossAttention)]
        if len(found) > 1:
            raise RegardError("core.cache_attentions", layer=layer, count=len(found))
        memory = found[0].memory(capacity, spare) if found else Growing()
        layers.append(made.setdefault((type(memory), getattr(memory, "window", None)), memory))
    return Cache(layers)
