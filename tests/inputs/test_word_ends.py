"""Tokenizers whose words end in </w>, CLIP's and the first GPT's, by either of their files: id for id the
reference's on odd texts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import transformers
from odd_texts import texts as odd_texts

from regard.errors import BadFileError
from regard.inputs.tokenizer import Tokenizer

MERGES = ["c a", "ca t</w>", "d o", "do g</w>", "t h", "th e</w>", "p h", "ph o", "t o</w>", "pho to</w>"]
RANGES = ((32, 127), (160, 1000), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF))


def vocabulary() -> dict[str, int]:
    letters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
    words = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in MERGES)]
    return {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def texts() -> list[str]:
    drawn = random.Random(1)
    odd = ["A photo of a cat", "THE  Dog's photo!!", "naïve 😀 图片 12345", "", "  ", "don't\n\tcat", "İstanbul ẞ"]
    return odd + ["".join(chr(drawn.randrange(*drawn.choice(RANGES))) for _ in range(n % 23 + 1)) for n in range(500)]


@pytest.mark.parametrize("form", ["tokenizer.json", "vocab.json"])
def test_texts_are_cut_as_the_reference_cuts_them(form: str, tmp_path: Path) -> None:
    vocab = vocabulary()
    merges: Any = [tuple(merge.split()) for merge in MERGES]
    reference = transformers.CLIPTokenizer(vocab=vocab, merges=merges)
    reference.save_pretrained(tmp_path)
    if form == "vocab.json":
        (tmp_path / "tokenizer.json").unlink()
        (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    ours = Tokenizer.load(tmp_path)
    assert (ours.bos, ours.eos) == (vocab["<|startoftext|>"], vocab["<|endoftext|>"])
    for text in texts():
        assert ours.encode(text) == reference(text).input_ids, ascii(text)
    ours.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").encode("The cat's photo") == ours.encode("The cat's photo")


def of_characters(*others: str) -> dict[str, int]:
    """As the first GPT's: letters of several scripts, each also as the end of a word; no bytes."""
    letters = [chr(c) for c in (*range(33, 127), *range(0xE0, 0x100), *range(0x3B1, 0x3CA), *range(0x430, 0x450))]
    letters += list("今天气很好。，́")
    words = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in MERGES)]
    return {word: number for number, word in enumerate(["<unk>", *words, *others])}


def folder_of_the_first_gpt(folder: Path, vocab: dict[str, int]) -> None:
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")


@pytest.mark.parametrize("form", ["tokenizer.json", "vocab.json"])
def test_the_first_gpt_cuts_as_the_reference(form: str, tmp_path: Path) -> None:
    folder_of_the_first_gpt(tmp_path, of_characters())
    reference = transformers.OpenAIGPTTokenizer.from_pretrained(tmp_path)
    if form == "tokenizer.json":
        reference.save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    assert (ours.unk, ours.bos, ours.eos) == (0, None, None)
    for text in [*texts(), *odd_texts()]:
        assert ours.encode(text) == reference.encode(text, split_special_tokens=True), ascii(text)
    assert ours.decode(ours.encode("The Cat, to the dog")).split() == ["the", "cat", ",", "to", "the", "dog"]
    ours.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").encode("The cat's photo") == ours.encode("The cat's photo")


@pytest.mark.parametrize("others", [("<s>", "</s>"), ("<|endoftext|>",)])
def test_others_whose_words_have_ends_are_refused(others: tuple[str, ...], tmp_path: Path) -> None:
    """XLM's, HerBERT's: read as bytes they would give other numbers in silence."""
    folder_of_the_first_gpt(tmp_path, of_characters(*others))
    with pytest.raises(BadFileError, match="</w>"):
        Tokenizer.load(tmp_path)
