"""A model beside the reference implementation, on the user's own files: how far the two are apart, layer by layer.

    found = compare("my-model")
    found.rows, found.worst, found.within

The reference is `transformers`, if it is installed; it reads the same folder, offline, and no code out of it. What is
given to both goes by what the model reads (``doctor.given``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from regard import bundle as bundles
from regard.doctor import given
from regard.errors import RegardError, need
from regard.models.transformer import Pyramid
from regard.weights.gguf.container import is_gguf

TOLERANCE = 1e-4  # of the layer's largest number: rounding in float32, over some tens of layers


@dataclass(frozen=True)
class Row:
    """One layer's output, or the model's: the largest difference, and the largest number of the reference's."""

    name: str
    away: float
    largest: float

    @property
    def relative(self) -> float:
        """Not a number, if either side is not."""
        return self.away / self.largest if self.largest > 0 else self.away


@dataclass(frozen=True, kw_only=True)
class Beside:
    """reference: its class and version; inputs: what was given; silent: why there are no layers, or ""."""

    reference: str
    inputs: int
    rows: tuple[Row, ...]
    tolerance: float
    silent: bool = False

    @property
    def worst(self) -> Row:
        return max(self.rows, key=lambda row: float("inf") if row.relative != row.relative else row.relative)

    @property
    def within(self) -> bool:
        return self.worst.relative <= self.tolerance


def compare(path: str | os.PathLike[str], tolerance: float = TOLERANCE) -> Beside:
    """Both on the same inputs in float32. Raises MissingPackage without transformers, RegardError where the reference
    cannot read the files or the model reads what is not given here."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    transformers: Any = need("transformers", "bench")
    ours = bundles.load(path)
    assert ours.folder is not None
    theirs = _reference(transformers, ours.folder)
    pairs = given.pairs(ours)
    heard: dict[str, Row] = {}
    silent = False
    with torch.no_grad():
        for pair in pairs:
            with listening(ours.model) as states:
                found = given.outputs(pair.run())
            expected = pair.ask(theirs, pair.inputs)
            layers = list(_layers(states, expected.states))
            silent |= not layers
            for name, own, other in [*layers, *_results(found, states, expected)]:
                heard[name] = _worse(heard.get(name), _row(name, own, other))
    version = f"{type(theirs).__name__}, transformers {transformers.__version__}"
    return Beside(reference=version, inputs=len(pairs), rows=tuple(heard.values()), tolerance=tolerance, silent=silent)


def _reference(transformers: Any, folder: Path) -> Any:
    """Their model of the same files."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    told: dict[str, Any] = {"local_files_only": True, "dtype": torch.float32, "attn_implementation": "eager"}
    try:
        if is_gguf(folder):
            cls, told["gguf_file"], place = transformers.AutoModelForCausalLM, folder.name, folder.parent
        else:
            data = json.loads((folder / bundles.CONFIG).read_text(encoding="utf-8"))
            named = (data.get("architectures") or ["AutoModel"])[0]
            cls, place = getattr(transformers, named, transformers.AutoModel), folder
        return cls.from_pretrained(place, **told).eval()
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # whatever the other library raises: it is told as its answer
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RegardError("doctor.beside.reference", folder=folder, why=lines[0][:200].rstrip(".")) from error


@contextmanager
def listening(model: Any) -> Iterator[dict[str, list[Tensor]]]:
    """What goes into the first block of each stack, comes out of each, and comes out of the whole: past its norm."""
    heard: dict[str, list[Tensor]] = {}
    handles = []
    for side, stack in given.stacks(model):
        states = heard[side] = []
        handles.append(stack.register_forward_pre_hook(lambda _, inputs, into=states: into.append(inputs[0])))
        for block in stack.blocks:
            handles.append(block.register_forward_hook(lambda _, inputs, out, into=states: into.append(out)))
        handles.append(stack.register_forward_hook(lambda _, inputs, out, into=states: into.append(out)))
    if isinstance(model, Pyramid):
        for number, stage in enumerate(model.stages):
            states = heard[f"stage.{number}"] = []
            handles.append(
                cast(Any, stage)["stack"].register_forward_hook(lambda _, inputs, out, into=states: into.append(out))
            )
    yield heard
    for handle in handles:
        handle.remove()


def _layers(heard: dict[str, list[Tensor]], expected: given.States) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, ours, theirs) of each layer, where both have as many. The last one some references show before the
    stack's norm, some behind it: the one that is meant is the nearer."""
    for side, states in heard.items():
        if side.startswith("stage."):
            number, maps = int(side.removeprefix("stage.")), expected.get("stack", ())
            if number < len(maps):
                yield side, states[-1].mT.reshape(maps[number].shape), maps[number]
            continue
        theirs = expected.get(side, ())
        if len(theirs) != len(states) - 1:
            continue
        for number, (own, other) in enumerate(zip(states, theirs, strict=False)):
            if number == len(theirs) - 1 and _away(states[-1], other) < _away(own, other):
                own = states[-1]
            if own.shape == other.shape:
                yield f"{side}.{'in' if not number else number - 1}", own, other


def _away(own: Tensor, other: Tensor) -> float:
    return float((own - other).abs().max()) if own.shape == other.shape else float("inf")


def _results(
    found: dict[str, Tensor], heard: dict[str, list[Tensor]], expected: given.Shown
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, ours, theirs) of the outputs. A reference without a head shows its last states: ours are held against
    them, whatever our model makes of them."""
    for name, other in expected.outputs.items():
        if name != "states":
            yield name, found[name], other
            continue
        last = heard["stack"][-1] if heard.get("stack") else None
        own = found["output"] if last is None or last.shape != other.shape else last
        yield "output", own, other


def _row(name: str, own: Tensor, other: Tensor) -> Row:
    if own.shape != other.shape:
        if own.dim() == 2 < other.dim() and own.shape[-1] == other.shape[-1]:  # one vector of a whole text
            other = other[:, 0]
        elif own.numel() != other.numel():
            return Row(name, float("inf"), float(other.abs().max()))
    other = other.reshape(own.shape).float()
    return Row(name, float((own.float() - other).abs().max()), float(other.abs().max()))


def _worse(one: Row | None, other: Row) -> Row:
    return other if one is None or not other.relative <= one.relative else one
