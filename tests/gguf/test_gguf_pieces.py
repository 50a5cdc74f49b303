"""SentencePiece's BPE goes into a GGUF file as what llama.cpp calls "llama", and comes back the same tokenizer."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import sentencepiece

from regard import export, models
from regard.bundle import Bundle
from regard.errors import BadFileError
from regard.inputs.gguf import KEY
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key
from regard.weights.gguf.container import open_file

sys.path.insert(0, str(Path(__file__).parents[1] / "inputs"))

import odd_texts as odd

WHOLE = {"model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
         "byte_fallback": True, "split_digits": True, "allow_whitespace_only_pieces": True}  # fmt: skip


def folder_of(path: Path, **settings) -> Path:
    out = io.BytesIO()
    lines = [text.replace("\n", " ").replace("\0", " ") for text in odd.texts(600, seed=3)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, hard_vocab_limit=False, num_threads=1, vocab_size=1200,
        character_coverage=0.98, minloglevel=2, **settings,
    )  # fmt: skip
    (path / "tokenizer.model").write_bytes(out.getvalue())
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    return path


def of(tokenizer: Tokenizer) -> Bundle:
    sizes = {"vocab": tokenizer.size, "context": 64, "dim": 48, "depth": 1, "hidden": 96}
    attention = {"heads": 6, "kv_heads": 2, "head_dim": 8}
    config = models.config("llama", {**sizes, "kind": "llama", "attention": attention})
    return Bundle(models.build(config, Key(3)).eval(), tokenizer, "llama", "causal-lm")


@pytest.mark.parametrize("prefix", [True, False])
def test_it_comes_back_number_for_number(tmp_path, prefix):
    folder = folder_of(tmp_path, **WHOLE, add_dummy_prefix=prefix)
    ours = Tokenizer.load(folder)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    export.export(of(ours), tmp_path / "m.gguf", "gguf", "F16")
    told = open_file(tmp_path / "m.gguf").metadata
    assert told[KEY + "model"] == "llama" and told[KEY + "add_bos_token"] is True
    assert told[KEY + "add_space_prefix"] is prefix
    assert [told[KEY + "token_type"][n] for n in (0, 1, 2, 3, 300)] == [2, 3, 3, 6, 1]
    again = Tokenizer.load(tmp_path / "m.gguf")
    assert (again.bos, again.eos, again.unk) == (1, 2, 0)
    for text in odd.texts():
        assert again.encode(text) == ours.encode(text) == [1, *theirs.encode(text)], text


@pytest.mark.parametrize("changed", [{"model_type": "unigram"}, {"normalization_rule_name": "nmt_nfkc"},
                                     {"remove_extra_whitespaces": True}, {"byte_fallback": False}])  # fmt: skip
def test_what_llama_cpp_would_cut_otherwise_is_refused(tmp_path, changed):
    ours = Tokenizer.load(folder_of(tmp_path, **{**WHOLE, **changed}))
    with pytest.raises(BadFileError, match="no place in a GGUF file"):
        export.export(of(ours), tmp_path / "m.gguf", "gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_merges_in_another_order_are_refused(tmp_path):
    """llama.cpp knows no merges, only scores: an order that no scores give has no place."""
    ours = Tokenizer.load(folder_of(tmp_path, **WHOLE))
    document = ours.document()
    merges = document["model"]["merges"]
    second = next(n for n, pair in enumerate(merges) if n > 5 and "".join(pair) == "".join(merges[n - 1]))
    merges.insert(0, merges.pop(second))
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps(document))
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (other / "tokenizer_config.json").write_text(json.dumps(roles))
    with pytest.raises(BadFileError, match="no place"):
        export.export(of(Tokenizer.load(other)), tmp_path / "m.gguf", "gguf")
