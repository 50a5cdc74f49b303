"""What every family's file promises beside what tests/families shows: defaults that round trip, values from a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from regard import models
from regard.layers import Key


@pytest.mark.parametrize("family", models.families())
def test_a_config_says_the_same_after_a_round_trip(family: str) -> None:
    module = models.family(family)
    config = module.Config()
    assert module.read(module.write(config), "config.json") == config


def test_initial_values_depend_on_the_key_alone() -> None:
    config = models.config("qwen3", TINY)
    first, second = (dict(models.build(config, Key(3)).named_parameters()) for _ in range(2))
    other = dict(models.build(config, Key(5)).named_parameters())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embed.tokens.weight"], other["embed.tokens.weight"])


TINY = {
    "vocab": 31,
    "context": 29,
    "dim": 13,
    "depth": 2,
    "hidden": 17,
    "attention": {"heads": 6, "kv_heads": 2, "head_dim": 10},
}


def test_gpt2_as_it_is_published_has_no_pad_token_of_its_own(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Raw
    from tokenizers import decoders, pre_tokenizers
    from tokenizers import models as raw_models

    from regard import bundle

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Raw(raw_models.BPE({piece: number for number, piece in enumerate([*alphabet, "<|endoftext|>"])}, []))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>").save_pretrained(tmp_path)
    reference = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=257, n_embd=21, n_layer=2, n_head=3, n_positions=23)
    )
    reference.save_pretrained(tmp_path)
    loaded = bundle.load(tmp_path)
    assert loaded.tokenizer.pad == 257 and loaded.tokenizer.eos == 256
    bundle.save(tmp_path / "again", loaded)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert torch.equal(again.transformer.wte.weight, reference.transformer.wte.weight)
    assert json.loads((tmp_path / "again" / "config.json").read_text())["pad_token_id"] is None
