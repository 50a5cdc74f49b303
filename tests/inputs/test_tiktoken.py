"""tiktoken's files, number for number as tiktoken itself cuts 5,000 odd texts; and lines that are none."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import odd_texts as odd
import pytest
import tiktoken

from regard.errors import BadFileError
from regard.inputs import patterns
from regard.inputs.surface import LETTER_OF
from regard.inputs.tiktoken import O200K, RULES
from regard.inputs.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> dict[bytes, int]:
    """A small byte-level BPE, trained here: a token's rank is when it was learnt."""
    trained = Tokenizer.train("bpe", [*odd.texts(900, seed=3), "the fox isn't tired, 3.14 times. " * 9], 1500)
    model = trained.document()["model"]
    letters = {letter: byte for byte, letter in LETTER_OF.items()}
    spelled = [*sorted(LETTER_OF.values()), *("".join(pair) for pair in model["merges"])]
    return {bytes(letters[one] for one in name): rank for rank, name in enumerate(dict.fromkeys(spelled))}


def written(path: Path, ranks: dict[bytes, int]) -> Path:
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))
    return path


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base", "qwen", "multilingual", "tokenizer"])
def test_five_thousand_odd_texts(ranks, tmp_path, name):
    path = written(tmp_path / (f"{name}.tiktoken" if name != "tokenizer" else "tokenizer.model"), ranks)
    ours, rule = Tokenizer.load(tmp_path), RULES[name]
    specials = rule.specials(len(ranks))
    theirs = tiktoken.Encoding(name, pat_str=rule.pattern, mergeable_ranks=ranks, special_tokens=specials)
    for text in odd.texts():
        assert ours.encode(text) == theirs.encode_ordinary(text), text
    assert ours.decode(ours.encode("明月 isn't 😀")) == "明月 isn't 😀"
    assert Tokenizer.load(path).encode("a b") == ours.encode("a b")
    for spelled, number in specials.items():
        assert ours.encode_marked(spelled) == [number]


def test_whispers_tokens_stand_in_its_order(ranks, tmp_path):
    written(tmp_path / "multilingual.tiktoken", ranks)
    ours, size = Tokenizer.load(tmp_path), len(ranks)
    assert ours.encode_marked("<|startoftranscript|><|en|><|zh|><|transcribe|><|notimestamps|><|0.00|><|30.00|>") == [
        size + 1, size + 2, size + 3, size + 102, size + 106, size + 107, size + 1607,
    ]  # fmt: skip


def test_its_rules_may_run():
    assert [patterns.fault(rule.pattern) for rule in RULES.values()] == [None] * len(RULES)
    assert O200K in patterns.KNOWN


def bad(ranks: dict[bytes, int]) -> dict[str, tuple[bytes, str]]:
    lines = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    return {
        "a line of three": (b"YQ== 1 2\n" + lines, "line 1"),
        "no rank": (b"YQ==\n" + lines, "line 1"),
        "a rank below 0": (lines + b"YWFhYWFhYWFhYWFhYWE= -1\n", f"line {len(ranks) + 1}"),
        "a rank of 2**40": (lines + b"YWFhYWFhYWFhYWFhYWE= 1099511627776\n", f"line {len(ranks) + 1}"),
        "no base64": (lines + b"!!! 5\n", f"line {len(ranks) + 1}"),
        "an empty token": (lines + b" 5\n", f"line {len(ranks) + 1}"),
        "a token twice": (lines + b"YQ== 99999\n", f"line {len(ranks) + 1}"),
        "a rank twice": (lines + b"YWFhYWFhYWFhYWFhYWE= 3\n", "number 3"),
        "a token of 600 bytes": (lines + base64.b64encode(b"a" * 600) + b" 99999\n", f"line {len(ranks) + 1}"),
        "one byte missing": (lines.replace(b"YQ== ", b"YWFhYWFhYWFhYWFhYWE= ", 1), "not every byte"),
    }


def test_files_that_lie_are_refused(ranks, tmp_path):
    for name, (raw, why) in bad(ranks).items():
        path = tmp_path / "gpt2.tiktoken"
        path.write_bytes(raw)
        with pytest.raises(BadFileError) as caught:
            Tokenizer.load(path)
        assert why in str(caught.value) and str(path) in str(caught.value), (name, str(caught.value))


def test_a_file_of_unknown_name_is_refused(ranks, tmp_path):
    with pytest.raises(BadFileError, match="published under"):
        Tokenizer.load(written(tmp_path / "mine.tiktoken", ranks))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({}))
    with pytest.raises(BadFileError, match="tokenizer"):
        Tokenizer.load(tmp_path)  # in a folder it is not even looked at
