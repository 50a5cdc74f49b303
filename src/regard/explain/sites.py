"""Where a model attends, and how its attention is watched or changed from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from regard.errors import RegardError
from regard.layers import Attention, Stack
from regard.ops.attention import Core

Kind = Literal["self", "encoder", "decoder", "cross"]


@dataclass(frozen=True, eq=False)
class Site:
    """One attention of one layer. A block that is used for several layers (ALBERT) is called `turns` times in a pass;
    this site is its call number `turn`."""

    kind: Kind
    layer: int
    attention: Attention
    turn: int = 0
    turns: int = 1

    @property
    def heads(self) -> int:
        return self.attention.projection.heads


def sites(model: nn.Module, layers: Sequence[int] | None = None) -> list[Site]:
    """Every attention of the model in the order of its calls, or those of `layers`, counted from 0."""
    found = [site for kind, stack in stacks(model).items() for site in _of_stack(kind, stack)]
    if layers is None:
        return found
    known = sorted({site.layer for site in found})
    for layer in layers:
        if layer not in known:
            raise RegardError("explain.no_layer", layer=layer, last=known[-1])
    return [site for site in found if site.layer in layers]


def stacks(model: nn.Module) -> dict[Kind, Stack]:
    """The model's stacks: {"self": ...}, or {"encoder": ..., "decoder": ...}."""
    found = [module for module in model.modules() if isinstance(module, Stack)]
    if len(found) == 1:
        return {"self": found[0]}
    crossing = [any(hasattr(block, "cross_attention") for block in stack.blocks) for stack in found]
    if sorted(crossing) != [False, True]:
        raise RegardError("explain.unknown_shape", stacks=len(found))
    return {"encoder": found[crossing.index(False)], "decoder": found[crossing.index(True)]}


@contextmanager
def around(places: Sequence[Site], wrap: Callable[[Site, Core], Core]) -> Iterator[None]:
    """Within, the core of each place is `wrap(place, core)`; afterwards each is what it was, whatever happened."""
    groups: dict[int, list[Site]] = {}
    for place in places:
        groups.setdefault(id(place.attention), []).append(place)
    undo: list[Callable[[], None]] = []
    try:
        for group in groups.values():
            core = group[0].attention.core
            wrapped = {place.turn: wrap(place, cast(Core, _called(core))) for place in group}
            undo.append(_put(group[0].attention, _taking_turns(cast(Core, _called(core)), wrapped, group[0].turns)))
        yield
    finally:
        for step in reversed(undo):
            step()


def _of_stack(kind: Kind, stack: Stack) -> Iterator[Site]:
    for layer, number in enumerate(stack.order):
        turn, turns = stack.order[:layer].count(number), stack.order.count(number)
        block = stack.blocks[number]
        if hasattr(block, "attention"):
            yield Site(kind, layer, cast(Attention, block.attention), turn, turns)
        if hasattr(block, "cross_attention"):
            yield Site("cross", layer, cast(Attention, block.cross_attention), turn, turns)


def _called(core: Core | nn.Module) -> Core | Callable[..., object]:
    return core.forward if isinstance(core, nn.Module) else core


def _taking_turns(core: Core, wrapped: dict[int, Core], turns: int) -> Core:
    if turns == 1:
        return wrapped[0]
    calls = 0

    def taking_turns(*arguments):
        nonlocal calls
        turn, calls = calls % turns, calls + 1
        return wrapped.get(turn, core)(*arguments)

    return taking_turns


def _put(attention: Attention, core: Core) -> Callable[[], None]:
    """Make `core` the attention's core; returns what undoes it."""
    before = attention.core
    if isinstance(before, nn.Module):
        # A module with buffers stays where it is registered, or the state dict would change its order.
        before.forward = core
        return lambda: delattr(before, "forward")
    attention.core = core
    return lambda: setattr(attention, "core", before)
