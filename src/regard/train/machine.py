"""What a training asks of the machine: device, threads, precision, and memory bought with time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from regard.errors import ConfigError
from regard.train.recipe import MachineConfig


def resolve(config: MachineConfig) -> MachineConfig:
    """The same with "auto" and None settled for this machine; refuses what it does not have."""
    name = best_device() if config.device == "auto" else config.device
    if not there(name):
        raise ConfigError("train.no_device", device=name)
    if config.precision == "bfloat16" and not has_bfloat16(torch.device(name)):
        raise ConfigError("train.no_bfloat16", device=name)
    return replace(config, device=name, threads=config.threads or torch.get_num_threads())


def device(config: MachineConfig) -> torch.device:
    return torch.device(config.device)


def precision(config: MachineConfig) -> AbstractContextManager[object]:
    """bfloat16 for the products inside, or nothing at all; the weights stay in float32."""
    if config.precision == "float32":
        return nullcontext()
    return torch.autocast(device(config).type, torch.bfloat16)


@contextmanager
def settled(config: MachineConfig) -> Iterator[None]:
    """Within, the process computes with the config's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def recomputed(model: nn.Module, on: bool) -> Iterator[None]:
    """Within, blocks keep only their input for the backward pass and run a second time there (Chen et al. 2016).

    A block's randomness comes from its context's key, so it drops the same elements the second time.
    """
    blocks = {block for module in model.modules() for block in getattr(module, "blocks", ())} if on else set()
    for block in blocks:
        block.forward = _twice(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own again


def _twice(forward):
    def run(x: Tensor, context) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(x, context)
        return checkpoint(lambda x: forward(x, context.apart()), x, use_reentrant=False, preserve_rng_state=False)

    return run


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def there(name: str) -> bool:
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError):  # an unknown name, a backend that is not built in, no such card
        return False
    return True


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32. A CPU without instructions of its own for it is many
    times slower."""
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
