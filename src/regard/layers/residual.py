"""The residual stream: how a sublayer's write is normed, scaled and added, and how blocks of them make a stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.layers.attention import CrossAttention
from regard.layers.context import Context
from regard.ops.mixture import mixture
from regard.ops.random import Key, dropout


@dataclass(frozen=True, kw_only=True, eq=False)
class Residual:
    """``then(x + scale * drop(after(sublayer(before(x)))))``; each norm may be missing.

    Pre-norm sets ``before`` (GPT-2), post-norm ``then`` (the 2017 Transformer, BERT), sandwich ``before`` and
    ``after``. dropout: rate on the elements of the branch. skip: rate at which the whole branch is skipped, drawn for
    each sequence (stochastic depth, Huang et al. 2016).
    """

    sublayer: nn.Module
    before: nn.Module | None = None
    after: nn.Module | None = None
    then: nn.Module | None = None
    scale: float = 1.0
    dropout: float = 0.0
    skip: float = 0.0


class Block(nn.Module):
    """Named residual sublayers, one after the other, and perhaps a norm at the end. x (B, T, D) -> (B, T, D).

    The sublayers stand under their own names (``block.attention``), their norms beside them
    (``block.attention_before``).
    """

    def __init__(self, *, norm: nn.Module | None = None, **residuals: Residual) -> None:
        super().__init__()
        self.wiring = {name: (r.scale, r.dropout, r.skip) for name, r in residuals.items()}
        for name, residual in residuals.items():
            self.add_module(name, residual.sublayer)
            for place in ("before", "after", "then"):
                if getattr(residual, place) is not None:
                    self.add_module(f"{name}_{place}", getattr(residual, place))
        self.norm = norm

    def forward(self, x: Tensor, context: Context) -> Tensor:
        for name in self.asked(context):
            x = self.written(name, x + self.branch(name, x, context))
        return x if self.norm is None else self.norm(x)

    def asked(self, context: Context) -> Iterable[str]:
        """The names of the sublayers that run."""
        return self.wiring

    def branch(self, name: str, x: Tensor, context: Context) -> Tensor:
        """What sublayer ``name`` would add to the stream. x (B, T, D) -> (B, T, D)."""
        part, (scale, rate, skip) = list(self.wiring).index(name), self.wiring[name]
        y = self._normed(f"{name}_before", x)
        y = self.get_submodule(name)(y, context.inside(2 * part))
        y = self._normed(f"{name}_after", y)
        if scale != 1.0:
            y = y * scale
        if context.key is None:
            return y
        return _dropped(y, rate, skip, context.key.at(2 * part + 1), context.mask.documents)

    def written(self, name: str, x: Tensor) -> Tensor:
        """The stream after sublayer ``name`` was added to it."""
        return self._normed(f"{name}_then", x)

    def _normed(self, name: str, x: Tensor) -> Tensor:
        norm = self._modules.get(name)
        return x if norm is None else norm(x)


class Parallel(Block):
    """A block whose sublayers all read the same stream: x plus the sum of their branches (Wang and Komatsuzaki 2021).

    They may share a norm or have one each.
    """

    def forward(self, x: Tensor, context: Context) -> Tensor:
        y = x
        for name in self.wiring:
            y = self.written(name, y + self.branch(name, x, context))
        return y if self.norm is None else self.norm(y)


class Beside(Block):
    """A block beside whose sublayers another one reads the same stream: ``norm(block(x) + beside(x))``. What ``beside``
    drops is its own business."""

    def __init__(self, beside: nn.Module, *, norm: nn.Module, **residuals: Residual) -> None:
        super().__init__(norm=None, **residuals)
        self.beside, self.both = beside, norm

    def forward(self, x: Tensor, context: Context) -> Tensor:
        other = self.beside(x, context.inside(2 * len(self.wiring)))
        return self.both(super().forward(x, context) + other)


class Viewing(Block):
    """A block that can do without a memory: sublayers that would look at one are passed over where the context has
    none (Li et al. 2022, figure 2)."""

    def asked(self, context: Context) -> Iterable[str]:
        if context.memory is not None:
            return self.wiring
        return [name for name in self.wiring if not isinstance(self.get_submodule(name), CrossAttention)]


def _dropped(y: Tensor, rate: float, skip: float, key: Key, documents: tuple[int, ...] | None) -> Tensor:
    drop, skipped = dropout(rate, key.at(0)), dropout(skip, key.at(1))
    y = y if drop is None else drop(y)
    return y if skipped is None else skipped.sequences(y, documents)


class Stack(nn.Module):
    """Blocks one after the other, then a norm. x (B, T, D) -> (B, T, D).

    ``order`` names the block of each layer where blocks are used more than once (ALBERT); by default each once.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], *, norm: nn.Module | None = None, order: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.order = tuple(range(len(blocks)) if order is None else order)
        self.norm = norm

    def forward(self, x: Tensor, context: Context) -> Tensor:
        for layer, block in enumerate(self.order):
            x = self.blocks[block](x, context.at(layer))
        return x if self.norm is None else self.norm(x)

    def inputs(self, x: Tensor, context: Context, layers: Sequence[int]) -> list[Tensor]:
        """What goes into each of these layers, which ascend; what stands after the last of them does not run."""
        found = []
        for layer, block in enumerate(self.order[: max(layers) + 1]):
            found += [x] if layer in layers else []
            x = self.blocks[block](x, context.at(layer)) if layer < max(layers) else x
        return found


class NormedStack(Stack):
    """A stack whose norm stands after each of its blocks, too, and which leaves what it makes of each in
    ``context.side``, for a head that answers by every layer. x (B, T, D) -> (B, T, D)."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        assert self.norm is not None
        for layer, block in enumerate(self.order):
            x = self.norm(self.blocks[block](x, context.at(layer)))
            if context.side is not None:
                context.side[layer] = x
        return self.norm(x)


class MixedStack(Stack):
    """A stack whose output is a learned average of what goes into it and what comes out of each of its layers (Peters
    et al. 2018, eq. 1); its norm is left out of it. x (B, T, D) -> (B, T, D). mix (depth + 1,), before the softmax."""

    def __init__(
        self, blocks: Sequence[nn.Module], *, norm: nn.Module | None = None, order: Sequence[int] | None = None
    ) -> None:
        super().__init__(blocks, norm=norm, order=order)
        self.mix = nn.Parameter(torch.zeros(len(self.order) + 1))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        shares = mixture(self.mix)
        mixed = x * shares[0]
        for layer, block in enumerate(self.order):
            x = self.blocks[block](x, context.at(layer))
            mixed = mixed + self.counted(x, layer) * shares[layer + 1]
        return mixed

    def counted(self, x: Tensor, layer: int) -> Tensor:
        """What of a layer's output is averaged."""
        return x


class MixedNormedStack(MixedStack):
    """A mixed stack whose last state is averaged behind the norm (Whisper's)."""

    def counted(self, x: Tensor, layer: int) -> Tensor:
        return self.norm(x) if self.norm is not None and layer == len(self.order) - 1 else x
