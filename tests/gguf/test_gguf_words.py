"""Tokenizers in GGUF files that lie, or say less than they should; and settings of a kind that they cannot be of."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import gguf
import pytest
import tokenizers

from regard.errors import BadFileError
from regard.inputs import gguf as gguf_words
from regard.inputs.gguf import KEY, TEMPLATE
from regard.inputs.surface import LETTER_OF
from regard.inputs.tokenizer import Tokenizer
from regard.weights.gguf import names
from regard.weights.gguf.container import Gguf, open_file

LETTERS = [LETTER_OF[byte] for byte in range(256)]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
KINDS = gguf.GGUFValueType


def written(path: Path, architecture: str, told: dict[str, Any], kinds: dict[str, Any] | None = None) -> Path:
    """A file of metadata alone."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in told.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            usual = {bool: KINDS.BOOL, str: KINDS.STRING, float: KINDS.FLOAT32}.get(type(value), KINDS.UINT32)
            writer.add_key_value(key, value, (kinds or {}).get(key, usual))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def byte_level(**more: Any) -> dict[str, Any]:
    """Bytes, "ab", and two control tokens."""
    told = {"model": "gpt2", "pre": "gpt-2", "tokens": [*LETTERS, "ab", "<s>", "</s>"], "merges": ["a b"],
            "token_type": [*[1] * 257, 3, 3], "bos_token_id": 257, "eos_token_id": 258}  # fmt: skip
    return {KEY + key: value for key, value in {**told, **more}.items() if value is not None}


def pieces(*own: str, **more: Any) -> dict[str, Any]:
    tokens = ["<unk>", "<s>", "</s>", *BYTES, "▁", *own]
    scores = [-float(place) for place in range(len(tokens))]
    types = [2, 3, 3, *[6] * 256, *[1] * (1 + len(own))]
    told = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": types}
    return {KEY + key: value for key, value in {**told, **more}.items()}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (byte_level(pre=["gpt-2"]), "gpt-2"),
        (byte_level(token_type=[1.0] * 259), "token_type"),
        (byte_level(token_type=["1"] * 259), "token_type"),
        (byte_level(token_type=5), "token_type"),
        (byte_level(add_bos_token=1), "add_bos_token"),
        (byte_level(add_eos_token="yes"), "add_eos_token"),
        ({**byte_level(), TEMPLATE: 7}, "chat_template"),
        (pieces("a", "b", scores=[float("nan")] * 262), "scores"),
        (pieces("a", "b", scores=[float("inf")] * 262), "scores"),
        (pieces("a", "b", scores=[1] * 262), "scores"),
        (pieces("a" * 100_000), "too long"),
        (pieces(*("a" * length for length in range(1, 500))), "far more ways"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_by_name(told, says, tmp_path):
    path = written(tmp_path / "t.gguf", "llama", told)
    with pytest.raises(BadFileError, match=r"t\.gguf") as caught:
        Tokenizer.load(path)
    assert says in str(caught.value)


@pytest.mark.parametrize("pre", ["llama-bpe", "llama3", "llama-v3"])
def test_llama_3_begins_with_bos_unless_the_file_says_otherwise(pre, tmp_path):
    """llama.cpp's rule; many files leave the key out."""
    said = {told: written(tmp_path / f"{told}.gguf", "llama", byte_level(pre=pre, add_bos_token=told))
            for told in (None, True, False)}  # fmt: skip
    found = {told: Tokenizer.load(path).encode("ab") for told, path in said.items()}
    assert found == {None: [257, 256], True: [257, 256], False: [256]}
    assert Tokenizer.load(written(tmp_path / "g.gguf", "gpt2", byte_level())).encode("ab") == [256]


def test_a_rule_that_is_not_named_is_gpt_2s_alone(tmp_path):
    """What llama.cpp then does to others is a guess, and warns of it."""
    for pre in (None, "default"):
        told = byte_level(pre=pre)
        assert Tokenizer.load(written(tmp_path / "g.gguf", "gpt2", told)).encode("ab") == [256]
        with pytest.raises(BadFileError, match="rule 'default'"):
            Tokenizer.load(written(tmp_path / "l.gguf", "qwen2", told))


def test_a_rule_of_llama_3_without_its_whole_words(tmp_path):
    """OLMo 2's: words are cut alike; one of the vocabulary that its merges do not make is not taken, and no bos."""
    whole = {"tokens": [*LETTERS, "ab", "<s>", "</s>", "xyz"], "token_type": [*[1] * 257, 3, 3, 1]}
    found = {pre: Tokenizer.load(written(tmp_path / f"{pre}.gguf", "llama", byte_level(pre=pre, **whole))).encode("xyz")
             for pre in ("dbrx", "llama-bpe")}  # fmt: skip
    assert found == {"dbrx": [120, 121, 122], "llama-bpe": [257, 259]}


TEXT = "HelloWORLD's 1234, déjà\n(x)"


@pytest.mark.parametrize(
    ("pre", "cut"),
    [
        ("gpt-2", ["HelloWORLD", "'s", " 1234", ",", " déjà", "\n", "(", "x", ")"]),
        ("phi-2", ["HelloWORLD", "'s", " 1234", ",", " déjà", "\n", "(", "x", ")"]),
        ("olmo", ["HelloWORLD", "'s", " 1234", ",", " déjà", "\n", "(", "x", ")"]),
        ("smollm", ["HelloWORLD", "'s", " ", "1", "2", "3", "4", ",", " déjà", "\n", "(", "x", ")"]),
        ("dbrx", ["HelloWORLD", "'s", " ", "123", "4", ",", " déjà", "\n", "(x", ")"]),
        ("smaug-bpe", ["HelloWORLD", "'s", " ", "123", "4", ",", " déjà", "\n", "(x", ")"]),
        ("falcon3", ["HelloWORLD", "'s", " ", "123", "4", ",", " déjà", "\n", "(x", ")"]),
        ("deepseek-r1-qwen", ["HelloWORLD", "'s", " ", "1", "2", "3", "4", ",", " déjà", "\n", "(x", ")"]),
        ("gpt-4o", ["Hello", "WORLD's", " ", "123", "4", ",", " déjà", "\n", "(x", ")"]),
        ("tekken", ["Hello", "WORLD", "'s", " ", "1", "2", "3", "4", ",", " déjà", "\n", "(x", ")"]),
        ("bloom", ["HelloWORLD's", " 1234", ",", " déjà", "\n(", "x", ")"]),
    ],
)
def test_words_are_cut_by_the_rule_that_is_named(pre, cut, tmp_path):
    loaded = Tokenizer.load(written(tmp_path / "t.gguf", "llama", byte_level(pre=pre)))
    document = loaded.document()
    rust = tokenizers.Tokenizer.from_str(json.dumps(document))
    found = [TEXT[first:last] for _, (first, last) in rust.pre_tokenizer.pre_tokenize_str(TEXT)]
    assert found == cut
    whole = pre in ("falcon3", "tekken")
    assert document["model"]["ignore_merges"] == whole and (loaded.encode("ab")[0] == 257) == whole
    roles = {"bos": 257, "eos": 258}
    assert gguf_words.metadata(document, roles, {}, 259)[KEY + "pre"] == ALSO.get(pre, pre)


ALSO = {"phi-2": "gpt-2", "olmo": "gpt-2", "smaug-bpe": "dbrx", "falcon3": "llama-bpe"}
SIZES = {"context_length": 64, "embedding_length": 32, "block_count": 1, "feed_forward_length": 32,
         "attention.head_count": 4}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope.dimension_count", array("I", [8])),
        ("attention.key_length", array("I", [8])),
        ("attention.value_length", "8"),
        ("attention.key_length", 8.0),
        ("attention.key_length", 0),
        ("rope.freq_base", "10000"),
        ("rope.freq_base", -2.0),
        ("rope.freq_base", float("nan")),
        ("attention.head_count_kv", array("I", [4])),
        ("rope.scaling.type", ["linear"]),
    ],
)
def test_a_setting_of_another_kind_is_refused_by_its_key(key, value, tmp_path):
    """With Llama 3's factors in it, which are told from the base."""
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name, size in SIZES.items():
        writer.add_uint32(f"llama.{name}", size)
    for name, shape in (("token_embd.weight", (10, 32)), ("rope_freqs.weight", (4,))):
        writer.add_tensor(name, gguf.np.ones(shape, dtype="float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_file(tmp_path / "m.gguf")
    metadata = {**file.metadata, f"llama.{key}": value}
    kinds = {**file.kinds, f"llama.{key}": 8 if isinstance(value, str) else 6}
    changed = Gguf(file.path, metadata, kinds, file.tensors, file.bytes)
    with pytest.raises(BadFileError, match=key.replace("value_length", "key_length")):
        names.config(changed)
