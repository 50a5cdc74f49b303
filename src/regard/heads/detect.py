"""What is where in an image: a class and a box from each of a set of tokens (Carion et al. 2020, DETR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.heads.weights import Weights
from regard.layers.context import Context
from regard.ops import boxes as shapes
from regard.ops.losses import weighted_class_loss


@dataclass(frozen=True, eq=False)
class Guesses:
    """logits (B, Q, classes + 1), the last being that there is nothing; boxes (B, Q, 4) as ``ops.boxes`` has them.
    earlier: those of the layers before the last, of a model whose layers all answer."""

    logits: Tensor
    boxes: Tensor
    earlier: tuple[Guesses, ...] = ()


@dataclass(frozen=True, eq=False)
class Objects:
    """What there is in one image: labels (N,) int64, boxes (N, 4), and perhaps masks (N, height, width) of 0 and 1."""

    labels: Tensor
    boxes: Tensor
    masks: Tensor | None = None


class Layers(nn.Module):
    """Linear layers with ReLU between them. (..., D) -> (..., outputs)."""

    def __init__(self, dim: int, outputs: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim if i < count - 1 else outputs) for i in range(count))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Detect(nn.Module):
    """A class and a box from each of the last ``count`` tokens: (B, T, D) -> Guesses; and of what layers left in
    ``context.side`` theirs. of_class: what makes logits of a token."""

    def __init__(self, dim: int, classes: int, count: int, of_class: nn.Module, weights: Weights) -> None:
        super().__init__()
        self.classes, self.count, self.weights = classes, count, weights
        self.of_class = of_class
        self.box = Layers(dim, 4, 3)

    def forward(self, hidden: Tensor, context: Context | None = None) -> Guesses:
        side = {} if context is None or context.side is None else context.side
        answers = [one for _, one in sorted(side.items()) if isinstance(one, Tensor)]
        return replace(self._guessed(hidden), earlier=tuple(self._guessed(one) for one in answers[:-1]))

    def _guessed(self, hidden: Tensor) -> Guesses:
        tokens = hidden[:, -self.count :]
        return Guesses(self.of_class(tokens), self.box(tokens).sigmoid())

    def loss(self, guesses: Guesses, targets: Sequence[Objects]) -> Tensor:
        """The weighted sum of: mean cross-entropy in nats over all guesses; distance and missing overlap of the boxes
        that match an object, for each object of the batch; and as much of every layer's guesses, each matched by
        itself (Carion et al. 2020, section 3.2). A mean, for what it is divided by follows from the matching."""
        return torch.stack([self._loss(one, targets) for one in (guesses, *guesses.earlier)]).sum()

    def _loss(self, guesses: Guesses, targets: Sequence[Objects]) -> Tensor:
        classes = torch.full(guesses.logits.shape[:2], self.classes, device=guesses.logits.device)
        found, wanted = [], []
        for row, target in enumerate(targets):
            chosen, objects = self.matched(guesses.logits[row], guesses.boxes[row], target)
            classes[row, chosen] = target.labels[objects]
            found.append(guesses.boxes[row, chosen])
            wanted.append(target.boxes[objects])
        weight = torch.ones(self.classes + 1, device=classes.device)
        weight[-1] = self.weights.nothing
        of_class = weighted_class_loss(guesses.logits.flatten(0, 1), classes.flatten(), weight)
        mine, theirs = torch.cat(found).float(), torch.cat(wanted).float()
        apart = 1 - shapes.overlap(shapes.corners(mine), shapes.corners(theirs))
        of_boxes = self.weights.box * (mine - theirs).abs().sum() + self.weights.overlap * apart.sum()
        return of_class + of_boxes / max(1, sum(len(one.labels) for one in targets))

    @torch.no_grad()
    def matched(self, logits: Tensor, boxes: Tensor, target: Objects) -> tuple[Tensor, Tensor]:
        """(guesses, objects) of one image that belong together."""
        weights = (self.weights.match_class, self.weights.match_box, self.weights.match_overlap)
        return shapes.cheapest_matching(
            shapes.matching_costs(logits, boxes, target.labels, target.boxes.float(), weights)
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """What was found in one image: scores (N,), labels (N,) int64, boxes (N, 4): left, top, right, bottom in pixels."""

    scores: Tensor
    labels: Tensor
    boxes: Tensor


def seen(guesses: Guesses, sizes: Sequence[tuple[int, int]], least: float = 0.5) -> list[Seen]:
    """What is more likely than ``least``, for images of these (height, width)."""
    scores, labels = shapes.chances(guesses.logits)[..., :-1].max(-1)
    found = []
    for row, (height, width) in enumerate(sizes):
        kept = scores[row] > least
        sides = torch.tensor([width, height, width, height], device=scores.device)
        found.append(Seen(scores[row, kept], labels[row, kept], shapes.corners(guesses.boxes[row, kept]) * sides))
    return found
