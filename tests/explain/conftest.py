"""Small random models of every shape with one tokenizer."""

from __future__ import annotations

import pytest
import torch

from regard import models
from regard.bundle import Bundle
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key

POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"
SIZES = {"context": 61, "dim": 28, "depth": 3, "hidden": 37}


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train("characters", [POEM], vocab=293)


@pytest.fixture(scope="session")
def make(tokenizer):
    """make("gpt") -> a bundle; weights large enough that attention is not even."""

    def made(kind: str, gain: float = 5.0) -> Bundle:
        family, task, more = {
            "gpt": ("gpt2", "causal-lm", {"heads": 7}),
            "grouped": ("qwen3", "causal-lm", {"attention": {"heads": 6, "kv_heads": 2, "head_dim": 4}}),
            "mlm": ("bert", "masked-lm", {"heads": 7}),
            "classifier": ("bert", "classification", {"heads": 7, "head": "classify", "labels": ("坏", "好", "平")}),
            "translator": ("vaswani", "seq2seq", {"heads": 7}),
        }[kind]
        labels = tuple(more.get("labels", ()))
        config = models.config(family, {"vocab": tokenizer.size, **SIZES, **more})
        model = models.build(config, Key(5)).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 2 and "blocks" in name:
                    parameter.mul_(gain)
        return Bundle(model, tokenizer, family, task, labels)

    return made
