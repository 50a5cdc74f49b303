"""A model beside the reference implementation, on the user's own files: how far the two are apart, layer by layer.

    found = compare("my-model")
    found.rows, found.worst, found.within

The reference is `transformers`, if it is installed; it reads the same folder, offline, and no code out of it. What is
given to both goes by what the model reads: a new kind of input is one function in `_GIVEN`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regard import bundle as bundles
from regard import models
from regard.bundle import Bundle
from regard.errors import RegardError, need
from regard.layers import Context
from regard.models.transformer import EncoderDecoder
from regard.weights.gguf.container import is_gguf

TOLERANCE = 1e-4  # of the layer's largest number: rounding in float32, over some tens of layers
TEXTS = (
    "The quick brown fox isn't tired: it runs 3.14 miles, then sleeps.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "def f(x):\n    return x + 1  # naïve café",
)
LONGEST = 64  # tokens of a text
SIDES = ("encoder", "stack")


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
    reads = models.reads(ours.family, ours.model.config)
    if reads not in _GIVEN:
        raise RegardError("doctor.beside.reads", family=ours.family, reads=", ".join(reads))
    assert ours.folder is not None
    theirs = _reference(transformers, ours.folder)
    pairs = list(_GIVEN[reads](ours))
    heard: dict[str, Row] = {}
    silent = False
    with torch.no_grad():
        for inputs, run in pairs:
            with listening(ours.model) as states:
                output = run()
            expected = theirs(**inputs, output_hidden_states=True)
            layers = list(_layers(states, expected))
            silent |= not layers
            for name, own, other in [*layers, ("output", output, _output(expected))]:
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


Given = Iterator[tuple[dict[str, Any], Callable[[], Tensor]]]


def _text(ours: Bundle) -> Given:
    """Each text alone, so that nothing depends on padding; a decoder over an encoder is given the next one."""
    rows = [ours.tokenizer.encode(text, context=min(LONGEST, ours.context)) for text in TEXTS]
    rows = [[number for number in row if number < ours.model.config.vocab] or [0] for row in rows]
    for place, row in enumerate(rows):
        tokens = torch.tensor([row])
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        if isinstance(ours.model, EncoderDecoder):
            target = torch.tensor([rows[(place + 1) % len(rows)]])
            yield {**inputs, "decoder_input_ids": target}, lambda x=tokens, y=target: ours.model(x, y)
        elif ours.task == "choice":
            grouped = {name: one.unsqueeze(0) for name, one in inputs.items()}
            yield grouped, lambda x=tokens: ours.model(x, Context())
        else:
            yield inputs, lambda x=tokens: ours.model(x, Context())


def _image(ours: Bundle) -> Given:
    """Pixels drawn from a seed, of the size that the model was made for."""
    size = ours.model.config.image
    height, width = size if isinstance(size, tuple) else (size, size)
    generator = torch.Generator().manual_seed(7)
    for _ in range(2):
        pixels = torch.randn(1, ours.model.config.channels, height, width, generator=generator)
        yield {"pixel_values": pixels}, lambda x=pixels: ours.model(x, Context())


_GIVEN: dict[tuple[str, ...], Callable[[Bundle], Given]] = {("text",): _text, ("image",): _image}


@contextmanager
def listening(model: Any) -> Iterator[dict[str, list[Tensor]]]:
    """What goes into the first block of each stack, and comes out of each; the last as the stack gives it."""
    heard: dict[str, list[Tensor]] = {}
    handles = []
    for side in SIDES:
        stack = getattr(model, side, None)
        if stack is None or not hasattr(stack, "blocks"):
            continue
        states = heard[side] = []
        handles.append(stack.register_forward_pre_hook(lambda _, inputs, into=states: into.append(inputs[0])))
        for block in stack.blocks:
            handles.append(block.register_forward_hook(lambda _, inputs, out, into=states: into.append(out)))
        handles.append(stack.register_forward_hook(lambda _, inputs, out, into=states: into.__setitem__(-1, out)))
    yield heard
    for handle in handles:
        handle.remove()


def _layers(heard: dict[str, list[Tensor]], expected: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, ours, theirs) of each layer, where both have as many."""
    names = {"encoder": ("encoder_hidden_states",), "stack": ("decoder_hidden_states", "hidden_states")}
    for side, states in heard.items():
        theirs = next((one for name in names[side] if (one := getattr(expected, name, None)) is not None), None)
        if theirs is None or len(theirs) != len(states):
            continue
        for number, (own, other) in enumerate(zip(states, theirs, strict=True)):
            if own.shape == other.shape:
                yield f"{side}.{'in' if not number else number - 1}", own, other


def _output(expected: Any) -> Tensor:
    for name in ("logits", "pooler_output", "last_hidden_state"):
        if getattr(expected, name, None) is not None:
            return getattr(expected, name)
    return torch.stack((expected.start_logits, expected.end_logits), -1)


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
