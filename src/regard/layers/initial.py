"""First values of weights. Each parameter draws from a key of its own name, so that no order of building matters."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from regard.ops.random import Key

Rule = Callable[[str, nn.Parameter, torch.Generator], Tensor | None]


@torch.no_grad()
def initialise(model: nn.Module, key: Key, rule: Rule) -> nn.Module:
    """Gives every matrix and embedding the values of ``rule(name, parameter, generator)``; None leaves it as it is.

    Norms keep the ones and zeros they were made with; the biases of linear layers and convolutions, which PyTorch draws
    from its global generator, become zeros.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and module.bias is not None:
            module.bias.zero_()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            values = rule(name, parameter, key.at(zlib.crc32(name.encode())).generator(parameter.device))
            if values is not None:
                parameter.copy_(values)
    return model


def normal(std: float, *, outputs: float | None = None) -> Rule:
    """Normal with deviation ``std``; the layers that write to the residual stream (o, down) with ``outputs``."""

    def rule(name: str, parameter: nn.Parameter, generator: torch.Generator) -> Tensor:
        writes = outputs is not None and name.endswith((".o.weight", ".down.weight"))
        return torch.empty_like(parameter).normal_(
            0.0, outputs if writes and outputs is not None else std, generator=generator
        )

    return rule


def filters() -> Rule:
    """Normal, a filter with deviation sqrt(2 / its inputs) (He et al. 2015), anything else 1 / sqrt(its width)."""

    def rule(name: str, parameter: nn.Parameter, generator: torch.Generator) -> Tensor:
        std = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 2 else parameter.shape[-1] ** -0.5
        return torch.empty_like(parameter).normal_(0.0, std, generator=generator)

    return rule


def xavier(embedding: float) -> Rule:
    """Glorot and Bengio 2010's uniform for matrices, normal with deviation ``embedding`` for what is looked up."""

    def rule(name: str, parameter: nn.Parameter, generator: torch.Generator) -> Tensor:
        if name.startswith(("embed", "source_embed", "target_embed")):
            return torch.empty_like(parameter).normal_(0.0, embedding, generator=generator)
        bound = (6.0 / sum(parameter.shape)) ** 0.5
        return torch.empty_like(parameter).uniform_(-bound, bound, generator=generator)

    return rule


def by_inputs(*, queries: float = 1.0) -> Rule:
    """Normal, a matrix with deviation 1 / sqrt(its inputs), what is looked up with 1; ``queries`` multiplies that of q
    (T5, Raffel et al. 2020)."""

    def rule(name: str, parameter: nn.Parameter, generator: torch.Generator) -> Tensor:
        looked_up = name.startswith(("embed", "source_embed", "target_embed"))
        std = 1.0 if looked_up else parameter.shape[-1] ** -0.5
        std = std * queries if name.endswith(".q.weight") else std
        return torch.empty_like(parameter).normal_(0.0, std, generator=generator)

    return rule
