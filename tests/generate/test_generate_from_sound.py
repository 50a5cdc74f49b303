"""Texts out of a memory that is no text: each row gets what it gets alone."""

from __future__ import annotations

import pytest
import torch

from regard import models
from regard.bundle import Bundle
from regard.errors import RegardError
from regard.generate import Given, Settings, generate
from regard.inputs.tokenizer import Tokenizer
from regard.ops.random import Key


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    tokenizer = Tokenizer.train("bytes", ["a"], 300)
    sizes = dict.fromkeys(("depth", "decoder_depth"), 1) | dict.fromkeys(("hidden", "decoder_hidden"), 17)
    sizes |= {"dim": 18, "heads": 3, "decoder_heads": 3, "mels": 5, "channels": 14, "context": 23}
    config = models.config("speech_to_text", {"vocab": tokenizer.size, "start": 2, **sizes})
    model = models.build(config, Key(3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(9.0)
    return Bundle(model, tokenizer, "speech_to_text", "seq2seq")


def test_sound_of_any_length_in_one_batch(bundle: Bundle) -> None:
    torch.manual_seed(5)
    prompts = [Given(torch.randn(length, 5)) for length in (29, 13, 14, 1, 29)]
    prompts[1] = Given(prompts[1].source, start=(2, 65, 66))
    settings = Settings(max_tokens=11, temperature=0)
    together = [each.tokens for each in generate(bundle, prompts, settings)]
    alone = [generate(bundle, [prompt], settings)[0].tokens for prompt in prompts]
    assert together == alone and len(set(together)) > 2


def test_a_model_of_sound_is_given_no_text(bundle: Bundle) -> None:
    with pytest.raises(RegardError, match=r"Prompt 1 .* audio"):
        generate(bundle, ["明月"], Settings(max_tokens=2))
