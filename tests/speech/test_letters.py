"""Alphabets equal the reference's letter for letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from transformers import Wav2Vec2CTCTokenizer

from regard import bundle
from regard.errors import BadFileError
from regard.inputs.tokenizer import Tokenizer

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "'", "Ä"]
TEXTS = ["TEA TO EAT", "", " ", "A  TOE'", "tea", "T字A", "|", "EAT <s> TOE", "A\nT", "Ä"]


def folder(path: Path, vocab: Any = None, **settings: Any) -> Path:
    path.mkdir(exist_ok=True)
    vocab = {name: number for number, name in enumerate(LETTERS)} if vocab is None else vocab
    (path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    made = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "<pad>", "unk_token": "<unk>", **settings}
    (path / "tokenizer_config.json").write_text(json.dumps(made), encoding="utf-8")
    return path


def test_letters_are_the_references(tmp_path: Path) -> None:
    ours = Tokenizer.load(folder(tmp_path / "a"))
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "a")
    assert (ours.pad, ours.unk, ours.size) == (0, 3, len(LETTERS))
    for text in TEXTS:
        if "<" not in text:  # spelled in a text, a special token is text here
            assert ours.encode(text) == theirs(text).input_ids, text
    ids = [5, 5, 0, 5, 4, 6, 7, 0, 0, 10]
    assert ours.decode([5, 5, 4, 6, 7, 10]) == theirs.decode(ids) == "EE TAÄ"


def test_letters_survive_being_saved(tmp_path: Path) -> None:
    ours = Tokenizer.load(folder(tmp_path / "a"))
    ours.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    for text in TEXTS:
        assert again.encode(text) == ours.encode(text)
        assert again.decode(again.encode(text)) == ours.decode(ours.encode(text))
    assert again.decode(again.encode("TEA TO EAT")) == "TEA TO EAT"


def test_letters_of_one_case(tmp_path: Path) -> None:
    ours = Tokenizer.load(folder(tmp_path / "a", do_lower_case=True))
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "a")
    ids = ours.encode("tea To EAT")
    assert ids == theirs("tea To EAT").input_ids and ours.decode(ids) == "tea to eat"


def test_of_many_languages_one_is_named(tmp_path: Path) -> None:
    vocab = {"eng": {"<pad>": 0, "<unk>": 1, "a": 2}, "deu": {"<pad>": 0, "<unk>": 1, "a": 3, "ß": 2}}
    assert Tokenizer.load(folder(tmp_path / "a", vocab, target_lang="deu")).encode("aß") == [3, 2]
    with pytest.raises(BadFileError, match="deu, eng"):
        Tokenizer.load(folder(tmp_path / "a", vocab))
    with pytest.raises(BadFileError, match="fra"):
        Tokenizer.load(folder(tmp_path / "a", vocab, target_lang="fra"))


@pytest.mark.parametrize("vocab", [{"a": -1}, {"a": 1, "b": 1}, {"a": "1"}, [1], {"a": 1 << 40}])
def test_an_alphabet_that_lies_is_refused(tmp_path: Path, vocab: Any) -> None:
    with pytest.raises(BadFileError):
        Tokenizer.load(folder(tmp_path / "a", vocab))


def test_each_language_has_its_alphabet_and_its_weights(tmp_path):
    """As in MMS: beside the model lies a file for each language, and the tokenizer says which one is spoken."""
    sizes = {
        "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 17, "vocab_size": 7,
        "conv_dim": [5, 5], "conv_stride": [5, 4], "conv_kernel": [10, 8], "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "adapter_attn_dim": 3,
        "do_stable_layer_norm": True,
        "feat_extract_norm": "layer",
    }  # fmt: skip
    torch.manual_seed(3)
    theirs = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**sizes)).eval()
    theirs.save_pretrained(tmp_path)
    other = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**{**sizes, "vocab_size": 9})).eval()
    spoken = {name: tensor.detach().clone() for name, tensor in other._get_adapters().items()}
    safetensors.torch.save_file(spoken, tmp_path / "adapter.fra.safetensors")
    special = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    alphabets = {"eng": {**special, "a": 5, "b": 6}, "fra": {**special, "a": 5, "b": 6, "c": 7, "d": 8}}
    (tmp_path / "vocab.json").write_text(json.dumps(alphabets))
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    names = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "target_lang": "fra"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    loaded = bundle.load(tmp_path)
    assert loaded.tokenizer.size == loaded.model.config.vocab == 9
    wave = torch.randn(1, 400)
    expected = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path, target_lang="fra", ignore_mismatched_sizes=True)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(wave), expected.eval()(wave).logits)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**names, "target_lang": "eng"}))
    with pytest.raises(BadFileError, match="fra"):
        bundle.load(tmp_path)
    safetensors.torch.save_file({"stranger": torch.zeros(1)}, tmp_path / "adapter.eng.safetensors")
    with pytest.raises(BadFileError, match="stranger"):
        bundle.load(tmp_path)
