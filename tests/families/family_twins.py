"""A reference model on random weights, and ours read from the folder that it writes."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from family_rows import VOCAB, Case, Row
from torch import Tensor, nn

from regard import models
from regard.layers import Context
from regard.weights import folder as files
from regard.weights import table


@dataclass(frozen=True, eq=False)
class Twins:
    """reference and ours with the same weights; module: our family's file; folder: where the reference wrote its."""

    case: Case
    reference: Any
    model: Any
    module: ModuleType
    folder: Path


def make(case: Case, folder: Path) -> Twins:
    architecture = getattr(transformers, case.architecture)
    config = architecture.config_class(**case.config)
    config._experts_implementation = "eager"  # its usual one wants sizes that are no primes
    reference = randomised(architecture(config), case.row)
    reference.save_pretrained(folder)
    return Twins(case, reference, *read(folder), folder)


def read(folder: Path) -> tuple[Any, ModuleType]:
    """Our model of a folder in the Hugging Face layout, and its family's file."""
    data = json.loads((folder / "config.json").read_text())
    name = models.of_type(data["model_type"])
    assert name is not None, data["model_type"]
    module = models.family(name)
    model = models.empty(module.read(data, "config.json"))
    table.read(module.TABLE, files.Folder(folder), model, str(folder))
    return model.eval(), module


def randomised(reference: nn.Module, row: Row) -> nn.Module:
    """Every stored weight, bias and norm random, so that none of them can be left out unseen."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in reference.state_dict().items():  # these share memory with the parameters
        if tensor.is_floating_point() and not any(part in name for part in row.fixed):
            # Large embeddings, where they are the vocabulary's matrix too, would have every token follow itself.
            deviation = 0.15 if any(part in name for part in _EMBEDDINGS) else 0.3
            spread = torch.empty_like(tensor).normal_(0.0, deviation, generator=generator)
            norm = tensor.dim() == 1 and "weight" in name
            spread = spread.abs() + 0.5 if "running_var" in name else spread
            tensor.copy_(spread + row.norm if norm else spread)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    reference.tie_weights()  # type: ignore[operator]
    return reference.eval()


_EMBEDDINGS = ("embed_tokens", "wte", "tokens_embed", "word_embeddings", "embed_in", "shared.weight")


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of tokens (B, T) of which only ``real`` (B, T) are tokens, each counted from 0 in ``positions``."""

    tokens: Tensor
    real: Tensor
    positions: Tensor

    @property
    def target(self) -> Tensor:
        """Whole rows: in a target there is no padding."""
        return self.tokens.masked_fill(~self.real, 7).flip(1)

    @property
    def context(self) -> Context:
        return Context(positions=self.positions)


def batch(lengths: list[int], side: str = "right", pad: int = 0, seed: int = 1) -> Batch:
    """Random rows, padded on one side with ``pad``."""
    longest = max(lengths)
    tokens = some_tokens(len(lengths), longest, seed=seed)
    counted = torch.arange(longest).expand(len(lengths), -1)
    if side == "left":
        counted = counted - (longest - torch.tensor(lengths)).unsqueeze(1)
        real = counted >= 0
    else:
        real = counted < torch.tensor(lengths).unsqueeze(1)
    return Batch(tokens.masked_fill(~real, pad), real, torch.where(real, counted, -1))


def some_tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(3, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def theirs(twins: Twins, given: Batch, **more: Any) -> Any:
    """What the reference makes of a batch: its target, where it has one, is the source backwards."""
    accepts = inspect.signature(twins.reference.forward).parameters
    inputs = {"input_ids": given.tokens, "attention_mask": given.real.long(), "output_hidden_states": True, **more}
    if twins.case.architecture.endswith("ForMultipleChoice"):  # one question, the rows its choices
        inputs |= {name: inputs[name].unsqueeze(0) for name in ("input_ids", "attention_mask")}
    if twins.case.kind == "seq2seq":
        inputs["decoder_input_ids"] = given.target
    elif "position_ids" in accepts and twins.case.kind == "decoder":
        inputs["position_ids"] = given.positions.clamp(min=0)
    return twins.reference(**inputs)


def ours(twins: Twins, given: Batch) -> Tensor:
    if twins.case.kind == "seq2seq":
        return twins.model(given.tokens, given.target, given.context)
    return twins.model(given.tokens, given.context)


def output(found: Any) -> Tensor:
    """What of the reference's result ours is held against: logits, or the vectors of a model without a head."""
    for name in ("logits", "pooler_output", "last_hidden_state"):
        if getattr(found, name, None) is not None:
            return getattr(found, name)
    return torch.stack((found.start_logits, found.end_logits), -1)
