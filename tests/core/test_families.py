"""Every family against the reference implementation, on random weights and prime sizes, in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch.testing import assert_close

from regard import models
from regard.layers import Context, Key
from regard.weights import folder as files
from regard.weights import table

REFERENCES = {
    "bert-language": lambda: transformers.BertForMaskedLM(_bert()),
    "bert-classify": lambda: transformers.BertForSequenceClassification(_bert(num_labels=3)),
    "bert-pool": lambda: transformers.BertModel(_bert()),
    "gpt2-language": lambda: transformers.GPT2LMHeadModel(_gpt2()),
    "gpt2-untied": lambda: transformers.GPT2LMHeadModel(_gpt2(tie_word_embeddings=False)),
    "gpt2-classify": lambda: transformers.GPT2ForSequenceClassification(_gpt2(num_labels=3, pad_token_id=0)),
    "qwen3-language": lambda: transformers.Qwen3ForCausalLM(_qwen3()),
    "qwen3-tied": lambda: transformers.Qwen3ForCausalLM(_qwen3(tie_word_embeddings=True, attention_bias=True)),
    "qwen3-window": lambda: transformers.Qwen3ForCausalLM(
        _qwen3(use_sliding_window=True, sliding_window=5, layer_types=["sliding_attention", "full_attention"])
    ),
    "qwen3-classify": lambda: transformers.Qwen3ForSequenceClassification(_qwen3(num_labels=3, pad_token_id=0)),
    "qwen3-linear": lambda: transformers.Qwen3ForCausalLM(_rope(rope_type="linear", factor=3.0)),
    "qwen3-yarn": lambda: transformers.Qwen3ForCausalLM(
        _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=7)
    ),
    "qwen3-llama3": lambda: transformers.Qwen3ForCausalLM(
        _rope(
            rope_type="llama3",
            factor=4.0,
            original_max_position_embeddings=11,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
        )
    ),
    "vaswani": lambda: transformers.MarianMTModel(_marian()),
}


def _bert(**more):
    sizes = {
        "vocab_size": 31,
        "hidden_size": 21,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 17,
    }
    return transformers.BertConfig(**sizes, max_position_embeddings=23, **more)


def _gpt2(**more):
    return transformers.GPT2Config(vocab_size=31, n_embd=21, n_layer=2, n_head=3, n_positions=23, n_inner=17, **more)


def _qwen3(**more):
    sizes = {"vocab_size": 31, "hidden_size": 13, "num_hidden_layers": 2, "num_attention_heads": 6}
    more = {"tie_word_embeddings": False} | more
    return transformers.Qwen3Config(**sizes, num_key_value_heads=2, head_dim=10, intermediate_size=17, **more)


def _rope(**scaling):
    return _qwen3(rope_parameters={"rope_theta": 10_000.0, **scaling}, max_position_embeddings=29)


def _marian(**more):
    sides = {}
    for side in ("encoder", "decoder"):
        sides |= {f"{side}_layers": 2, f"{side}_attention_heads": 3, f"{side}_ffn_dim": 17}
    more = {"scale_embedding": True, "activation_function": "relu"} | more
    ends = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2, "forced_eos_token_id": 1}
    return transformers.MarianConfig(vocab_size=31, d_model=42, max_position_embeddings=29, **sides, **ends, **more)


def randomised(reference: torch.nn.Module) -> torch.nn.Module:
    """Every weight, bias and norm random, so that none of them can be left out unseen."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in [*reference.named_parameters(), *reference.named_buffers()]:
            if tensor.is_floating_point() and "embed_positions" not in name and "inv_freq" not in name:
                spread = torch.empty_like(tensor).normal_(0.0, 0.3, generator=generator)
                tensor.copy_(spread + 1.0 if "norm" in name.lower() and "weight" in name else spread)
    reference.tie_weights()
    return reference.eval()


def theirs(reference: torch.nn.Module, tokens: torch.Tensor, lengths: list[int]):
    mask = (torch.arange(tokens.shape[1]) < torch.tensor(lengths).unsqueeze(1)).long()
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if reference.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = tokens.flip(1)
    out = reference(**inputs, output_hidden_states=True)
    return out


def read_back(reference: torch.nn.Module, folder: Path, **save):
    reference.save_pretrained(folder, **save)
    data = json.loads((folder / "config.json").read_text())
    module = models.family(models.of_type(data["model_type"]))
    config = module.read(data, "config.json")
    model = models.empty(config)
    table.read(module.TABLE, files.Folder(folder), model, str(folder))
    return module, model.eval()


@pytest.mark.parametrize("name", REFERENCES)
def test_reads_what_the_reference_writes(name: str, tmp_path: Path) -> None:
    reference = randomised(REFERENCES[name]())
    _, model = read_back(reference, tmp_path)
    tokens = torch.randint(3, 31, (3, 19), generator=torch.Generator().manual_seed(1))
    lengths = [19, 11, 1]
    with torch.no_grad():
        for row, length in zip(tokens, lengths, strict=True):
            row[length:] = 0
        expected = theirs(reference, tokens, lengths)
        context = Context.padded(lengths)
        ours = model(tokens, tokens.flip(1), context) if name == "vaswani" else model(tokens, context)
    if name.endswith("pool"):
        assert_close(ours, expected.pooler_output)
    elif name.endswith("classify"):
        assert_close(ours, expected.logits)
    else:
        for row, length in enumerate(lengths):
            real = 19 if name == "vaswani" else length
            assert_close(ours[row, :real], expected.logits[row, :real])


@pytest.mark.parametrize("name", [n for n in REFERENCES if n != "vaswani"])
def test_every_layer_agrees(name: str, tmp_path: Path) -> None:
    reference = randomised(REFERENCES[name]())
    _, model = read_back(reference, tmp_path)
    tokens = torch.randint(3, 31, (2, 13), generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []
    for block in model.stack.blocks:
        block.register_forward_hook(lambda _, inputs, out: seen.append(out))
    with torch.no_grad():
        model.hidden(tokens)
        expected = theirs(reference, tokens, [13, 13]).hidden_states
    for ours, other in zip(seen[:-1], expected[1:-1], strict=True):
        assert_close(ours, other)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_reference_reads_what_we_write(name: str, tmp_path: Path) -> None:
    reference = randomised(REFERENCES[name]())
    module, model = read_back(reference, tmp_path / "theirs", max_shard_size="5KB")
    out = tmp_path / "ours"
    out.mkdir()
    files.write(out, table.write(module.TABLE, model), shard=5_000)
    assert len(list(out.glob("*.safetensors"))) > 1
    (out / "config.json").write_text(json.dumps(module.write(model.config)))
    again, info = type(reference).from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
    for key, value in reference.config.to_dict().items():
        if key not in NOT_THE_MODELS and value is not None:
            written = getattr(again.config, key)
            assert (value.items() <= written.items()) if isinstance(value, dict) else written == value, key


# Which tokens begin, end and pad is the tokenizer's to say, and is written with it.
NOT_THE_MODELS = ("architectures", "_name_or_path", "dtype", "transformers_version", "initializer_range")
NOT_THE_MODELS += ("pad_token_id", "eos_token_id", "bos_token_id", "forced_eos_token_id")


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3", "vaswani"])
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
    reference = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**_gpt2().to_dict(), "vocab_size": 257}))
    reference.save_pretrained(tmp_path)
    loaded = bundle.load(tmp_path)
    assert loaded.tokenizer.pad == 257 and loaded.tokenizer.eos == 256
    bundle.save(tmp_path / "again", loaded)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert torch.equal(again.transformer.wte.weight, reference.transformer.wte.weight)
    assert json.loads((tmp_path / "again" / "config.json").read_text())["pad_token_id"] is None
