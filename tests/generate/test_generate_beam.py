"""Beam search against every possible text, and against transformers."""

from __future__ import annotations

import pytest
import torch
import transformers
from every_text import Digits, every_text

from regard.generate import Search, Settings, generate
from regard.models import gpt2
from regard.weights import table


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_wide_enough_beams_find_the_best_of_all_texts(tiny, seed, length_penalty):
    bundle = tiny.bundle("gpt2", seed=seed, vocab=Digits.size)
    bundle.tokenizer = Digits()
    settings = Settings(beams=500, samples=7, max_tokens=3, search=Search(length_penalty=length_penalty))
    texts = generate(bundle, ["23", "4"], settings)
    for number, prompt in enumerate([[1, 2, 3], [1, 4]]):
        mine = [each for each in texts if each.prompt == number]
        best = every_text(bundle.model, prompt, Digits.eos, 3, Digits.size, length_penalty)[:7]
        assert [each.tokens for each in mine] == [tokens for _, tokens, _ in best]
        assert [each.logprob for each in mine] == pytest.approx([logprob for *_, logprob in best], abs=1e-4)


@pytest.fixture(scope="module")
def twins(tiny):
    """The same random GPT-2 twice: ours, and transformers' with our weights."""
    bundle = tiny.bundle("gpt2", seed=7)
    ours = bundle.model.config
    sizes = {
        "n_embd": ours.dim,
        "n_layer": ours.depth,
        "n_head": ours.heads,
        "n_positions": ours.context,
        "n_inner": ours.hidden,
    }
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=tiny.size, **sizes)).eval()
    theirs.load_state_dict(table.write(gpt2.TABLE, bundle.model), strict=False)
    return bundle, theirs


@pytest.mark.parametrize("beams", [2, 3, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beams_like_transformers(twins, beams, length_penalty):
    bundle, theirs = twins
    for prompt in ["abc", "the moon", "明月"]:
        tokens = [bundle.tokenizer.bos, *bundle.tokenizer.encode(prompt, special=False)]
        expected = theirs.generate(
            torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            num_beams=beams,
            num_return_sequences=beams,
            max_new_tokens=23,
            length_penalty=length_penalty,
            do_sample=False,
            eos_token_id=bundle.tokenizer.eos,
            pad_token_id=bundle.tokenizer.pad,
        )[:, len(tokens) :]
        settings = Settings(beams=beams, samples=beams, max_tokens=23, search=Search(length_penalty=length_penalty))
        texts = generate(bundle, [prompt], settings)
        assert [list(each.tokens) for each in texts] == [without_padding(row, bundle.tokenizer) for row in expected]


def without_padding(row: torch.Tensor, tokenizer) -> list[int]:
    tokens = row.tolist()
    return tokens[: tokens.index(tokenizer.eos) + 1] if tokenizer.eos in tokens else tokens
