"""A stack for texts and a stack for images whose vectors share a space, or one of the two; the two where texts may look
at images, too; or that for images under a head of its own. No family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import Context
from regard.models.transformer import Transformer


class Towers(nn.Module):
    """``head(text(tokens), image(pixels))`` (Radford et al. 2021); one of the towers may be missing.

    fill: the token that every text is filled up with to the longest there is, and that counts as one (SigLIP); None:
    texts are as long as they are.
    """

    task = "contrast"

    def __init__(
        self,
        config: Any,
        *,
        text: Transformer | None,
        image: Transformer | None,
        head: nn.Module | None,
        fill: int | None,
    ) -> None:
        super().__init__()
        self.config, self.fill = config, fill
        self.text, self.image, self.head = text, image, head

    def forward(
        self,
        tokens: Tensor,
        images: Tensor,
        text_context: Context | None = None,
        image_context: Context | None = None,
    ) -> Tensor:
        """Logits (texts, images) of tokens (N, T) and images (M, C, height, width)."""
        if self.head is None:
            raise RegardError("core.one_tower", has="text" if self.image is None else "image")
        return self.head(self.texts(tokens, text_context), self.images(images, image_context))

    def texts(self, tokens: Tensor, context: Context | None = None) -> Tensor:
        """A vector (N, width) for each text."""
        if self.text is None:
            raise RegardError("core.one_tower", has="image")
        return self.text(tokens, context)

    def images(self, images: Tensor, context: Context | None = None) -> Tensor:
        """A vector (M, width) for each image."""
        if self.image is None:
            raise RegardError("core.one_tower", has="text")
        return self.image(images, context)

    def rows(self, texts: Sequence[Sequence[int]], device: torch.device | str | None = None) -> tuple[Tensor, Context]:
        """Texts of any lengths as one batch (N, T) and what must be known of it. What is beyond the longest text that
        the model takes is cut off, but for the text's last token, which stands for all of it."""
        longest = self.config.context
        cut = [[*text[: longest - 1], text[-1]] if len(text) > longest else list(text) for text in texts]
        if self.fill is not None:
            return torch.tensor(
                [[*text, *[self.fill] * (longest - len(text))] for text in cut], device=device
            ), Context()
        lengths = [len(text) for text in cut]
        filled = [[*text, *[0] * (max(lengths) - len(text))] for text in cut]
        return torch.tensor(filled, device=device), Context.padded(lengths, device)


class Matched(Towers):
    """Two towers of which the text's may look at the image: a text alone has a vector beside an image's, and what the
    ``head`` makes of a text that has seen the image says whether it fits (Li et al. 2022, BLIP)."""

    text: Transformer
    image: Transformer
    head: nn.Module

    def forward(
        self,
        tokens: Tensor,
        images: Tensor,
        text_context: Context | None = None,
        image_context: Context | None = None,
    ) -> Tensor:
        """Logits (texts, images, 2) of tokens (N, T) and images (M, C, height, width): that a text does not fit an
        image, and that it does."""
        context = text_context or Context()
        seen = self.image.hidden(images, image_context)  # (M, P, D)
        found = []
        for number in range(len(seen)):
            looking = replace(context, memory=seen[number].expand(len(tokens), -1, -1))
            found.append(self.head(self.text.hidden(tokens, looking), looking))
        return torch.stack(found, 1)


class Tower(nn.Module):
    """The tower for images alone, under a head that says something of them."""

    text = None

    def __init__(self, config: Any, image: Transformer) -> None:
        super().__init__()
        self.config, self.mask = config, image.mask
        self.image = image

    @property
    def head(self) -> Any:
        """What stands on the tower."""
        return self.image.head

    def forward(self, images: Tensor, context: Context | None = None) -> Tensor:
        """What the head makes of images (B, C, height, width)."""
        return self.image(images, context)

    def hidden(self, images: Tensor, context: Context | None = None) -> Tensor:
        """The tower's output (B, T, D)."""
        return self.image.hidden(images, context)

    def images(self, images: Tensor, context: Context | None = None) -> Tensor:
        """A vector (B, D) for each image: what the head is given."""
        return self.head.pool(self.hidden(images, context))
