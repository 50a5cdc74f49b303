"""Texts through real tokenizers: whole characters, the same streamed or not, going on where the prompt ends."""

from __future__ import annotations

import pytest

from regard.generate import Settings, generate
from regard.inputs.tokenizer import KINDS, Tokenizer

TEXTS = [
    "床前明月光，疑是地上霜。",
    "举头望明月，低头思故乡。",
    "the moon, the frost; the moon!",
    "a low bow and a thought",
]
PROMPTS = ["明月", "the moon", "霜 a 🌙"]


@pytest.fixture(scope="module", params=KINDS)
def bundle(request, tiny):
    tokenizer = Tokenizer.train(request.param, TEXTS * 3, vocab=330)
    return tiny.bundle("qwen3", vocab=tokenizer.size, tokenizer=tokenizer)


@pytest.mark.parametrize("stop", [(), ("e", "明")])
def test_pieces_are_whole_characters_and_joined_are_the_text(bundle, stop):
    pieces = {}
    settings = Settings(temperature=1.3, max_tokens=37, samples=3, stop=stop)
    texts = generate(bundle, PROMPTS, settings, lambda p, s, piece: pieces.setdefault((p, s), []).append(piece))
    for each in texts:
        assert "".join(pieces.get((each.prompt, each.sample), [])) == each.text
        assert "\ufffd" not in each.text
        assert not any(stop in each.text for stop in stop)
    assert max(len(some) for some in pieces.values()) > 5


def test_a_text_goes_on_where_its_prompt_ends(bundle):
    """The text stands after the prompt as the two together are decoded: no space is lost between them."""
    for prompt in PROMPTS:
        start = bundle.tokenizer.encode(prompt)[:-1]
        for each in generate(bundle, [prompt], Settings(max_tokens=5, samples=17)):
            together = bundle.tokenizer.decode([*start, *each.tokens])
            assert together == bundle.tokenizer.decode(start) + each.text
