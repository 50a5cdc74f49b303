"""GGUF files beside llama.cpp's own Python package: every block type to the bit, models both ways, tokenizers."""

from __future__ import annotations

import json
import re
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file

from regard import bundle, export, models
from regard.bundle import Bundle
from regard.errors import BadFileError, ConfigError, RegardError
from regard.inputs.gguf import KEY, ends
from regard.inputs.marks import Marks
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Context, Key
from regard.weights.gguf import blocks, names
from regard.weights.gguf.container import open_file

QUANTISED = [number for number, kind in blocks.TYPES.items() if kind.block > 1]
TEXTS = ["the quick brown fox jumps over the lazy dog 1234567890", "今天天气很好，我们去看花。", "naïve café 😀"] * 9
CONFIGS = {
    "llama": {"kind": "llama", "attention": {"heads": 6, "kv_heads": 2, "head_dim": 8}},
    "qwen2": {"kind": "qwen2", "attention": {"heads": 6, "kv_heads": 2, "head_dim": 8, "bias": True}},
    "llama3 ropes": {
        "kind": "llama",
        "attention": {
            "heads": 6, "kv_heads": 2, "head_dim": 8,
            "rope": {"base": 500_000.0, "scaling": "llama3", "factor": 8.0, "original": 8192, "low": 1.0, "high": 4.0},
        },
    },
    "linear ropes": {
        "kind": "llama",
        "attention": {"heads": 6, "kv_heads": 2, "head_dim": 8, "rope": {"scaling": "linear", "factor": 3.0}},
    },
    "qwen3": {"attention": {"heads": 6, "kv_heads": 2, "head_dim": 16}},
    "gpt2": {"heads": 6},
    "mixtral": {"attention": {"heads": 6, "kv_heads": 2, "head_dim": 8}, "experts": 3, "top": 2},
    "qwen3_moe": {
        "attention": {"heads": 6, "kv_heads": 2, "head_dim": 16}, "experts": 5, "top": 2, "narrow": 32,
        "renormalise": True,
    },
    "phi": {"attention": {"heads": 6, "kv_heads": 3, "head_dim": 8, "rope": {"share": 0.5}}},
    "phi3": {"attention": {"heads": 6, "kv_heads": 2, "head_dim": 8, "window": 7, "local": [0, 1]}},
    "phi3 long": {
        "attention": {
            "heads": 6, "kv_heads": 2, "head_dim": 8, "rope": {
                "share": 0.75, "scaling": "longrope", "factor": 4.0, "original": 16, "long": [1.0, 2.5, 3.1],
                "short": [1.0, 1.1, 1.25],
            },
        },
    },
    "gpt_neox": {"heads": 6, "rope": {"share": 0.25, "base": 20_000.0}},
    "bloom": {"heads": 6, "hidden": 192},
}  # fmt: skip
# What a family has no use for, or what is derived again.
SPARE = ("vocab_size", "feed_forward_length")
FAMILIES = {"qwen2": "llama", "llama3 ropes": "llama", "linear ropes": "llama", "phi3 long": "phi3"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """As GPT-2's: the rule for words is one that llama.cpp has a name for, which that of `Tokenizer.train` is not."""
    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = tokenizers.decoders.ByteLevel()
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    names = ["<|pad|>", "<|bos|>", "<|eos|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=names, initial_alphabet=letters, show_progress=False
    )
    rust.train_from_iterator(TEXTS, trainer)
    folder = tmp_path_factory.mktemp("words")
    rust.save(str(folder / "tokenizer.json"))
    settings = {f"{role}_token": f"<|{role}|>" for role in ("pad", "bos", "eos")}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Tokenizer.load(folder)


def test_a_rule_for_words_that_llama_cpp_does_not_know_is_refused(tmp_path):
    """It would cut texts otherwise, and nobody would be told."""
    own = Tokenizer.train("bpe", TEXTS, 300)
    with pytest.raises(BadFileError, match="no place in a GGUF file"):
        export.export(made("llama", own), tmp_path / "m.gguf", "gguf")
    assert not (tmp_path / "m.gguf").exists()


def made(name: str, tokenizer: Tokenizer, **more: object) -> Bundle:
    family = FAMILIES.get(name, name)
    sizes = {"vocab": tokenizer.size, "context": 64, "dim": 48, "depth": 2, "hidden": 96}
    config = models.config(family, {**sizes, **CONFIGS.get(name, {}), **more})
    model = models.build(config, Key(3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, so that none can be mixed up unseen
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return Bundle(model, tokenizer, family, "causal-lm")


def copy_metadata(ours: Any, writer: gguf.GGUFWriter) -> None:
    for key, value in ours.metadata.items():
        if key == "general.architecture":
            continue
        if isinstance(value, list | array):
            writer.add_array(key, list(value))
        else:
            writer.add_key_value(key, value, gguf.GGUFValueType(ours.kinds[key]))


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("number", QUANTISED, ids=lambda number: blocks.TYPES[number].name)
def test_every_block_type_is_decoded_to_the_bit(number):
    kind = blocks.TYPES[number]
    raw = np.random.default_rng(number).integers(0, 256, (257, kind.bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):  # any 16 bits may be a scale, infinite ones too
        wanted = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(number))
        found = blocks.decode(kind, memoryview(raw.tobytes()), wanted.shape).numpy()
    assert kind.name == gguf.GGMLQuantizationType(number).name
    np.testing.assert_array_equal(found, wanted)


def test_q8_0_is_encoded_to_the_bit():
    values = torch.randn(37, 96, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-3, 1.0, 40.0]).repeat(
        32
    )
    values[5] = 0
    wanted = gguf.quants.quantize(values.numpy(), gguf.GGMLQuantizationType.Q8_0)
    assert blocks.encode(blocks.named("Q8_0"), values) == wanted.tobytes()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_goes_out_and_comes_back_to_the_bit(name, tied, tokenizer, tmp_path):
    before = made(name, tokenizer, **({} if name == "gpt2" else {"tied": tied}))
    written = export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    after = bundle.load(tmp_path / "m.gguf")
    assert written.largest == 0.0 and after.model.config == before.model.config
    tokens = torch.arange(1, 38)[None] % tokenizer.size
    with torch.no_grad():
        assert torch.equal(after.model(tokens, Context()), before.model(tokens, Context()))


def test_a_mistral_without_a_window_is_a_llama_there(tokenizer, tmp_path):
    attention = {"heads": 6, "kv_heads": 2, "head_dim": 16}
    before = made("llama", tokenizer, kind="mistral", attention=attention)
    export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    after = bundle.load(tmp_path / "m.gguf")
    assert after.model.config == replace(before.model.config, kind="llama")
    for one, other in zip(after.model.parameters(), before.model.parameters(), strict=True):
        assert torch.equal(one, other)
    windowed = made("llama", tokenizer, kind="mistral", attention={**attention, "window": 7, "local": [0, 1]})
    with pytest.raises(BadFileError, match="mistral"):
        export.export(windowed, tmp_path / "w.gguf", "gguf", "F32")
    assert not (tmp_path / "w.gguf").exists()


# What llama.cpp's own list of names makes of Hugging Face's.
NAMED = {"mixtral": "LLAMA", "qwen3_moe": "QWEN3MOE", "phi": "PHI2", "phi3": "PHI3", "gpt_neox": "GPTNEOX",
         "bloom": "BLOOM", "llama": "LLAMA", "qwen3": "QWEN3", "gpt2": "GPT2"}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_llama_cpps_list_has_the_same_names(name, tokenizer, tmp_path):
    before = made(name, tokenizer)
    export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    stored = {tensor.name: tensor.data.shape for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH[NAMED[name]], 2)
    bundle.save(tmp_path / "hf", before)
    wanted = {}
    for theirs, tensor in load_file(tmp_path / "hf" / "model.safetensors").items():
        plain = theirs.removeprefix("transformer.") if name == "bloom" else theirs
        merged = re.sub(r"(experts)\.\d+\.", r"\1.", plain)  # as their converter calls what it has put together
        found = known.get_name(merged, try_suffixes=(".weight", ".bias"))
        assert found is not None, theirs
        shape = tuple(tensor.shape)
        wanted[found] = (*([CONFIGS[name]["experts"]] if merged != plain else []), *shape)
    if name == "gpt2":  # stored the other way round
        wanted = {key: shape[::-1] if "blk" in key else shape for key, shape in wanted.items()}
    assert stored == wanted


@pytest.mark.parametrize("name", ["gpt_neox", "bloom"])
def test_queries_keys_and_values_are_stored_one_after_the_other(name, tokenizer, tmp_path):
    before = made(name, tokenizer)
    export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    attention = before.model.stack.blocks[1].attention
    for end in ("weight", "bias"):
        parts = [getattr(getattr(attention, one), end).detach().numpy() for one in "qkv"]
        np.testing.assert_array_equal(stored[f"blk.1.attn_qkv.{end}"], np.concatenate(parts))


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_experts_are_one_tensor_of_which_each_is_a_part(kind, tokenizer, tmp_path):
    before = made("mixtral", tokenizer)
    export.export(before, tmp_path / "m.gguf", "gguf", kind)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    one = stored["blk.1.ffn_up_exps.weight"]
    read = gguf.quants.dequantize(one.data, one.tensor_type)
    theirs = bundle.load(tmp_path / "m.gguf").model.stack.blocks[1].feed_forward.experts.up.weight
    np.testing.assert_array_equal(read.reshape(theirs.shape), theirs.detach().numpy())
    assert read.shape == (3, 96, 48)


def test_phi_3_s_two_lists_of_factors_and_what_follows_from_them(tokenizer, tmp_path):
    export.export(made("phi3 long", tokenizer), tmp_path / "m.gguf", "gguf", "F32")
    read = gguf.GGUFReader(tmp_path / "m.gguf")
    stored = {tensor.name: tensor.data.tolist() for tensor in read.tensors}
    assert stored["rope_factors_long.weight"] == pytest.approx([1.0, 2.5, 3.1])
    assert stored["rope_factors_short.weight"] == pytest.approx([1.0, 1.1, 1.25])
    assert read.fields["phi3.rope.dimension_count"].contents() == 6
    assert read.fields["phi3.rope.scaling.original_context_length"].contents() == 16
    assert read.fields["phi3.attention.sliding_window"].contents() == 0
    loud = (1 + np.log(64 / 16) / np.log(16)) ** 0.5
    assert read.fields["phi3.rope.scaling.attn_factor"].contents() == pytest.approx(loud)
    ours = open_file(tmp_path / "m.gguf")
    lying = {**ours.metadata, "phi3.rope.scaling.attn_factor": 1.5}
    with pytest.raises(BadFileError, match="attn_factor"):
        names.config(type(ours)(ours.path, lying, ours.kinds, ours.tensors, ours.bytes))


def test_older_files_have_a_tensor_for_each_expert(tokenizer, tmp_path):
    before = made("mixtral", tokenizer)
    export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    ours = open_file(tmp_path / "m.gguf")
    writer = gguf.GGUFWriter(tmp_path / "older.gguf", "llama")
    copy_metadata(ours, writer)
    for tensor, info in ours.tensors.items():
        read = blocks.decode(info.type, ours.raw(tensor), info.shape).numpy()
        if "_exps" in tensor:
            for expert, part in enumerate(read):
                writer.add_tensor(tensor.replace("_exps", f".{expert}"), part)
        else:
            writer.add_tensor(tensor, read)
    finish(writer)
    after = bundle.load(tmp_path / "older.gguf")
    for one, other in zip(after.model.parameters(), before.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_experts_that_are_miscounted_are_refused(tokenizer, tmp_path):
    export.export(made("mixtral", tokenizer), tmp_path / "m.gguf", "gguf", "F32")
    raw = (tmp_path / "m.gguf").read_bytes()
    key = b"llama.expert_count" + (4).to_bytes(4, "little")
    assert raw.count(key) == 1
    at = raw.index(key) + len(key)
    (tmp_path / "m.gguf").write_bytes(raw[:at] + (4).to_bytes(4, "little") + raw[at + 4 :])
    with pytest.raises(BadFileError, match=r"experts\.3\.w1"):
        bundle.load(tmp_path / "m.gguf")


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_types_of_fewer_bits_stay_within_their_bounds(kind, tokenizer, tmp_path):
    written = export.export(made("llama", tokenizer), tmp_path / "m.gguf", "gguf", kind)
    assert 0 < written.largest <= export.BOUNDS[kind]


def test_eight_bits_are_as_far_away_as_they_may_be(tokenizer, tmp_path):
    """Half a step of 127, and the step itself rounded to 11 bits: at worst together."""
    before = made("llama", tokenizer)
    weight = before.model.stack.blocks[0].feed_forward.down.weight
    scale = (1 + 0.999 * 2.0**-11) * 2.0**-6  # rounded down by nearly half a step of float16
    with torch.no_grad():
        weight.fill_(125.5 * scale * 0.9999).view(-1)[::32] = 127 * scale
    written = export.export(before, tmp_path / "m.gguf", "gguf", "Q8_0")
    assert 0.0043 < written.largest <= export.BOUNDS["Q8_0"]


def test_norms_that_are_kept_plus_one_may_lose_their_last_bit_and_no_more(tokenizer, tmp_path):
    attention = {"heads": 6, "kv_heads": 2, "head_dim": 16, "window": 32, "local": [0], "scale": 16}
    before = made("gemma2", tokenizer, attention=attention)
    export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    read = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    norm = before.model.stack.blocks[0].attention_before.weight.detach()
    np.testing.assert_array_equal(read["blk.0.attn_norm.weight"], (norm + 1).numpy())
    after = dict(bundle.load(tmp_path / "m.gguf").model.named_parameters())
    for name, tensor in before.model.named_parameters():
        bound = 2.0**-22 if tensor.dim() == 1 else 0.0
        assert float((after[name] - tensor).abs().max().detach()) <= bound, name


def test_llama_cpps_reader_finds_what_was_written(tokenizer, tmp_path):
    before = made("llama", tokenizer)
    export.export(before, tmp_path / "m.gguf", "gguf", "Q8_0")
    read = gguf.GGUFReader(tmp_path / "m.gguf")
    stored = {tensor.name: tensor for tensor in read.tensors}
    wanted = set(gguf.MODEL_TENSORS[gguf.MODEL_ARCH.LLAMA])
    known = {gguf.TENSOR_NAMES[kind].format(bid=layer) + ".weight" for kind in wanted for layer in range(2)}
    assert stored.keys() <= known
    table = stored["token_embd.weight"]
    assert table.tensor_type == gguf.GGMLQuantizationType.F32 or table.shape.tolist() == [48, tokenizer.size]
    value = gguf.quants.dequantize(stored["blk.0.ffn_norm.weight"].data, gguf.GGMLQuantizationType.F32)
    own = before.model.stack.blocks[0].feed_forward_before.weight.detach().numpy()
    np.testing.assert_array_equal(value, own)
    assert read.fields["llama.attention.head_count_kv"].contents() == 2
    assert read.fields["tokenizer.ggml.pre"].contents() == "gpt-2"


def test_q_and_k_are_stored_in_pairs(tokenizer, tmp_path):
    """llama.cpp turns neighbours, we turn halves: row 2 i + s of a head there is row i + s K/2 here."""
    before = made("llama", tokenizer)
    export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    own = before.model.stack.blocks[1].attention.k.weight.detach().numpy().reshape(2, 8, 48)
    theirs = stored["blk.1.attn_k.weight"].reshape(2, 8, 48)
    for pair in range(4):
        np.testing.assert_array_equal(theirs[:, 2 * pair], own[:, pair])
        np.testing.assert_array_equal(theirs[:, 2 * pair + 1], own[:, pair + 4])


@pytest.mark.parametrize("name", ["qwen2", "llama3 ropes"])
def test_a_file_by_llama_cpps_writer_is_read(name, tokenizer, tmp_path):
    """Written by their package out of our tensors; the words are ours, the bytes theirs."""
    before = made(name, tokenizer)
    export.export(before, tmp_path / "ours.gguf", "gguf", "F32")
    ours = open_file(tmp_path / "ours.gguf")
    architecture = ours.metadata["general.architecture"]
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", architecture)
    copy_metadata(ours, writer)
    for tensor, info in ours.tensors.items():
        writer.add_tensor(tensor, blocks.decode(info.type, ours.raw(tensor), info.shape).numpy())
    finish(writer)
    after = bundle.load(tmp_path / "theirs.gguf")
    assert after.model.config == before.model.config
    for one, other in zip(after.model.parameters(), before.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_tokenizer_is_the_same(tokenizer, tmp_path):
    export.export(made("llama", tokenizer), tmp_path / "m.gguf", "gguf", "F32")
    after = Tokenizer.load(tmp_path / "m.gguf")
    draw = np.random.default_rng(0)
    texts = [*TEXTS, "<|eos|>", "", "  two  spaces\n\ttab"]
    texts += ["".join(chr(int(c)) for c in draw.integers(1, 0xD000, 20)) for _ in range(200)]
    for text in texts:
        assert after.encode(text) == tokenizer.encode(text)
        assert after.decode(after.encode(text)) == text
    assert (after.bos, after.eos, after.pad) == (tokenizer.bos, tokenizer.eos, tokenizer.pad)


def test_sentence_piece_scores_become_merges(tmp_path):
    """The best-scored piece is made first, as SentencePiece's search does; what no piece spells is spelled in bytes."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "a",
        "b",
        "ab",
        "ba",
        "▁ab",
        "bab",
    ]
    types = [2, 3, 3, *[6] * 256, *[1] * 7]
    scores = [0.0] * 259 + [-9.0, -8.0, -8.5, -2.0, -1.0, -3.0, -0.5]
    writer = gguf.GGUFWriter(tmp_path / "t.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_types(types)
    writer.add_token_scores(scores)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    read = Tokenizer.load(tmp_path / "t.gguf")
    spelled = [read.pieces([number])[0] for number in read.encode("abab", special=False)]
    assert read.encode("a b")[0] == 1  # bos stands before, as llama.cpp has it
    assert [read._rust.id_to_token(n) for n in read.encode("abab", special=False)] == ["▁", "a", "bab"], spelled
    assert read.decode(read.encode("ab字ba")) == "ab字ba"


def test_what_is_not_understood_is_refused_by_name(tokenizer, tmp_path):
    export.export(made("llama", tokenizer), tmp_path / "m.gguf", "gguf", "F32")
    ours = open_file(tmp_path / "m.gguf")
    for key, value, says in [
        ("general.architecture", "mamba", "'mamba'"),
        ("llama.attention.temperature", 2.0, "llama.attention.temperature"),
        ("llama.expert_weights_scale", 2.5, "llama.expert_weights_scale"),
        ("llama.attention.head_count", array("I", [6, 6]), r"attention.head_count = \[6, 6\]"),
        ("llama.block_count", 10**9, "num_hidden_layers"),
        ("llama.rope.dimension_count", 4, "key_length"),
        ("llama.rope.scaling.type", "su", "rope.scaling.type"),
        ("split.count", 3, "3 parts"),
    ]:
        changed = type(ours)(ours.path, {**ours.metadata, key: value}, {**ours.kinds, key: 4}, ours.tensors, ours.bytes)
        with pytest.raises(BadFileError, match=says):
            names.config(changed)


def test_export_refuses_what_it_cannot_do(tokenizer, tmp_path):
    before = made("llama", tokenizer)
    for wrong in (("exe", None), ("gguf", "Q2_K")):
        with pytest.raises(ConfigError):
            export.export(before, tmp_path / "x", *wrong)
    (tmp_path / "there").write_text("mine")
    with pytest.raises(RegardError, match="there already"):
        export.export(before, tmp_path / "there", "gguf")
    assert (tmp_path / "there").read_text() == "mine"
    bert = models.config("bert", {"vocab": 300, "context": 32, "dim": 24, "depth": 1, "heads": 2, "hidden": 48})
    with pytest.raises(BadFileError, match="bert"):
        export.export(Bundle(models.build(bert), tokenizer, "bert", "masked-lm"), tmp_path / "y.gguf", "gguf")
    assert not (tmp_path / "y.gguf").exists()


def test_what_reads_back_otherwise_is_removed(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(export.BOUNDS, "F16", 0.0)
    with pytest.raises(RegardError, match="was removed"):
        export.export(made("llama", tokenizer), tmp_path / "m.gguf", "gguf", "F16")
    assert not (tmp_path / "m.gguf").exists()


def test_what_else_ends_a_turn_is_known(tokenizer, tmp_path):
    """By the file's own word, and by the usual names of control tokens, as llama.cpp finds them."""
    before = made("llama", tokenizer)
    named = replace(before, marks=Marks(ends=(tokenizer.eos, 77, 91)))
    export.export(named, tmp_path / "said.gguf", "gguf", "F32")
    assert bundle.load(tmp_path / "said.gguf").marks.ends == (77, 91)
    document = tokenizer.document()
    document["added_tokens"][1]["content"] = "<|im_end|>"
    bundle.save(tmp_path / "hf", before)
    document["model"]["vocab"]["<|im_end|>"] = document["model"]["vocab"].pop("<|bos|>")
    (tmp_path / "hf" / "tokenizer.json").write_text(json.dumps(document))
    config = tmp_path / "hf" / "tokenizer_config.json"
    config.write_text(config.read_text().replace("<|bos|>", "<|im_end|>"))
    export.export(bundle.load(tmp_path / "hf"), tmp_path / "usual.gguf", "gguf", "F32")
    loaded = bundle.load(tmp_path / "usual.gguf")
    assert loaded.marks.ends == (tokenizer.bos,)
    ours = open_file(tmp_path / "said.gguf")
    lying = type(ours)(ours.path, {**ours.metadata, KEY + "eot_token_id": 10**6}, ours.kinds, ours.tensors, ours.bytes)
    with pytest.raises(BadFileError, match="eot_token_id"):
        ends(lying)


def test_what_is_advised_about_drawing_travels(tokenizer, tmp_path):
    said = (("min_p", 0.05), ("temperature", 0.6), ("top_k", 20), ("top_p", 0.95))
    before = replace(made("llama", tokenizer), marks=Marks(advice=(("num_beams", 3), *said)))
    export.export(before, tmp_path / "m.gguf", "gguf", "F32")
    assert bundle.load(tmp_path / "m.gguf").marks.advice == said
    kept = gguf.GGUFReader(tmp_path / "m.gguf").fields
    assert kept["general.sampling.top_k"].contents() == 20
    assert kept["general.sampling.temp"].contents() == pytest.approx(0.6)


def test_a_chat_template_travels(tokenizer, tmp_path):
    from regard.inputs import chat

    folder = tmp_path / "hf"
    bundle.save(folder, made("llama", tokenizer))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    export.export(bundle.load(folder), tmp_path / "m.gguf", "gguf", "F32")
    loaded = bundle.load(Path(tmp_path / "m.gguf"))
    with chat.load(tmp_path / "m.gguf", loaded.tokenizer) as template:
        assert template.render([{"role": "user", "content": "字"}]) == "<user>字"


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "phi", "phi3 long", "gpt_neox", "bloom", "llama3 ropes"])
def test_settings_that_lie_are_refused_in_a_sentence(name, tokenizer, tmp_path):
    """Each setting by itself as something else: either the model is as before, or the file is refused."""
    export.export(made(name, tokenizer), tmp_path / "m.gguf", "gguf", "F32")
    ours = open_file(tmp_path / "m.gguf")
    family, before = FAMILIES.get(name, name), names.config(ours)
    own = [key for key in ours.metadata if not key.startswith(("general.", "tokenizer."))]
    for key in own:
        for value in ("x", True, -1, 0, 3, 2**63, 0.0, -2.5, float("nan"), float("inf"), array("I", [1, 2])):
            metadata, kinds = {**ours.metadata, key: value}, {**ours.kinds, key: 4}
            changed = type(ours)(ours.path, metadata, kinds, ours.tensors, ours.bytes)
            try:
                config = models.read(family, names.config(changed), "m.gguf")
                names.Weights(changed, names.config(changed))
            except RegardError:
                continue
            assert config != models.read(family, before, "m.gguf") or value == ours.metadata[key] or key.endswith(SPARE)
