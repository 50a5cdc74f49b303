"""How the ranks of a training divide its work: nothing to divide, the batch (DDP), or the model as well (FSDP2).

    engine = engines.build(model, task, config.machine, ranks)
    for number, batch, weight in engine.rounds(parts, spare):
        (engine.loss(batch, key.at(number)) / count * weight).backward()

Afterwards the gradients are those of the whole batch: sums over all ranks, not means, since the loss was divided by
the whole batch's targets. Both engines are PyTorch's own.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from regard.errors import ConfigError, RegardError
from regard.ops.random import Key
from regard.tasks.base import Batch, Task
from regard.train.pieces import full, put
from regard.train.ranks import ALONE, Ranks
from regard.train.recipe import MachineConfig

Part = tuple[int, Batch | None]  # a micro-batch's number in the batch, and what is in it if anything


class Engine(Protocol):
    """`model` is what trains; `writers` are the ranks that write a part of each checkpoint, if this one does."""

    model: nn.Module
    writers: Ranks | None

    def rounds(self, parts: Sequence[Part], spare: Callable[[], Batch]) -> Iterator[tuple[int, Batch, float]]:
        """(number, micro-batch, weight of its loss): the forward and backward passes that this rank makes."""
        ...

    def loss(self, batch: Batch, key: Key) -> Tensor:
        """The task's loss, summed over the targets."""
        ...

    def whole(self) -> nn.Module:
        """A model with the weights as they are, all of them, for the first rank to use."""
        ...

    def check(self) -> None:
        """Refuse to go on where ranks that should hold the same weights do not."""
        ...


def build(model: nn.Module, task: Task, config: MachineConfig, ranks: Ranks) -> Engine:
    """The engine that the recipe asks for; the plain one where there is nobody to divide with."""
    device = torch.device(config.device)
    if device.type == "cuda" and ranks.local >= torch.cuda.device_count():
        raise ConfigError("ranks.cards", cards=torch.cuda.device_count(), ranks=ranks.local + 1)
    if ranks.count == 1:
        return Alone(model.to(device), task)
    return {"replicate": Replicated, "full": Sharded}[config.shard](model, task, device, ranks)


class Alone:
    """One process."""

    writers: Ranks | None = ALONE

    def __init__(self, model: nn.Module, task: Task):
        self.model, self.task = model, task

    def rounds(self, parts: Sequence[Part], spare: Callable[[], Batch]) -> Iterator[tuple[int, Batch, float]]:
        for number, batch in parts:
            if batch is not None:
                yield number, batch, 1.0

    def loss(self, batch: Batch, key: Key) -> Tensor:
        return self.task.loss(self.model, batch, key)

    def whole(self) -> nn.Module:
        return self.model

    def check(self) -> None:
        pass


class Objective(nn.Module):
    """The loss of a micro-batch as a module, whose forward pass is what PyTorch's engines listen to."""

    def __init__(self, model: nn.Module, task: Task):
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: Batch, key: Key) -> Tensor:
        return self.task.loss(self.model, batch, key)


class Replicated:
    """Every rank holds the whole model and sums its gradients with the others' during the last backward pass (DDP)."""

    def __init__(self, model: nn.Module, task: Task, device: torch.device, ranks: Ranks):
        self.model, self.ranks = model.to(device), ranks
        self.writers = ALONE if ranks.leads else None
        self.engine = nn.parallel.DistributedDataParallel(
            Objective(self.model, task), forward_sync_buffers=False, find_unused_parameters=True
        )
        self.engine.register_comm_hook(None, _sum)

    def rounds(self, parts: Sequence[Part], spare: Callable[[], Batch]) -> Iterator[tuple[int, Batch, float]]:
        for number, batch, weight in met(parts, spare):
            self.engine.require_backward_grad_sync = number == parts[-1][0]  # before that they only add up here
            yield number, batch, weight

    def loss(self, batch: Batch, key: Key) -> Tensor:
        return self.engine(batch, key)

    def whole(self) -> nn.Module:
        return self.model

    def check(self) -> None:
        """Weights that went apart would be averaged over for ever without a sign."""
        mine = hashlib.sha256()
        for parameter in self.model.parameters():
            mine.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        if len(set(self.ranks.gathered(mine.digest))) > 1:
            raise RegardError("ranks.apart")


class Sharded:
    """Every rank holds its rows of every parameter, gradient and moment, and gathers a block only to run it (FSDP2).

    The model given stays whole, on the first rank alone: `whole` fills it.
    """

    def __init__(self, model: nn.Module, task: Task, device: torch.device, ranks: Ranks):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        self.plain, self.writers, self.ranks = model, ranks, ranks
        self.model = copy.deepcopy(model).to(device)
        self.objective = Objective(self.model, task)
        mesh = init_device_mesh(device.type, (ranks.count,))
        blocks = [block for module in self.model.modules() for block in getattr(module, "blocks", ())]
        for block in dict.fromkeys(blocks):
            fully_shard(block, mesh=mesh)
        fully_shard(self.objective, mesh=mesh)
        for module in self.objective.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        if not ranks.leads:
            model.to("meta")

    def rounds(self, parts: Sequence[Part], spare: Callable[[], Batch]) -> Iterator[tuple[int, Batch, float]]:
        yield from met(parts, spare)

    def loss(self, batch: Batch, key: Key) -> Tensor:
        return self.objective(batch, key)

    @torch.no_grad()
    def whole(self) -> nn.Module:
        plain = {**dict(self.plain.named_parameters()), **dict(self.plain.named_buffers())}
        for name, tensor in [*self.model.named_parameters(), *self.model.named_buffers()]:
            gathered = full(tensor)  # all ranks meet here
            if self.ranks.leads:
                put(plain[name], gathered)
        return self.plain

    def check(self) -> None:
        pass


def met(parts: Sequence[Part], spare: Callable[[], Batch]) -> Iterator[tuple[int, Batch, float]]:
    """All parts: ranks meet in every pass, so one that has nothing runs something that does not count."""
    for number, batch in parts:
        yield (number, spare(), 0.0) if batch is None else (number, batch, 1.0)


def _sum(state, bucket):  # PyTorch reads annotations here, and none that are text, as all are in this file
    """The gradients of a bucket summed; DDP's own way is the mean."""
    done = dist.all_reduce(bucket.buffer(), async_op=True)
    assert done is not None
    return done.get_future().then(lambda future: future.value()[0])
