"""How parts make models that give images: an autoencoder with a codebook, and a Transformer that writes its codes
after a text. No family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regard.embed.codes import Codebook, Convolved
from regard.errors import RegardError
from regard.heads.deconvolved import Deconvolved
from regard.heads.language import Language
from regard.layers.context import Context
from regard.layers.mask import Mask
from regard.layers.residual import Stack
from regard.models.transformer import Transformer


@dataclass(frozen=True)
class Restored:
    """Images as they come back (B, C, height, width), their codes (B, rows, columns), and the two parts of the loss:
    summed squared errors of pixels, and of vectors against codes."""

    images: Tensor
    codes: Tensor
    pixels: Tensor
    codebook: Tensor


class Autoencoder(nn.Module):
    """Images through a grid of codes and back (van den Oord et al. 2017)."""

    task = "image-tokens"

    def __init__(self, config: Any, *, embed: Convolved, codebook: Codebook, head: Deconvolved) -> None:
        super().__init__()
        self.config = config
        self.embed, self.codebook, self.head = embed, codebook, head

    def forward(self, images: Tensor, context: Context | None = None) -> Tensor:
        """Images (B, C, height, width), channels in -1..1, as they come back."""
        return self.decode(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, rows, columns) int64."""
        return self.codebook.nearest(self.embed(images))

    def decode(self, codes: Tensor) -> Tensor:
        """Images (B, C, height, width) of codes (B, rows, columns)."""
        return self.head(self.codebook.vectors(codes))

    def restored(self, images: Tensor) -> Restored:
        """The way there and back with all that a training needs of it."""
        x = self.embed(images)
        codes = self.codebook.nearest(x)
        back = self.head(self.codebook.straight(x, codes))
        return Restored(back, codes, self.head.loss(back, images), self.codebook.loss(x, codes))


class TextToImage(Transformer):
    """Text tokens and then image tokens in one causal stack (Ramesh et al. 2021).

    A row is a text filled up with ``blank`` to ``config.text`` tokens, ``start``, and the codes of an image row by row.
    ``head`` says which code comes next, ``text_head`` which word.
    """

    task = "text-to-image"

    def __init__(
        self, config: Any, *, embed: nn.Module, stack: Stack, head: Language, text_head: Language, images: Autoencoder
    ) -> None:
        super().__init__(config, embed=embed, stack=stack, head=head, mask=Mask(causal=True))
        self.head: Language
        self.text_head, self.images = text_head, images

    @property
    def start(self) -> int:
        """The token between text and image."""
        return self.config.vocab

    @property
    def blank(self) -> int:
        """The token that fills up a text; a text of nothing else stands for any."""
        return self.config.vocab + 1

    @property
    def first(self) -> int:
        """The token that is code 0."""
        return self.config.vocab + 2

    def prompt(self, text: Sequence[int]) -> list[int]:
        """What stands before the image; of a text that is too long its beginning."""
        text = list(text)[: self.config.text]
        if any(not 0 <= token < self.config.vocab for token in text):
            raise RegardError("core.text_tokens", vocab=self.config.vocab)
        return [*text, *[self.blank] * (self.config.text - len(text)), self.start]

    def losses(
        self, texts: Sequence[Sequence[int]], codes: Tensor, context: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy in nats of the texts' words and of the images' codes (B, rows, columns). The first word
        is given."""
        prompts = torch.tensor([self.prompt(text) for text in texts], device=codes.device)
        flat, before = codes.flatten(1), prompts.shape[1]
        rows = torch.cat((prompts, flat[:, :-1] + self.first), 1)
        hidden = self.hidden(rows, context)
        words = prompts[:, 1:-1]
        counted = words < self.config.vocab
        text = self.text_head.loss(hidden[:, : before - 2][counted], words[counted])
        return text, self.head.loss(hidden[:, before - 1 :].flatten(0, 1), flat.flatten())
