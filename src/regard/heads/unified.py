"""What each pixel of an image is, from maps of one grid that layers of a single stack make of it (UPerNet, Xiao et al.
2018, over a pyramid as in Bao et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.heads.segment import BatchNorm, Maps, stretched
from regard.layers.context import Context
from regard.ops.losses import map_loss


class Convolved(nn.Module):
    """Convolution over ``size`` places a side, norm and ReLU, on the same grid. x (B, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        self.norm = BatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x)))


class Scaled(nn.Module):
    """Four maps of one grid as a pyramid: four times its sides, twice, the same, and half of them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second, self.twice = (nn.ConvTranspose2d(dim, dim, 2, stride=2) for _ in range(3))
        self.norm = BatchNorm(dim)

    def forward(self, maps: Maps) -> list[Tensor]:
        rows, columns = maps[-1].shape[2:]
        if min(rows, columns) < 2:
            raise RegardError("core.small_map", rows=rows, columns=columns)
        largest = self.second(F.gelu(self.norm(self.first(maps[0]))))
        return [largest, self.twice(maps[1]), maps[2], F.max_pool2d(maps[3], 2)]


class Aside(nn.Module):
    """A class for each place of one map, by ``count`` convolutions; they guide a training and answer nothing. joined:
    the map itself is put beside what they make. (B, D, rows, columns) -> logits (B, classes, rows, columns)."""

    def __init__(self, dim: int, width: int, count: int, classes: int, *, joined: bool, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.layers = nn.ModuleList(Convolved(width if number else dim, width, 3) for number in range(count))
        self.join = Convolved(dim + width, width, 3) if joined else None
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, map: Tensor) -> Tensor:
        x = map
        for layer in self.layers:
            x = layer(x)
        return self.out(x if self.join is None else self.join(torch.cat((map, x), 1)))


@dataclass(frozen=True, eq=False)
class Segmented:
    """logits (B, classes, rows, columns), and those aside, of another grid, which only a loss asks for."""

    logits: Tensor
    aside: Tensor | None = None


class Unified(nn.Module):
    """A pyramid whose smallest map is seen in the means of ``pools`` parts a side, too, and handed down to the larger
    ones; a class for each place of the largest. Four maps of one grid -> Segmented."""

    def __init__(self, dim: int, classes: int, pools: Sequence[int], *, ignored: int, aside: Aside | None) -> None:
        super().__init__()
        self.pools, self.ignored = tuple(pools), ignored
        self.scaled = Scaled(dim)
        self.pooled = nn.ModuleList(Convolved(dim, dim, 1) for _ in pools)
        self.whole = Convolved(dim * (1 + len(pools)), dim, 3)
        self.across = nn.ModuleList(Convolved(dim, dim, 1) for _ in range(3))
        self.smooth = nn.ModuleList(Convolved(dim, dim, 3) for _ in range(3))
        self.join = Convolved(4 * dim, dim, 3)
        self.out = nn.Conv2d(dim, classes, 1)
        self.aside = aside

    def forward(self, maps: Maps, context: Context | None = None) -> Segmented:
        pyramid = self.scaled(maps)
        levels = [self._seen_whole(pyramid[-1])]
        for layer, map in zip(reversed(self.across), pyramid[-2::-1], strict=True):
            levels.insert(0, layer(map) + stretched(levels[0], (map.shape[2], map.shape[3])))
        made = [layer(level) for layer, level in zip(self.smooth, levels[:-1], strict=True)]
        size = (made[0].shape[2], made[0].shape[3])
        made = [made[0], *(stretched(one, size) for one in (*made[1:], levels[-1]))]
        aside = None if self.aside is None else self.aside(pyramid[2])
        return Segmented(self.out(self.join(torch.cat(made, 1))), aside)

    def _seen_whole(self, map: Tensor) -> Tensor:
        """A map beside the means of its parts, coarse and fine (Zhao et al. 2017)."""
        size = (map.shape[2], map.shape[3])
        means = [F.adaptive_avg_pool2d(map, count) for count in self.pools]
        made = [stretched(layer(mean), size) for layer, mean in zip(self.pooled, means, strict=True)]
        return self.whole(torch.cat((map, *made), 1))

    def loss(self, found: Segmented, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats of the pixels that have a label, and a part of that of the logits aside; each
        stretched to the size of targets (B, height, width) int64."""
        size = (targets.shape[1], targets.shape[2])
        loss = map_loss(stretched(found.logits, size), targets, self.ignored)
        if self.aside is None or found.aside is None:
            return loss
        return loss + self.aside.weight * map_loss(stretched(found.aside, size), targets, self.ignored)
