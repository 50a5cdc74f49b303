"""A stack whose inputs follow from its outputs, so that training keeps none of what stands between (Reformer)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regard.layers.context import Context
from regard.layers.residual import Block, Stack


class Reversible(Stack):
    """Two streams that begin alike; of a block's two sublayers each reads one and writes to the other (Gomez et al.
    2017; Kitaev et al. 2020, section 3). x (B, T, D) -> (B, T, 2 D), normed.

    In training the backward pass makes each block's input again out of its output.
    """

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if context.key is None or not torch.is_grad_enabled():
            both = _run(self, x, x, context)
        else:
            both = _Reversed.apply(x, self, context, *self.blocks.parameters())
        both = torch.cat(both, -1)  # type: ignore[arg-type]
        return both if self.norm is None else self.norm(both)


def _run(stack: Stack, one: Tensor, two: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    for layer, block, (first, second) in _blocks(stack):
        inside = context.at(layer)
        one = one + block.branch(first, two, inside)
        two = two + block.branch(second, one, inside)
    return one, two


def _blocks(stack: Stack) -> list[tuple[int, Block, list[str]]]:
    found = [(layer, stack.blocks[number]) for layer, number in enumerate(stack.order)]
    return [(layer, block, list(block.wiring)) for layer, block in found if isinstance(block, Block)]


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, stack: Stack, context: Context, *parameters: nn.Parameter) -> Any:
        one, two = _run(stack, x, x, context)
        ctx.save_for_backward(one, two)
        ctx.stack, ctx.context, ctx.parameters = stack, context.apart(), parameters
        return one, two

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        one, two = ctx.saved_tensors
        to_one, to_two = grads
        found: dict[nn.Parameter, Tensor] = {}
        for layer, block, (first, second) in reversed(_blocks(ctx.stack)):
            inside = ctx.context.at(layer)
            two, to_one = _undone(block, second, one, two, to_one, to_two, inside, found)
            one, to_two = _undone(block, first, two, one, to_two, to_one, inside, found)
        return (to_one + to_two, None, None, *(found.get(parameter) for parameter in ctx.parameters))


def _undone(
    block: Block, name: str, read: Tensor, written: Tensor, to_read: Tensor, to_written: Tensor, context: Context,
    found: dict[nn.Parameter, Tensor],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What ``written`` was before the sublayer wrote to it, and the gradient of what that read, its own part added."""
    parameters: Sequence[nn.Parameter] = [parameter for parameter in block.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        read = read.detach().requires_grad_()
        y = block.branch(name, read, context)
    gradients = torch.autograd.grad(y, (read, *parameters), to_written, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients[1:], strict=True):
        if gradient is not None:
            found[parameter] = found[parameter] + gradient if parameter in found else gradient
    return written - y.detach(), to_read if gradients[0] is None else to_read + gradients[0]
