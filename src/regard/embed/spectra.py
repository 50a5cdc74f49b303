"""What stands before a decoder of speech: the frames of a spectrogram that were said so far, and who says them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.embed.tokens import ScaledSinusoidal
from regard.errors import RegardError
from regard.layers.context import Context
from regard.ops.random import Key, dropout

_INSIDE = 1  # a place in the tree of keys


class Spectra(nn.Module):
    """Frames (B, T, mels) through ``depth`` narrow layers, whose dropout evaluation has too, as sound needs it (Shen et
    al. 2017, section 2.2; its randomness is the voice's), with positions and the voice beside them: (B, T, D).

    inside: that dropout's rate, the same features in all rows. dropout: that of the sum with the positions.
    """

    def __init__(
        self, mels: int, width: int, depth: int, dim: int, *, speaker: int, inside: float = 0.5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.inside, self.dropout = inside, dropout
        self.layers = nn.ModuleList(nn.Linear(mels if n == 0 else width, width) for n in range(depth))
        self.final = nn.Linear(width if depth else mels, dim)
        self.positions = ScaledSinusoidal(dim)
        self.speaker = nn.Linear(speaker + dim, dim)

    def forward(self, frames: Tensor, context: Context) -> Tensor:
        x, voice = frames, context.voice
        key = context.key.at(_INSIDE) if context.key is not None else voice.key if voice is not None else None
        for number, layer in enumerate(self.layers):
            x = F.relu(layer(x))
            x = x if key is None else x * self.kept(x, key.at(number))
        x = self.final(x)
        x = x + self.positions(context.places()).to(x.dtype)
        drop = dropout(self.dropout, context.key)
        x = x if drop is None else drop(x)
        if voice is None:
            return x
        if voice.vector.shape != (x.shape[0], self.speaker.in_features - x.shape[2]):
            width = self.speaker.in_features - x.shape[2]
            raise RegardError("core.voice", shape=tuple(voice.vector.shape), rows=x.shape[0], width=width)
        who = F.normalize(voice.vector).to(x.dtype).unsqueeze(1).expand(-1, x.shape[1], -1)
        return F.relu(self.speaker(torch.cat((x, who), -1)))

    def kept(self, x: Tensor, key: Key) -> Tensor:
        """(T, width): what each feature is multiplied by, the same in all rows."""
        return key.keep(x.shape[1:], self.inside, x.device).to(x.dtype) / (1.0 - self.inside)
