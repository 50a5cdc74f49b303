"""Alphabets equal the reference's letter for letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import Wav2Vec2CTCTokenizer

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
