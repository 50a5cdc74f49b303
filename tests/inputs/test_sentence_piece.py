"""SentencePiece models without a tokenizer.json, number for number as its own library cuts 5,000 odd texts."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import odd_texts as odd
import pytest
import sentencepiece
import transformers

from regard.errors import BadFileError, RegardError
from regard.inputs import charsmap, languages, pieces, sentence_piece
from regard.inputs.marks import Marks
from regard.inputs.tokenizer import Tokenizer

PLAIN = ["Hello world, it isn't 3.14!", "明月几时有？把酒问青天。", "a b", "The quick brown fox.", "Émile l'été", "x"]
CORPUS = [*PLAIN, *odd.texts(700, seed=3)]
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
IDENTITY = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
KINDS: dict[str, dict[str, Any]] = {
    "unigram": {},
    "unigram of bytes": IDENTITY,
    "unigram of folded case": {"normalization_rule_name": "nmt_nfkc_cf"},
    "bpe": {"model_type": "bpe", **IDENTITY, "split_digits": True, "allow_whitespace_only_pieces": True},
    "bpe of folded case": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc_cf"},
    "characters": {"model_type": "char"},
}


def train(path: Path, **settings: Any) -> Path:
    out = io.BytesIO()
    lines = [text.replace("\n", " ").replace("\0", " ") for text in CORPUS]
    usual = {"model_type": "unigram", "vocab_size": 1500, "character_coverage": 0.98, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, hard_vocab_limit=False, num_threads=1, **{**usual, **settings}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.getvalue())
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pieces")
    return {name: train(folder / str(n) / "tokenizer.model", **how) for n, (name, how) in enumerate(KINDS.items())}


@pytest.mark.parametrize("name", KINDS)
def test_five_thousand_odd_texts(models, name, capsys):
    """Of cuts that are worth the same SentencePiece takes one by how its single precision rounds, the library by how
    double precision does: there the two may differ in the order of the same pieces' scores, and in nothing else."""
    ours, theirs = Tokenizer.load(models[name]), sentencepiece.SentencePieceProcessor(model_file=str(models[name]))
    worth, ties = [theirs.GetScore(number) for number in range(theirs.GetPieceSize())], 0
    for text in odd.texts():
        found, wanted = ours.encode(text, special=False), theirs.encode(text)
        if found != wanted:
            assert name.startswith("unigram"), (text, found, wanted)
            assert len(found) == len(wanted), (text, found, wanted)
            alike = sum(worth[number] for number in found), sum(worth[number] for number in wanted)
            assert alike[0] == pytest.approx(alike[1], abs=1e-3), (text, found, wanted)
            ties += 1
    assert ties <= 5000 * 0.08
    with capsys.disabled():
        print(f"\n{name}: 5000 odd texts equal, but for {ties} with a choice of equals")


@pytest.mark.parametrize("name", KINDS)
def test_what_is_saved_is_the_same_tokenizer(models, name, tmp_path):
    ours = Tokenizer.load(models[name])
    ours.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.size == ours.size and again.roles == ours.roles
    for text in odd.texts(400, seed=5):
        assert again.encode(text) == ours.encode(text)
    assert "<s>" in ours.spelled and again.encode_marked("<s>hello</s>")[0] == ours.bos


def test_texts_come_back(models):
    ours = Tokenizer.load(models["bpe"])
    for text in PLAIN:
        assert ours.decode(ours.encode(text)) == text
        assert "".join(ours.pieces(ours.encode(text, special=False))).strip() == text


def folder_of(path: Path, file: str, cls: str, settings: dict[str, Any] | None = None, **how: Any) -> Path:
    train(path / file, **how)
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": cls, **(settings or {})}))
    return path


BRACKETS = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "bos_piece": "[CLS]",
            "eos_piece": "[SEP]", "unk_piece": "[UNK]", "normalization_rule_name": "identity"}  # fmt: skip
ALBERT = {"control_symbols": "[CLS],[SEP],[MASK]", "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
MAKERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "T5": ("spiece.model", "T5Tokenizer", T5),
    "PEGASUS": ("spiece.model", "PegasusTokenizer", T5),
    "XLM-R": ("sentencepiece.bpe.model", "XLMRobertaTokenizer", {}),
    "mBART-50": ("sentencepiece.bpe.model", "MBart50Tokenizer", {}),
    "ALBERT": ("spiece.model", "AlbertTokenizer", ALBERT),
    "DeBERTa": ("spm.model", "DebertaV2Tokenizer", BRACKETS),
}


@pytest.mark.parametrize("name", MAKERS)
def test_each_maker_s_numbers_and_template(tmp_path, name):
    """transformers reads the same folder; where its own pipeline departs from SentencePiece's, the texts are plain."""
    file, cls, how = MAKERS[name]
    folder = folder_of(tmp_path, file, cls, **how)
    ours, theirs = Tokenizer.load(folder), getattr(transformers, cls).from_pretrained(folder)
    assert ours.size == len(theirs)
    for text in PLAIN:
        assert ours.encode(text) == theirs(text)["input_ids"], text
        assert ours.encode(text, "a b") == theirs(text, "a b")["input_ids"], text
    for role in ("pad", "unk", "mask"):
        assert getattr(ours, role) == getattr(theirs, f"{role}_token_id"), role


def listed(folder: Path, first: list[str], last: list[str], others: list[str], step: int) -> dict[str, int]:
    """A vocab.json that lacks every `step`-th piece and holds others of another language."""
    (file,) = [one for one in folder.iterdir() if one.suffix in (".spm", ".model") and "target" not in one.name]
    model = sentence_piece.read(file)
    own = [one.text for number, one in enumerate(model.pieces[3:]) if number % step]
    vocab = {name: number for number, name in enumerate(dict.fromkeys([*first, *own, *others, *last]))}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    return vocab


@pytest.mark.filterwarnings("ignore:Recommended")
def test_marian_looks_pieces_up(tmp_path):
    folder = folder_of(tmp_path, "source.spm", "MarianTokenizer", model_type="bpe")
    train(folder / "target.spm", model_type="bpe", vocab_size=1600)
    vocab = listed(folder, ["</s>", "<unk>", ">>de<<"], ["<pad>"], ["▁Wörter", "X9", "⚙"], 17)
    ours, theirs = Tokenizer.load(folder), transformers.MarianTokenizer.from_pretrained(folder)
    assert ours.size == len(vocab) and (ours.pad, ours.eos, ours.unk) == (len(vocab) - 1, 0, 1)
    for text in odd.texts():
        assert ours.encode(text) == theirs.encode(text, split_special_tokens=True), text
    assert ours.encode(">>de<< Hello")[0] == 2 == theirs.encode(">>de<< Hello")[0]
    assert ours.decode([vocab["▁Wörter"], vocab["X9"]]) == "WörterX9"
    ours.save(tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    assert again.size == ours.size
    assert all(again.encode(text) == ours.encode(text) for text in odd.texts(300, seed=5))


def test_m2m_100_looks_pieces_up_and_names_the_language(tmp_path):
    folder = folder_of(tmp_path, "sentencepiece.bpe.model", "M2M100Tokenizer", {"src_lang": "zh"}, model_type="bpe")
    listed(folder, ["<s>", "<pad>", "</s>", "<unk>"], [], [], 19)
    ours, theirs = Tokenizer.load(folder), transformers.M2M100Tokenizer.from_pretrained(folder)
    for text in odd.texts():
        assert ours.encode(text) == theirs.encode(text, split_special_tokens=True), text
    assert ours.encode("a")[0] == theirs.get_lang_id("zh")
    assert len(languages.known(ours)) == len(languages.M2M_100)
    other, marks = languages.between(ours, Marks(start=ours.eos), "fr", "de")
    theirs.src_lang = "fr"
    assert other.encode("Hello world") == theirs.encode("Hello world")
    assert marks == Marks(start=ours.eos, first=theirs.get_lang_id("de"))


@pytest.mark.parametrize(
    ("cls", "language", "last"), [("MBartTokenizer", "zh_CN", True), ("NllbTokenizer", "zho_Hans", False)]
)
def test_languages_stand_where_fairseq_put_them(tmp_path, cls, language, last):
    """By the rule alone: transformers leaves the table of characters out of mBART, and the languages out of NLLB."""
    folder = folder_of(tmp_path, "sentencepiece.bpe.model", cls, {"src_lang": language})
    ours = Tokenizer.load(folder)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    known = pieces.languages.MBART if last else pieces.languages.NLLB
    own = theirs.GetPieceSize() + 1 + known.index(language)
    assert ours.mask == theirs.GetPieceSize() + 1 + len(known) == ours.size - 1
    assert list(languages.known(ours)) == known
    other, marks = languages.between(ours, Marks(start=own if last else ours.eos), known[0], known[1])
    first = theirs.GetPieceSize() + 1
    assert marks == (Marks(start=first + 1) if last else Marks(start=ours.eos, first=first + 1))
    assert other.encode("Hello")[-1 if last else 0] == first
    for text in PLAIN:
        cut = [number + 1 if number > 2 else 3 for number in theirs.encode(text)]
        assert ours.encode(text) == ([*cut, 2, own] if last else [own, *cut, 2])


def test_llama_begins_with_bos_and_its_bytes(tmp_path):
    told = {"add_eos_token": True}
    folder = folder_of(tmp_path, "tokenizer.model", "LlamaTokenizer", told, model_type="bpe", **IDENTITY)
    model = sentence_piece.read(folder / "tokenizer.model")
    (folder / "added_tokens.json").write_text(
        json.dumps({"<extra>": len(model.pieces), "<more>": len(model.pieces) + 1})
    )
    ours = Tokenizer.load(folder)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    for text in [*PLAIN, "<extra>", "龘\0"]:
        assert ours.encode(text) == [1, *theirs.encode(text), 2]
    assert ours.encode_marked("<s>a<extra>")[-2:] == [len(model.pieces), 2]


def test_half_characters_are_refused(models):
    """Bytes that are no UTF-8, decoded so that they come back, are not cut as something else."""
    for raw in (b"\xff", b"abc\xc3(", b"\xed\xa0\x80", b"\xf0\x9f\x98"):
        for name in ("unigram", "bpe"):
            with pytest.raises(RegardError, match="lone surrogate"):
                Tokenizer.load(models[name]).encode(raw.decode("utf-8", "surrogateescape"))


def test_the_table_of_characters_is_applied_as_its_makers_apply_it(models):
    table = charsmap.read(sentence_piece.read(models["unigram"]).charsmap)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(models["unigram"]))
    for text in odd.texts(2000, seed=11):
        ours = " ".join(part for part in table(text).split(" ") if part)
        assert ("▁" + ours.replace(" ", "▁") if ours else "") == theirs.normalize(text)


# Hostile files.


def varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """(number, value): a varint for a number, a length and bytes for bytes."""
    made = b""
    for number, value in fields:
        whole = isinstance(value, int)
        made += varint(number << 3) + varint(value) if whole else varint(number << 3 | 2) + varint(len(value)) + value
    return made


def piece(text: bytes, score: bytes = b"\0\0\x80\xbf", kind: int = 1) -> bytes:
    return message((1, text)) + varint(2 << 3 | 5) + score + message((3, kind))


UNK = message((1, piece(b"<unk>", kind=2)))


def bad_models() -> Iterator[tuple[str, bytes, str]]:
    """(name, bytes, what the refusal says)."""
    yield "nothing", b"", "no pieces"
    yield "text", b"hello world", "not end where"
    yield "a length past the end", varint(1 << 3 | 2) + varint(1 << 40), "not end where"
    yield "a number without end", b"\x80" * 20, "not end where"
    yield "field 0", b"\x00\x00", "not end where"
    yield "a group", varint(1 << 3 | 3), "not end where"
    yield "a piece that is a number", message((1, 7)), "not end where"
    yield "a piece without text", UNK + message((1, message((3, 1)))), "piece 1"
    yield "an empty piece", UNK + message((1, piece(b""))), "piece 1"
    yield "a piece of no UTF-8", UNK + message((1, piece(b"\xff"))), "piece 1"
    yield "a piece with a NUL", UNK + message((1, piece(b"a\0"))), "piece 1"
    yield "a piece of 600 letters", UNK + message((1, piece(b"a" * 600))), "piece 1"
    yield "a score that is none", UNK + message((1, piece(b"a", b"\0\0\xc0\x7f"))), "piece 1"
    yield "a score without end", UNK + message((1, piece(b"a", b"\0\0\x80\x7f"))), "piece 1"
    yield "a kind of 9", UNK + message((1, piece(b"a", kind=9))), "piece 1"
    yield "a piece twice", UNK + 2 * message((1, piece(b"a"))), "one piece twice"
    yield "no unknown piece", message((1, piece(b"a"))), "its unknown piece"
    yield "an unknown piece of 2**60", UNK + message((2, message((40, 1 << 60)))), "its unknown piece"
    yield "words", UNK + message((2, message((3, 3)))), "rule 3"
    yield "spaces after words", UNK + message((2, message((24, 1)))), "after words"
    yield "spaces as they are", UNK + message((3, message((5, 0)))), "after words"
    yield "a table of nothing", UNK + message((3, message((2, b"\1")))), "precompiled_charsmap"
    yield "a table that lies", UNK + message((3, message((2, b"\xff\xff\xff\x7f" + bytes(8))))), "precompiled_charsmap"
    yield "a table that bursts", UNK + message((3, message((2, b"\4\0\0\0" + bytes(4) + b"a" * 500)))), "charsmap"
    runs = b"".join(message((1, piece(b"a" * length))) for length in range(1, 500))
    yield "pieces made of one another", UNK + runs + message((2, message((3, 2)))), "far more ways"
    yield "a BPE with pieces of the user", UNK + message((1, piece(b"x", kind=4)), (2, message((3, 2)))), "user defined"


def test_models_that_lie_are_refused(tmp_path):
    for name, raw, why in bad_models():
        path = tmp_path / "tokenizer.model"
        path.write_bytes(raw)
        with pytest.raises(BadFileError) as caught:
            Tokenizer.load(path)
        assert why in str(caught.value) and str(path) in str(caught.value), (name, str(caught.value))


def test_too_many_pieces_are_refused_before_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_piece, "MOST_PIECES", 5)
    (tmp_path / "tokenizer.model").write_bytes(UNK + b"".join(message((1, piece(b"%d" % n))) for n in range(9)))
    with pytest.raises(BadFileError, match="has more than 5"):
        Tokenizer.load(tmp_path)


def test_a_table_with_circles_ends(tmp_path):
    """Its units point wherever they like: a text walks at most its own length."""
    draw = random.Random(5)
    for _ in range(300):
        units = bytes(draw.randrange(256) for _ in range(64 * 4))
        table = charsmap.read((256).to_bytes(4, "little") + units + b"a\0b\0")
        for text in ("aé明😀", "\0\0", "a" * 50):
            assert isinstance(table(text), str)


@pytest.mark.parametrize(
    ("cls", "settings", "why"),
    [
        ("MBart50Tokenizer", {"src_lang": "xx"}, "language"),
        ("MBart50Tokenizer", {"src_lang": 7}, "language"),
        ("DebertaV2Tokenizer", {"split_by_punct": True}, "split_by_punct"),
        ("DebertaV2Tokenizer", {}, r"lacks what stands around a text: \[CLS\], \[SEP\]"),
        ("T5Tokenizer", {"extra_ids": 10**9}, "extra_ids"),
        ("PegasusTokenizer", {"offset": -1}, "offset"),
    ],
)
def test_settings_that_cannot_be_followed_are_named(tmp_path, cls, settings, why):
    folder = folder_of(tmp_path, "tokenizer.model", cls, settings, vocab_size=700)
    with pytest.raises(BadFileError, match=why):
        Tokenizer.load(folder)


def test_fairseq_needs_its_three_first(tmp_path):
    folder = folder_of(tmp_path, "sentencepiece.bpe.model", "XLMRobertaTokenizer", **T5)
    with pytest.raises(BadFileError, match="fairseq"):
        Tokenizer.load(folder)
