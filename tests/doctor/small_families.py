"""Every family that reads text alone, small and with random weights: a new one is a row of CHANGES at most."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import torch
from torch import Tensor

from regard import models
from regard.bundle import Bundle
from regard.errors import ConfigError
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key

SPEAKS = ("speecht5",)  # it writes sound
FAMILIES = [name for name in models.families() if models.reads(name) == ("text",) and name not in SPEAKS]
CONTEXT = 61
SMALL = {  # whichever of these a family's config has
    "context": CONTEXT,
    "dim": 30,
    "depth": 2,
    "decoder_depth": 2,
    "heads": 3,
    "decoder_heads": 3,
    "head_dim": 10,
    "hidden": 37,
    "decoder_hidden": 37,
    "width": 14,
    "rotary": 4,
    "buckets": 8,
    "furthest": 11,
    "attention": {"heads": 6, "kv_heads": 2, "head_dim": 10},
    "dropout": 0.1,
    "head": "language",
}
_GROUPED = {"heads": 6, "kv_heads": 2, "head_dim": 10}
CHANGES: dict[str, dict[str, Any]] = {  # what a family needs otherwise
    "adaptive_span": {"longest": 7, "ramp": 4},
    "bloom": {"hidden": 4 * SMALL["dim"]},
    "deepseek_v3": {
        "attention": {"heads": 3, "plain": 5, "turned": 6, "value_dim": 13, "kv_rank": 7, "q_rank": 11},
        "moe": {"experts": 6, "top": 3, "hidden": 11, "groups": 3, "best_groups": 2, "first": 1},
    },
    "gemma2": {"attention": {**_GROUPED, "window": 5, "local": [0]}},
    "gemma3": {"attention": {**_GROUPED, "window": 5, "local": [0]}},
    "gpt_neo": {"window": 5, "local": [1]},
    "led": {"window": [6, 6], "decoder_context": CONTEXT},
    "longformer": {"window": [6, 6]},
    "mixtral": {"experts": 5, "top": 2},
    "modernbert": {"every": 2, "bases": {"window": 6}},
    "openai_gpt": {"hidden": 4 * SMALL["dim"]},
    "olmo2": {"dim": 60},
    "phi": {"dim": 60, "attention": {"heads": 6, "kv_heads": 6, "head_dim": 10}},
    "phi3": {"dim": 60},
    "qwen3_moe": {"experts": 5, "top": 2, "narrow": 11},
    # As its files are: exact. The inverse that landmarks need triples what rounding does, past what is asked here.
    "nystromformer": {"kernel": 3},
    # Seen from both sides: what a hash brings together depends on what comes later, which is the method's own.
    "reformer": {"causal": False, "kinds": ["local", "lsh"], "buckets": None, "hashes": 2, "grid": [16, 16]}
    | {"parts": [13, 17], "local": {"size": 6, "after": 1}, "lsh": {"size": 4, "dropout": 0.1}},
}
LABELS = ("bad", "good", "neither")
WORDS = "the old bridge was closed for winter 今天天气很好我们去公园散步 She opened a letter and smiled 床前明月光"


@cache
def tokenizer() -> Tokenizer:
    """Any text; every special token that a task may want."""
    return Tokenizer.train("characters", [WORDS], vocab=311, specials=SPECIALS)


SPECIALS = {
    "pad": "<|pad|>", "bos": "<|bos|>", "eos": "<|eos|>", "mask": "<|mask|>", "cls": "<|bos|>", "sep": "<|eos|>",
}  # fmt: skip


def small(family: str, *, classify: bool = False, spread: float = 0.2, **more: Any) -> Bundle:
    """A model with large random weights, none of which can be left out unseen."""
    values = _values(family) | more
    if classify:
        values |= {"head": "classify", "labels": LABELS}
    model = models.build(models.config(family, values), Key(3)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.empty_like(parameter).normal_(0.0, spread, generator=generator)
            norm = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(drawn + 1.0 if norm else drawn)
    labels = LABELS if classify else ()
    return Bundle(model, tokenizer(), family, "classification" if classify else task_of(model), labels)


def _values(family: str) -> dict[str, Any]:
    known = {field.name for field in fields(models.family(family).Config)}
    values = SMALL | {"vocab": tokenizer().size, "pad": tokenizer().pad, "start": tokenizer().bos}
    return {key: value for key, value in values.items() if key in known} | CHANGES.get(family, {})


def task_of(model: Any) -> str:
    """What a model of this shape is for."""
    if hasattr(model, "encode"):
        return "seq2seq"
    return "causal-lm" if model.mask.causal else "masked-lm"


@cache
def usual(family: str) -> str:
    """The task of a family's language model."""
    return small(family).task


def writers() -> list[str]:
    """The families that predict next tokens."""
    return [name for name in FAMILIES if _known(name) != "masked-lm"]


def classifiers() -> list[str]:
    """The families whose models may give classes for one text."""
    return [name for name in FAMILIES if _known(name) != "seq2seq" and _may_classify(name)]


def _known(family: str) -> str | None:
    """None for a family that needs a row: its own tests say so, and no others."""
    try:
        return usual(family)
    except Exception:
        return None


def _may_classify(family: str) -> bool:
    try:
        models.config(family, _values(family) | {"head": "classify", "labels": LABELS})
    except ConfigError as error:
        return "head is 'classify'" not in str(error)
    return True


def some_tokens(*shape: int, seed: int = 1) -> Tensor:
    """No special token among them."""
    return torch.randint(20, tokenizer().size, shape, generator=torch.Generator().manual_seed(seed))
