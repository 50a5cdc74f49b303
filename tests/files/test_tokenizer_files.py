"""Tokenizer files that lie: refused by name before they cost anything; texts that are dear to cut: in proportion."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import trial

from regard.errors import RegardError
from regard.inputs import foreign, patterns
from regard.inputs.tokenizer import KINDS, Tokenizer

TEXTS = ["床前明月光，疑是地上霜。", "The quick brown fox isn't tired, 3.14 times."] * 20


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind)
        Tokenizer.train(kind, TEXTS, 400).save(made[kind])
    return made


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "Lowercase"}
    for _ in range(levels):
        inner = {"type": "Sequence", "normalizers": [inner]}
    return inner


def split(regex: str) -> dict[str, Any]:
    return {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}}


def replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def added(number: object, content: object = "<x>") -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": True, **flags}


def changed(document: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {**document, **{key: {**document[key], **part} if key == "model" else part for key, part in parts.items()}}


def bad_tokenizers(document: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Name to (a tokenizer.json, what the refusal says), out of a good one of kind BPE."""
    vocab, tokens = document["model"]["vocab"], document["added_tokens"]
    last = max(one["id"] for one in tokens)
    bomb = {"type": "Sequence", "normalizers": [replace("a", "aa")] * 40}
    return {
        "nothing": ({}, "no model"),
        "a list": ([], "no model"),
        "a model of text": ({"model": "BPE"}, "no model"),
        "unknown kind": (changed(document, model={"type": "GPT"}), "unknown kind"),
        "no vocabulary": (changed(document, model={"vocab": None}), "unknown kind"),
        "a number below 0": (changed(document, model={"vocab": {**vocab, "x1": -1}}), "impossible number -1"),
        "a number of 2**31": (changed(document, model={"vocab": {**vocab, "x1": 1 << 31}}), "impossible number"),
        "a number of 2**64": (changed(document, model={"vocab": {**vocab, "x1": 1 << 64}}), "impossible number"),
        "a number that is a float": (changed(document, model={"vocab": {**vocab, "x1": 5.0}}), "impossible number 5.0"),
        "a number that is true": (changed(document, model={"vocab": {**vocab, "x1": True}}), "impossible number True"),
        "a number given twice": (changed(document, model={"vocab": {**vocab, "x1": 5}}), "number 5 of the token"),
        "a token of 5000 letters": (changed(document, model={"vocab": {**vocab, "x" * 5000: 399}}), "too long"),
        "a merge of absent tokens": (changed(document, model={"merges": [["x7", "y7"]]}), "merge 1"),
        "a merge into an absent token": (changed(document, model={"merges": [["a", "a"]]}), "merge 1"),
        "a merge of three": (changed(document, model={"merges": [["a", "b", "c"]]}), "merge 1"),
        "a merge of numbers": (changed(document, model={"merges": [[1, 2]]}), "merge 1"),
        "merges of text": (changed(document, model={"merges": "a b"}), "merge 0"),
        "an added number of 2**40": (changed(document, added_tokens=[*tokens, added(1 << 40)]), "impossible number"),
        "an added number twice": (changed(document, added_tokens=[*tokens, added(last)]), f"number {last}"),
        "an added number of another": (changed(document, added_tokens=[*tokens, added(5)]), "number 5"),
        "an empty added token": (changed(document, added_tokens=[*tokens, added(last + 1, "")]), "impossible number"),
        "an added list": (changed(document, added_tokens=[["<x>", 5]]), "impossible number"),
        "an added token of spaces that takes others along": (
            changed(document, added_tokens=[*tokens, {**added(last + 1, "  "), "lstrip": True}]), "nothing but spaces",
        ),
        "added tokens of text": (changed(document, added_tokens="<x>"), "added_tokens is not"),
        "an unk that is absent": (
            changed(document, model={"unk_token": "[NONE]", "type": "WordLevel"}), "not a tokenizer",
        ),
        "an empty pattern": (changed(document, **split("")), "matches everywhere"),
        "a pattern of exponential time": (changed(document, **split(r"(a+)+$")), "exponential"),
        "a pattern of choices": (changed(document, **split(r"(?:a|a)*b")), "exponential"),
        "a pattern that refers back": (changed(document, **split(r"(\w+)\1")), "refers back"),
        "a pattern of long counts": (changed(document, **split(r"a{1,100000}")), "more than 256"),
        "a pattern of optionals": (changed(document, **split("a?" * 30 + "a" * 30)), "one after another"),
        "a pattern of quadratic time": (changed(document, **split(r"[a-z]+[0-9]")), "grew faster"),
        "a pattern of 100 KB": (changed(document, **split("a" * 100_000)), "at most 2000"),
        "no pattern": (changed(document, **split("[")), "no valid pattern"),
        "a pattern of a number": (changed(document, **split(5)), "a text of at most"),  # type: ignore[arg-type]
        "nested normalisers": (changed(document, normalizer=deep(10_000 // 2)), "nested more than"),
        "10,000 normalisers": (
            changed(document, normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}] * 10_000}),
            "has 10001 steps",
        ),
        "a bomb of replacements": (changed(document, normalizer=bomb), "64 times as long"),
        "bytes spelled again and again": (
            changed(document, normalizer={"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 8}),
            "64 times as long",
        ),
        "a replacement of 1 MB": (changed(document, normalizer=replace("a", "b" * 900_000)), "64 times as long"),
        "a replacement of nothing": (changed(document, normalizer=replace("", "b" * 65)), "64 times as long"),
        "1 MB before each text": (
            changed(document, normalizer={"type": "Prepend", "prepend": "b" * 900_000}), "64 times as long",
        ),
        "a table of characters that is none": (
            changed(document, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            "precompiled_charsmap",
        ),
        "a table that lies about its length": (
            changed(document, normalizer={"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
            "precompiled_charsmap",
        ),
        "unknown normaliser": (changed(document, normalizer={"type": "Evil"}), "not a tokenizer"),
        "words without end": (
            changed(document, model={"type": "WordPiece", "max_input_chars_per_word": 10**9, "unk_token": "a"}),
            "max_input_chars_per_word",
        ),
        "a Unigram of texts": (changed(document, model={"type": "Unigram", "vocab": ["a", "b"]}), "piece 0"),
        "a Unigram of one long piece": (
            changed(document, model={"type": "Unigram", "vocab": [["a" * 600, -1.0]], "unk_id": 0}), "piece 0",
        ),
        "a Unigram whose unk is absent": (
            changed(document, model={"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 77}), "not a tokenizer",
        ),
        "a score of text": (changed(document, model={"type": "Unigram", "vocab": [["a", "b"]]}), "piece 0"),
    }  # fmt: skip


def test_tokenizers_that_lie_are_refused(good, tmp_path, capsys):
    document = json.loads((good["bpe"] / "tokenizer.json").read_text())
    wanted = bad_tokenizers(document)
    texts = {name: json.dumps(bad) for name, (bad, _) in wanted.items() if name != "nested normalisers"}
    texts["nested normalisers"] = '{"model": {}, "normalizer": ' + '{"n": [' * 10_000 + "]}" * 10_000 + "}"
    texts["a score that is none"] = json.dumps(document)[:-1] + ', "x": NaN}'
    texts["a key twice"] = json.dumps(document)[:-1] + ', "model": {}}'
    texts["a million added tokens"] = '{"model":{},"added_tokens":[' + '{"id":1},' * 1_000_000 + "{}]}"
    texts["cut short"] = json.dumps(document)[:-50]
    cases = {}
    for number, (name, text) in enumerate(texts.items()):
        cases[name] = tmp_path / str(number)
        cases[name].mkdir()
        (cases[name] / "tokenizer.json").write_text(text)
    outcomes = trial.run([("tokenizer", path) for path in cases.values()])
    for name, one in zip(cases, outcomes, strict=True):
        expected = wanted[name][1] if name in wanted else ""
        assert one.refused and expected in one.message, (name, one)
    # Where a pattern is tried, a process has to start: that time is the machine's.
    outcomes = [one for one in outcomes if "in a trial" not in one.message and "no valid" not in one.message]
    with capsys.disabled():
        print(f"\ntokenizer files: {trial.holds(outcomes, named='tokenizer.json')}")


def test_what_a_file_may_ask_for_is_read_and_its_padding_passed_over(good, tmp_path):
    document = json.loads((good["bpe"] / "tokenizer.json").read_text())
    document["padding"] = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None,
                           "pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>"}  # fmt: skip
    document["truncation"] = {"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    (one,) = trial.run([("tokenizer", tmp_path)])
    assert one.kind == "read" and one.grown < trial.ROOM


@pytest.mark.parametrize("token", ["<0x-1>", "<0xZZ>", "<0x100>", "<0x>", "<0x4>", "<0x０A>"])
def test_a_token_that_only_looks_like_a_byte_is_text(good, token, tmp_path):
    document = json.loads((good["characters"] / "tokenizer.json").read_text())
    vocab = document["model"]["vocab"]
    number = len(vocab) + 50
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed(document, model={"vocab": {**vocab, token: number}})))
    assert Tokenizer.load(tmp_path).decode([number]) == token


BAD_FOLDERS: dict[str, dict[str, str]] = {
    "vocab.txt without its tokens": {"vocab.txt": "a\nb\n"},
    "vocab.txt of bytes": {"vocab.txt": "[UNK]\n[CLS]\n\0[SEP]\n"},
    "vocab.json of text": {"vocab.json": '"a"', "merges.txt": "a b"},
    "vocab.json of a list": {"vocab.json": "[1]", "merges.txt": "a b"},
    "vocab.json with numbers twice": {"vocab.json": '{"a": 1, "b": 1}', "merges.txt": ""},
    "vocab.json below 0": {"vocab.json": '{"a": -1}', "merges.txt": ""},
    "vocab.json of 2**40": {"vocab.json": '{"a": 1099511627776}', "merges.txt": ""},
    "merges of absent tokens": {"vocab.json": '{"a": 0, "b": 1}', "merges.txt": "#version: 0.2\na b\n"},
    "merges of one token": {"vocab.json": '{"a": 0, "b": 1}', "merges.txt": "a\n"},
    "merges missing": {"vocab.json": '{"a": 0}'},
    "settings of a list": {"tokenizer_config.json": "[]", "vocab.txt": "[UNK]\n[CLS]\n[SEP]\n"},
    "a special of a list": {"tokenizer_config.json": '{"eos_token": []}', "vocab.txt": "[UNK]\n[CLS]\n[SEP]\n"},
    "a special of a number": {"tokenizer_config.json": '{"pad_token": 5}', "vocab.txt": "[UNK]\n[CLS]\n[SEP]\n"},
    "only SentencePiece's": {"tokenizer.model": "x"},
    "only code": {"tokenizer.py": "raise SystemExit", "tokenizer_config.json": '{"auto_map": {"A": "tokenizer.T"}}'},
}  # fmt: skip


def test_folders_of_vocabularies_that_lie_are_refused(tmp_path, capsys):
    cases = []
    for number, content in enumerate(BAD_FOLDERS.values()):
        folder = tmp_path / f"folder-{number}"
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
        cases.append(("tokenizer", folder))
    outcomes = trial.run(cases)
    for name, one in zip(BAD_FOLDERS, outcomes, strict=True):
        assert one.refused and str(one.path) in one.message, (name, one)
    with capsys.disabled():
        print(f"\nvocabulary folders: {trial.holds(outcomes, named='folder-')}")


SPECIALS = ["<|eos|>", "<|bos|>", "<|pad|>", "<|mask|>", "[MASK]", "[SEP]", "[CLS]", "[PAD]", "<eos>", "</s>"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_token_spelled_by_a_user_stays_text(good, kind):
    """What a user writes is never a control token, wherever it stands, whatever is glued to it."""
    tokenizer = Tokenizer.load(good[kind])
    controls = tokenizer.specials - {tokenizer.unk}
    for name in [*SPECIALS, *tokenizer.roles.values()]:
        for text in (name, f"a{name}b", f" {name} ", name * 3, f"明{name}", name.upper(), f"{name}\n{name}"):
            assert controls.isdisjoint(tokenizer.encode(text, special=False)), text
    if tokenizer.eos is not None:
        assert tokenizer.encode(tokenizer.roles["eos"]).count(tokenizer.eos) == 1  # the template's own


HARD = {"a": "a", "space": " ", "caret": "^", "digits": "7", "marks": "́", "newline": "\n", "汉": "汉", "emoji": "😀",
        "slash": "\\", "mixed": "aA1 "}  # fmt: skip


PROSE = "the quick brown fox isn't tired, 3.14 times; "


def growth(tokenizer: Tokenizer, unit: str, tries: int) -> tuple[float, float]:
    """(seconds for a MB of `unit`, how many times those for a quarter of it); of each the least of several tries."""
    text = unit * (1_000_000 // len(unit.encode()))
    found = []
    for part in (text[: len(text) // 4], text):
        spent = []
        for _ in range(tries):
            start = time.process_time()
            tokenizer.encode(part)
            spent.append(time.process_time() - start)
        found.append(min(spent))
    return found[1], found[1] / max(found[0], 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_time_of_cutting_grows_with_the_text(good, kind, capsys):
    """A million of the same character: at most 2 s for a MB, and in proportion: what takes quadratic time takes
    16 times as long for four times as many. (Memory for a million tokens alone brings prose to 5.)
    """
    tokenizer, worst, steepest = Tokenizer.load(good[kind]), 0.0, 0.0
    for name, unit in HARD.items():
        spent, ratio = growth(tokenizer, unit, 1)
        if spent > 2.0 or ratio > 6.0:
            spent, ratio = growth(tokenizer, unit, 4)
        assert spent <= 2.0 and ratio <= 10.0, (name, spent, ratio, growth(tokenizer, PROSE, 4))
        worst, steepest = max(worst, spent), max(steepest, ratio)
    with capsys.disabled():
        print(f"\n{kind}: {len(HARD)} texts of 1 MB, at most {worst:.2f} s; four times as much: {steepest:.2f} times")


def test_patterns_of_known_form_may_run():
    known = [*patterns.KNOWN, r"\p{N}", r" ?[^(\s|[.,!?…。，、।۔،])]+", "[一-龥]+", r"\s+", r"\p{N}{1,3}"]
    assert [patterns.fault(each) for each in known] == [None] * len(known)


def test_a_trial_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(patterns, "_form", lambda pattern: None)
    start = time.perf_counter()
    assert "grew faster" in str(patterns.fault(r"(?:a|aa|a)*[^a]{2}"))
    assert time.perf_counter() - start < patterns.PATIENCE


def test_a_panic_of_the_library_is_an_error_of_ours(good, monkeypatch):
    class Panic(BaseException):
        pass

    class Rust:
        def encode(self, *_: Any, **__: Any) -> None:
            raise Panic("index out of bounds")

    tokenizer = Tokenizer.load(good["bpe"])
    monkeypatch.setattr(tokenizer, "_rust", Rust())
    with pytest.raises(RegardError, match="index out of bounds"):
        tokenizer.encode("a")


def test_the_bounds_leave_room_for_what_there_is(good):
    for folder in good.values():
        foreign.check(json.loads((folder / "tokenizer.json").read_text()), "here")
