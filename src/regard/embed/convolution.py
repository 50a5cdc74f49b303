"""A residual convolutional network (He et al. 2015), as what stands before a stack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regard.errors import RegardError
from regard.layers.context import Context
from regard.layers.places import Places
from regard.ops.random import dropout

Grid = tuple[int, int]


class FixedNorm(nn.Module):
    """Batch norm with the statistics and factors that it was given; nothing of it is trained. x (B, C, H, W)."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.variance + self.eps).rsqrt()
        shift = self.bias - self.mean * scale
        return x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)


class Convolution(nn.Module):
    """Convolution and norm; sides shrink to ceil(side / stride). apart: places between those it looks at, and one.
    x (B, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, apart: int = 1) -> None:
        super().__init__()
        around = apart * (size // 2)
        self.convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=around, dilation=apart, bias=False)
        self.norm = FixedNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x))


class ResidualConvolutions(nn.Module):
    """``relu(x + convolutions(x))``, with ReLU between the convolutions. short: what brings x to the same shape."""

    def __init__(self, inputs: int, outputs: int, layers: Sequence[Convolution], *, stride: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        alike = inputs == outputs and stride == 1
        self.short = None if alike else Convolution(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers[:-1]:
            y = F.relu(layer(y))
        return F.relu(self.layers[-1](y) + (x if self.short is None else self.short(x)))


class ResidualNet(nn.Module):
    """A stem that quarters the sides, then stages of residual convolutions, each but the first halving them again:
    (B, C, height, width) -> (B, widths[-1], rows, columns).

    bottleneck: three convolutions of which the first narrows to a quarter (He et al. 2015, figure 5), else two.
    halved_first: the first stage halves the sides too. narrow_halves: a bottleneck's first convolution halves them.
    dilated: the last stage halves nothing, and all its blocks but the first look at every second place instead (Carion
    et al. 2020, section 4, DC5).
    """

    def __init__(
        self,
        channels: int,
        stem: int,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        bottleneck: bool = True,
        halved_first: bool = False,
        narrow_halves: bool = False,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.halved = channels, 2 + len(widths) - (0 if halved_first else 1) - dilated
        self.stem = Convolution(channels, stem, 7, stride=2)

        def layers(inputs: int, outputs: int, stride: int, apart: int) -> list[Convolution]:
            if not bottleneck:
                first = Convolution(inputs, outputs, 3, stride=stride, apart=apart)
                return [first, Convolution(outputs, outputs, 3, apart=apart)]
            narrow, early = outputs // 4, stride if narrow_halves else 1
            return [
                Convolution(inputs, narrow, 1, stride=early),
                Convolution(narrow, narrow, 3, stride=stride // early, apart=apart),
                Convolution(narrow, outputs, 1),
            ]

        def stage(number: int) -> nn.ModuleList:
            made, inputs, outputs = [], (stem, *widths)[number], widths[number]
            wide = dilated and number == len(widths) - 1
            for layer in range(depths[number]):
                stride = 2 if layer == 0 and (number or halved_first) and not wide else 1
                some = layers(inputs, outputs, stride, 2 if wide and layer else 1)
                made.append(ResidualConvolutions(inputs, outputs, some, stride=stride))
                inputs = outputs
            return nn.ModuleList(made)

        self.stages = nn.ModuleList(stage(number) for number in range(len(widths)))

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1]

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each stage makes, the largest first."""
        x, made = F.max_pool2d(F.relu(self.stem(images)), 3, stride=2, padding=1), []
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
            made.append(x)
        return made

    def grid(self, images: Tensor) -> Grid:
        """Rows and columns of what it makes of images."""
        if images.dim() != 4 or images.shape[1] != self.channels:
            raise RegardError("core.images", shape=tuple(images.shape), channels=self.channels, patch=1)
        sides = [images.shape[2], images.shape[3]]
        for _ in range(self.halved):
            sides = [-(-side // 2) for side in sides]
        return sides[0], sides[1]


class FeatureMap(nn.Module):
    """What a network makes of images, each place of it a token: (B, C, height, width) -> (B, T, D). ``context.sizes``
    says how much of each image of a padded batch is image; the rest is no token.

    Where tokens stand is said by sines, which ``added`` makes for attention to add (Carion et al. 2020, appendix A.4).
    """

    def __init__(self, network: ResidualNet, width: int, dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout, self.dim = dropout, dim
        self.network = network
        self.project = nn.Conv2d(width, dim, 1)

    def forward(self, images: Tensor, context: Context) -> Tensor:
        return self.tokens(self.project(self.network(images)), context)

    def tokens(self, projected: Tensor, context: Context) -> Tensor:
        """(B, T, D) of a map (B, D, rows, columns)."""
        x = projected.flatten(2).mT
        drop = dropout(self.dropout, context.key)
        return x if drop is None else drop(x)

    def places(self, images: Tensor, context: Context) -> Places:
        rows, columns = grid = self.network.grid(images)
        if context.sizes is None:
            return Places.count(0, rows * columns, images.device, grid=grid)
        inside = [
            # Nearest: the pixel that a place stands for.
            (torch.arange(count, device=images.device) * (side / count)).floor() < context.sizes[:, axis, None]
            for axis, (count, side) in enumerate(zip(grid, images.shape[2:], strict=True))
        ]
        real = (inside[0].unsqueeze(2) & inside[1].unsqueeze(1)).flatten(1)
        counted = torch.arange(rows * columns, device=images.device)
        return Places(torch.where(real, counted, -1), grid=grid)

    def added(self, places: Places) -> Tensor:
        """(B|1, T, D): for each place sines and cosines of its row, then of its column, counted among the image's."""
        assert places.grid is not None
        real = (places.positions >= 0).unflatten(1, places.grid).float()
        step = torch.arange(self.dim // 2, device=real.device) // 2
        period = 10_000.0 ** (2 * step.float() / (self.dim // 2))
        made = []
        for axis in (1, 2):
            count = real.cumsum(axis)
            last = count.narrow(axis, -1, 1)
            angle = (count / (last + 1e-6) * (2 * torch.pi)).unsqueeze(-1) / period  # (B|1, rows, columns, D / 2)
            made.append(torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), -1).flatten(-2))
        return torch.cat(made, -1).flatten(1, 2)
