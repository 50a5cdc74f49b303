"""CLIP's tokenizer by either of its files: id for id the reference's on odd texts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import transformers

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
