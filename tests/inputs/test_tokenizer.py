"""What holds for every tokenizer trained here."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import ConfigError, RegardError
from regard.inputs.tokenizer import KINDS, Tokenizer

LOSSLESS = [kind for kind in KINDS if kind != "wordpiece"]
NASTY = [
    "",
    " ",
    "  two  spaces  ",
    "明月几时有？",
    "龘 an unseen character 𠮷",
    "👩‍👩‍👧‍👦 e\u0301 \u200b \ufeff \ufffd",
    "\x00\x01\x7f\u0085\u2028",
    "line\nline\r\nline\ttab",
    "<0x41><0xE6> ▁ Ġ ## ##ing",
    "<|pad|><|bos|><|eos|><|mask|>",
    "[CLS] [SEP] [MASK] [PAD] [UNK] <s></s><unk>",
    "مرحبا नमस्ते สวัสดี 안녕",
]


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words that `words` finds, as text."""
    ids = tokenizer.encode(text, special=False)
    groups: dict[int | None, str] = {}
    for number, piece in zip(tokenizer.words(ids), tokenizer.pieces(ids), strict=True):
        groups[number] = groups.get(number, "") + piece.removeprefix("##")
    return [group.strip() for group in groups.values() if group.strip()]


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("text", NASTY)
def test_any_text_comes_back(trained, kind, text):
    tokenizer = trained[kind]
    assert tokenizer.lossless
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", LOSSLESS)
@given(text=st.text() | st.text(alphabet="<|0xE6>/s[]▁ĠPAD 明月eos\n"))
def test_any_text_at_all_comes_back(trained, kind, text):
    tokenizer = trained[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert "".join(tokenizer.pieces(ids[1:-1])) == text
    stream = tokenizer.stream()
    assert "".join([stream.feed(number) for number in ids]) + stream.flush() == text
    assert tokenizer.specials.isdisjoint(ids[1:-1])


@pytest.mark.parametrize("kind", KINDS)
@given(ids=st.lists(st.integers(0, 250), max_size=12))
def test_any_tokens_have_a_text_and_never_the_replacement_character(trained, kind, ids):
    tokenizer = trained[kind]
    ids = [number % tokenizer.size for number in ids]
    shown = tokenizer.decode(ids)
    stream = tokenizer.stream()
    assert "".join([stream.feed(number) for number in ids]) + stream.flush() == shown
    assert "\ufffd" not in shown + "".join(tokenizer.pieces(ids))
    assert len(tokenizer.pieces(ids)) == len(tokenizer.words(ids)) == len(ids)


def test_wordpiece_comes_back_as_well_as_it_can(trained):
    tokenizer = trained["wordpiece"]
    assert not tokenizer.lossless
    for text in [
        "今天天气很好，我们去公园散步。",
        "The quick brown fox isn't tired.",
        "Hello world! Hello tokens, hello words.",
    ]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.unk in tokenizer.encode("龘")
    assert tokenizer.pieces(tokenizer.encode("明月", special=False)) == ["明", "月"]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_spelled_in_a_text_are_text(trained, kind):
    tokenizer = trained[kind]
    for number in tokenizer.specials - {tokenizer.unk}:
        spelling = tokenizer.pieces([number])[0]
        for text in (spelling, f"明 {spelling} a", spelling * 3):
            assert number not in tokenizer.encode(text, special=False)


@pytest.mark.parametrize("kind", KINDS)
def test_marked_text_means_its_special_tokens_and_bos_is_never_doubled(trained, kind):
    tokenizer = trained[kind]
    begin, end = tokenizer.pieces([tokenizer.bos])[0], tokenizer.pieces([tokenizer.eos])[0]
    plain = tokenizer.encode("Hello")
    assert tokenizer.encode_marked(f"{begin}Hello{end}") == plain
    assert tokenizer.encode_marked("Hello") == plain
    assert tokenizer.encode(f"{begin}Hello").count(tokenizer.bos) == 1
    assert tokenizer.encode_marked(f"Hello{end}Hello").count(tokenizer.eos) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_pad_is_its_own(trained, kind):
    tokenizer = trained[kind]
    others = {tokenizer.bos, tokenizer.eos, tokenizer.unk, tokenizer.mask, tokenizer.cls, tokenizer.sep}
    assert tokenizer.pad not in others
    assert tokenizer.pad < tokenizer.size
    assert tokenizer.pad not in tokenizer.encode("<|pad|>[PAD]<pad>")


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_is_as_large_as_asked_where_there_is_enough_text(trained, texts, kind):
    assert trained[kind].size <= 571
    assert trained[kind].kind == kind
    if kind in ("bpe", "characters"):
        assert Tokenizer.train(kind, texts, 313).size == 313


def test_bytes_are_numbered_by_themselves(trained):
    assert trained["bytes"].encode("明", special=False) == list("明".encode())
    assert trained["bytes"].size == 256 + 4


@pytest.mark.parametrize("kind", ["bpe", "unigram", "characters", "wordpiece"])
def test_a_seen_chinese_character_is_never_torn(trained, kind):
    tokenizer = trained[kind]
    for character in "明月几时有把酒问青天":
        assert len(tokenizer.encode(character, special=False)) == 1


def test_bpe_pieces_end_where_characters_end(trained, texts):
    tokenizer = trained["bpe"]
    ids = [number for text in texts[:6] for number in tokenizer.encode(text, special=False)]
    assert "" not in tokenizer.pieces(ids)


def test_a_character_over_several_tokens_is_shown_at_its_first(trained):
    for kind in LOSSLESS:
        ids = trained[kind].encode("龘", special=False)
        assert len(ids) > 1
        assert trained[kind].pieces(ids) == ["龘"] + [""] * (len(ids) - 1)


def test_a_stream_waits_for_whole_characters(trained):
    stream = trained["bytes"].stream()
    assert [stream.feed(byte) for byte in "a明".encode()] == ["a", "", "", "明"]
    assert stream.feed(0xE6) == ""
    assert stream.feed(ord("b")) == "<0xE6>b"
    assert stream.feed(0xE6) == ""
    assert stream.flush() == "<0xE6>"


def test_pairs_are_framed_and_typed(trained):
    tokenizer = trained["wordpiece"]
    first, second = tokenizer.encode("Hello world", special=False), tokenizer.encode("明月", special=False)
    ids, types = tokenizer.encode_typed("Hello world", "明月")
    assert ids == [tokenizer.cls, *first, tokenizer.sep, *second, tokenizer.sep]
    assert types == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    assert tokenizer.encode("Hello world", "明月") == ids
    assert tokenizer.encode("Hello world", "明月", special=False) == first + second


@pytest.mark.parametrize("kind", KINDS)
def test_context_cuts_the_text_and_keeps_the_frame(trained, kind):
    tokenizer = trained[kind]
    whole = tokenizer.encode("明月几时有把酒问青天")
    for context in range(3, len(whole) + 3):
        cut = tokenizer.encode("明月几时有把酒问青天", context=context)
        assert cut == ([*whole[:-1][: context - 1], whole[-1]] if context < len(whole) else whole)
        pair = tokenizer.encode("明月几时有把酒问青天", "Hello", context=context + 3)
        assert len(pair) <= context + 3
        assert pair.count(tokenizer.sep) == 2
    with pytest.raises(ConfigError):
        tokenizer.encode("明月", context=2)
    assert len(tokenizer.encode("horse, 3.14", special=False, context=2)) == 2


@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("second", range(6))
def test_of_a_pair_the_longer_is_cut_first(trained, first, second):
    tokenizer = trained["bytes"]
    ids, types = tokenizer.encode_typed("a" * first, "b" * second, context=3 + 5)
    kept, kept_second = ids.count(ord("a")), ids.count(ord("b"))
    assert kept + kept_second == min(first + second, 5)
    # Token by token from whichever is longer, as transformers' longest_first.
    expected = [first, second]
    while sum(expected) > 5:
        expected[0 if expected[0] > expected[1] else 1] -= 1
    assert [kept, kept_second] == expected
    assert types.count(1) == kept_second + 1


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_whole(trained, kind):
    tokenizer = trained[kind]
    found = words_of(tokenizer, "Hello tired attention")
    assert found == ["Hello", "tired", "attention"]
    # jieba keeps 今天天气 as one word, and so must every cut of it.
    assert "公园" in words_of(tokenizer, "公园") and len(words_of(tokenizer, "公园")) == 1
    ids = tokenizer.encode("Hello, 明月")
    assert tokenizer.words(ids)[0] is None and tokenizer.words(ids)[-1] is None


def test_words_of_chinese_are_jiebas(trained):
    for kind in ("characters", "wordpiece", "bytes"):
        assert words_of(trained[kind], "我们去公园散步，天气预报") == ["我们", "去", "公园", "散步", "，", "天气预报"]


def test_words_keep_the_order_and_number_from_nought(trained):
    tokenizer = trained["bytes"]
    assert tokenizer.words(tokenizer.encode("ab c 明", special=False)) == [0, 0, 1, 2, 3, 4, 4, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_deterministic_in_this_process(trained, texts, kind):
    for _ in range(6):  # the trainers go through hash tables, whose order differs from one to the next
        again = Tokenizer.train(kind, iter(texts), 571)
        assert again._rust.to_str() == trained[kind]._rust.to_str()


@pytest.mark.slow
def test_training_is_deterministic_across_processes(trained, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from conftest import TEXTS\nfrom regard.inputs.tokenizer import KINDS, Tokenizer\n"
        f"for kind in KINDS: Tokenizer.train(kind, TEXTS, 571).save({str(tmp_path)!r} + '/' + kind)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for kind in KINDS:
        trained[kind].save(tmp_path / "here" / kind)
        here, there = (
            hashlib.sha256((tmp_path / part / kind / "tokenizer.json").read_bytes()) for part in ("here", ".")
        )
        assert here.hexdigest() == there.hexdigest(), kind


def test_training_refuses_what_cannot_be(texts):
    for arguments in [
        ("bpe", texts, 200),
        ("wordpiece", texts, 5),
        ("bpe", [], 500),
        ("bpe", ["", ""], 500),
        ("morse", texts, 9),
    ]:
        with pytest.raises(ConfigError):
            Tokenizer.train(*arguments)
    with pytest.raises(ConfigError):
        Tokenizer.train("bpe", texts, 500, specials={"pad": "<x>", "eos": "<x>"})
    with pytest.raises(ConfigError):
        Tokenizer.train("bpe", texts, 500, specials={"end": "<x>"})


def test_special_tokens_can_be_named(texts):
    tokenizer = Tokenizer.train("characters", texts, 500, specials={"eos": "</s>"})
    assert tokenizer.pieces([tokenizer.eos, tokenizer.pad]) == ["</s>", "<|pad|>"]
    assert tokenizer.bos is None and tokenizer.mask is None
    assert tokenizer.encode("明") == [*tokenizer.encode("明", special=False), tokenizer.eos]


def test_the_smallest_vocabularies_work():
    for kind in ("bpe", "unigram", "characters"):
        for vocab in range(260, 280, 3):
            tokenizer = Tokenizer.train(kind, ["明月几时有" * 3, "abab"], vocab)
            assert tokenizer.size <= vocab
            assert tokenizer.decode(tokenizer.encode("明月 abab 龘")) == "明月 abab 龘"


def test_a_lone_surrogate_is_refused(trained):
    for tokenizer in trained.values():
        with pytest.raises(RegardError) as caught:
            tokenizer.encode("a\ud800")
        assert "2" in str(caught.value)


def test_a_number_beyond_the_vocabulary_is_refused(trained):
    for number in (-1, 571, 10**12):
        with pytest.raises(RegardError):
            trained["bpe"].decode([number])
