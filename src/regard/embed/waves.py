"""What stands before the stack of a model that hears a waveform as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.embed.frames import Convolution, Frames
from regard.errors import RegardError
from regard.layers.context import Context
from regard.ops.random import Key, dropout
from regard.ops.spans import spans

_TIME, _FEATURES, _INSIDE = 1, 2, 3  # places in the tree of keys


@dataclass(frozen=True, kw_only=True)
class Spans:
    """What training hides: spans of ``length``, ``share`` of all, at least ``least`` of them (SpecAugment, Park et al.
    2019)."""

    share: float
    length: int
    least: int


class Waves(Frames):
    """A waveform (B, samples) as tokens (B, T, D): convolutions, a norm, a projection, positions (Baevski et al. 2020).

    norm: of what the convolutions give. mask: a learned vector stands for the frames that ``context.masked`` names, or
    that ``time`` draws in training; ``features`` draws what is zero in all frames of a row. after: a norm of the sum.
    inside: dropout before the positions are added. Where ``context.side`` asks, the normed features are left there.
    """

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        *,
        project: nn.Module,
        positions: nn.Module | None = None,
        norm: nn.Module | None = None,
        mask: int | None = None,
        time: Spans | None = None,
        features: Spans | None = None,
        after: nn.Module | None = None,
        inside: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(convolutions, project=project, positions=positions, dropout=dropout)
        self.norm, self.after, self.inside = norm, after, inside
        self.time, self.features = time, features
        self.mask = None if mask is None else nn.Parameter(torch.zeros(mask))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        assert self.project is not None
        x = self.convolved(x, context.frames)
        x = x if self.norm is None else self.norm(x)
        if context.side is not None:
            context.side[context.layer] = x
        x = self.project(x)
        drop = dropout(self.inside, None if context.key is None else context.key.at(_INSIDE))
        x = self._hidden(x if drop is None else drop(x), context)
        real = context.valid(x.shape[1])
        x = x if real is None else x.masked_fill(~real.unsqueeze(-1), 0.0)
        x = x if self.positions is None else x + self.positions(x, context)
        x = x if self.after is None else self.after(x)
        drop = dropout(self.dropout, context.key)
        return x if drop is None else drop(x)

    def size(self, x: Tensor) -> tuple[int, int]:
        """(B, T). Refuses a sound too short for one frame."""
        self._check(x.shape[1])
        return super().size(x)

    def context(self, lengths: Sequence[int], device: torch.device | str | None = None) -> Context:
        for length in lengths:
            self._check(length)
        return super().context(lengths, device)

    @property
    def shortest(self) -> int:
        """How many samples make one frame."""
        count = 1
        for convolution in reversed(self.convolutions):
            assert isinstance(convolution, Convolution)
            count = (count - 1) * convolution.conv.stride[0] + convolution.conv.kernel_size[0]
        return count

    def _check(self, samples: int) -> None:
        if self.count(samples) < 1:
            raise RegardError("core.short_sound", samples=samples, least=self.shortest)

    def _hidden(self, x: Tensor, context: Context) -> Tensor:
        """x with the frames and features replaced that are to be guessed."""
        masked, key = context.masked, context.key
        if masked is None and key is not None and self.mask is not None and self.time is not None:
            masked = self._drawn(key.at(_TIME), self.time, _lengths(x, context), x.shape[1])
        if masked is not None:
            if self.mask is None or masked.shape != x.shape[:2]:
                raise RegardError("core.masked_patches", masked=tuple(masked.shape), patches=tuple(x.shape[:2]))
            x = torch.where(masked.to(x.device).unsqueeze(-1), self.mask.to(x.dtype), x)
        if key is not None and self.features is not None and self.features.share > 0:
            hidden = self._drawn(key.at(_FEATURES), self.features, [x.shape[2]] * x.shape[0], x.shape[2])
            x = x.masked_fill(hidden.to(x.device).unsqueeze(1), 0.0)
        return x

    def _drawn(self, key: Key, rule: Spans, lengths: Sequence[int], width: int) -> Tensor:
        return spans(key, lengths, width, rule.share, rule.length, rule.least)


def _lengths(x: Tensor, context: Context) -> list[int]:
    real = context.valid(x.shape[1])
    return [x.shape[1]] * x.shape[0] if real is None else real.expand(x.shape[:2]).sum(-1).tolist()
