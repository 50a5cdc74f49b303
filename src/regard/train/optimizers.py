"""AdamW and Muon over groups of parameters with and without weight decay, their state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from regard.errors import RegardError
from regard.train.pieces import full, like
from regard.train.recipe import OptimizerConfig


def build(model: nn.Module, config: OptimizerConfig) -> Optimizers:
    """The optimisers of a recipe over the parameters of `model` that train."""
    names = {parameter: name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parts: list[torch.optim.Optimizer] = []
    found = sort(model, config)
    matrices = [_group(model, part.names, part.decay) for part in found if part.matrices]
    rest = [_group(model, part.names, part.decay) for part in found if not part.matrices]
    if matrices:
        parts.append(Muon(matrices, momentum=config.momentum))
    if rest:
        parts.append(torch.optim.AdamW(rest, lr=0.0, betas=config.betas, eps=config.epsilon, fused=True))
    return Optimizers(tuple(parts), names, config.rate)


@dataclass(frozen=True)
class Part:
    """Names of the parameters that are treated alike."""

    names: tuple[str, ...]
    decay: float
    matrices: bool  # Muon's


def sort(model: nn.Module, config: OptimizerConfig) -> tuple[Part, ...]:
    """Every parameter that trains, in exactly one part.

    Weight decay is for what multiplies, the weights of linear layers and convolutions. Norms, biases and tables
    (embeddings, relative positions; also one that a head shares) have none, unless a pattern of `decay_also` names
    them. Muon takes the matrices inside the blocks; head and embeddings stay with AdamW (Jordan et al. 2024).
    """
    multiply, others = set(), set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            (multiply if name == "weight" and isinstance(module, _MULTIPLY) else others).add(parameter)
    parts: dict[tuple[float, bool], list[str]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        multiplies = parameter in multiply and parameter not in others
        decays = multiplies or any(fnmatchcase(name, pattern) for pattern in config.decay_also)
        muon = config.name == "muon" and multiplies and parameter.ndim == 2 and "blocks." in name
        parts.setdefault((config.weight_decay if decays else 0.0, muon), []).append(name)
    return tuple(Part(tuple(names), *kind) for kind, names in sorted(parts.items(), reverse=True))


_MULTIPLY = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _group(model: nn.Module, names: tuple[str, ...], decay: float) -> dict:
    return {"params": [model.get_parameter(name) for name in names], "weight_decay": decay}


@dataclass(frozen=True)
class Optimizers:
    """One or two optimisers that step as one. `names` gives each parameter's; `rate` is the peak learning rate."""

    parts: tuple[torch.optim.Optimizer, ...]
    names: Mapping[nn.Parameter, str]
    rate: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.names)

    def step(self, factor: float) -> None:
        """One update at `factor` of the peak rate; gradients are let go of afterwards."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.rate * factor
            part.step()
        self.zero()

    def zero(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Everything an optimiser remembers, as "parameter/what" -> tensor; empty before the first step."""
        memories = [(parameter, part.state[parameter]) for part in self.parts for parameter in part.state]
        names = {id(parameter): name for parameter, name in self.names.items()}
        return {f"{names[id(p)]}/{what}": value for p, memory in memories for what, value in memory.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state()` gave, for the same parameters, under the same optimisers.

        Each tensor is copied into memory of PyTorch's own, so that its alignment, on which the last bit of a product
        may hang, is that of the run that was interrupted.
        """
        by_name = {name: parameter for parameter, name in self.names.items()}
        owner = {p: part for part in self.parts for group in part.param_groups for p in group["params"]}
        for key, value in state.items():
            name, _, what = key.rpartition("/")
            if name not in by_name:
                raise RegardError("train.state_unknown", name=key)
            parameter = by_name[name]
            own = like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
            owner[parameter].state[parameter][what] = own.clone()


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for matrices (Jordan et al. 2024), in float32 throughout.

    The update of a matrix is scaled by 0.2 · sqrt(max(rows, columns)), which gives it the usual size of an update of
    AdamW's, so that one learning rate serves both (Liu et al. 2025, Muon is Scalable, eq. 4). Of a matrix that ranks
    hold by rows, each gathers the whole update and makes it orthogonal for itself.
    """

    def __init__(self, groups: list[dict], *, momentum: float):
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                gradient, memory = matrix.grad.float(), self.state[matrix]
                if not memory:
                    memory["momentum"] = torch.zeros_like(gradient)
                momentum = memory["momentum"].lerp_(gradient, 1 - group["momentum"])
                ahead = gradient.lerp(momentum, group["momentum"])  # Nesterov's look
                update = like(orthogonal(full(ahead)), ahead)
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Near the closest orthogonal matrix to a float32 `matrix`: its singular values become about 0.7 to 1.2.

    Newton-Schulz iteration of the fifth order with the coefficients of Jordan et al. 2024, chosen for the slope at 0:
    the values need not reach 1 for the update to do its work.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    x = wide / (wide.norm() + 1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x if wide is matrix else x.mT
