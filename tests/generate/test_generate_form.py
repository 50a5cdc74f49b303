"""Texts held to a JSON schema or a regular expression, by real tokenizers."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import pytest
import torch

from regard.errors import MissingPackage, RegardError
from regard.generate import Rules, Search, Settings, generate
from regard.generate.choose import Chooser
from regard.generate.rows import History
from regard.inputs.tokenizer import Tokenizer

TEXTS = [
    "床前明月光，疑是地上霜。",
    '{"name": "moon", "age": 12, "tags": ["a", "b"]}',
    "the moon, the frost 0123456789",
]
PROMPTS = ["明月", "the moon", "age: "]
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"enum": ["moon", "月光"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
WAYS = {
    "greedy": Settings(temperature=0, max_tokens=60),
    "drawn": Settings(temperature=2.0, max_tokens=60, samples=3),
    "beams": Settings(beams=3, max_tokens=60),
    "contrast": Settings(top_k=3, max_tokens=60, search=Search(contrast=0.6)),
    "lookup": Settings(temperature=0, max_tokens=60, search=Search(guesses=3, lookup=2)),
}


@pytest.fixture(scope="module", params=["bpe", "characters"])
def bundle(request, tiny):
    tokenizer = Tokenizer.train(request.param, TEXTS * 3, vocab=330)
    return tiny.bundle("qwen3", vocab=tokenizer.size, tokenizer=tokenizer)


@pytest.mark.parametrize("way", list(WAYS))
def test_a_regular_expression_holds(bundle, way):
    settings = replace(WAYS[way], rules=Rules(regex="[0-9]{2,3} (moon|月光)!?"))
    texts = generate(bundle, PROMPTS, settings)
    for each in texts:
        assert each.reason == "eos" and re.fullmatch("[0-9]{2,3} (moon|月光)!?", each.text)
    for number, prompt in enumerate(PROMPTS):
        alone = generate(bundle, [prompt], settings)
        assert [each.tokens for each in texts if each.prompt == number] == [each.tokens for each in alone]


@pytest.mark.parametrize("way", list(WAYS))
def test_a_schema_holds(bundle, way):
    for each in generate(bundle, PROMPTS, replace(WAYS[way], rules=Rules(schema=SCHEMA))):
        found = json.loads(each.text)
        assert found["name"] in ("moon", "月光") and 0 <= found["age"] <= 99 and len(found) == 2


def test_a_bad_word_is_ruled_out_with_a_space_before_it_too(bundle):
    chooser = Chooser(bundle.tokenizer, Settings(rules=Rules(bad=("moon",))))
    for word in ("moon", " moon"):
        *before, last = bundle.tokenizer.encode(word, special=False)
        logits = chooser.ruled(torch.zeros(1, bundle.tokenizer.size), [History((1,), tuple(before))])
        assert logits[0, last] == -torch.inf and logits.isfinite().sum() >= bundle.tokenizer.size - 2


@pytest.mark.parametrize("rules", [{"regex": "(("}, {"schema": '{"type": "nonsense"}'}, {"schema": "{"}])
def test_forms_that_cannot_be_are_named(bundle, rules):
    with pytest.raises(RegardError, match=r"No text can be held|schema"):
        generate(bundle, ["a"], Settings(rules=Rules(**rules)))


def test_without_the_package_it_says_so(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingPackage, match=r"regard\[constrain\]"):
        generate(bundle, ["a"], Settings(rules=Rules(regex="a")))


def test_without_an_end_token_it_says_so(writer, tiny):
    bundle = tiny.bundle("qwen3")
    bundle.tokenizer.eos = None
    with pytest.raises(RegardError, match="no end token"):
        generate(bundle, ["a"], Settings(rules=Rules(regex="a")))
