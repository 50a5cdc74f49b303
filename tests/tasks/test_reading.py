"""Names, answers, scores and choices read off texts, as the reference's numbers have them."""

from __future__ import annotations

import json

import pytest
import tokenizers
import torch
import transformers
from tokenizers import models as cut
from tokenizers import normalizers, pre_tokenizers, processors, trainers

from regard import bundle
from regard.cli.main import run
from regard.errors import RegardError
from regard.tasks import reading

TEXTS = ["Ada Lovelace was born in London.", "北京 and Zürich, un-believably far!", "McDonald's"]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
SIZES = {"hidden_size": 26, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 34,
         "max_position_embeddings": 48}  # fmt: skip


def words(folder, between="[SEP]"):
    """WordPiece as BERT's, whose pieces are short; ``between`` two texts as BERT or RoBERTa has it."""
    rust = tokenizers.Tokenizer(cut.WordPiece(unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer(lowercase=True)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=80, special_tokens=names, show_progress=False)
    rust.train_from_iterator(TEXTS * 3, trainer)
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A {between} $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=rust, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    fast.save_pretrained(folder)
    return fast


def made(folder, cls, between="[SEP]", **more):
    """The reference's model and tokenizer, and ours of the same folder; weights large, so that choices are clear."""
    torch.manual_seed(11)
    fast = words(folder, between)
    kind = getattr(transformers, cls)
    model = kind(kind.config_class(vocab_size=len(fast), **{**SIZES, **more})).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.4 if weight.dim() > 1 else 0.2)
    model.save_pretrained(folder)
    return model, fast, bundle.load(folder)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {name: n for n, name in enumerate(LABELS)}}
    return made(tmp_path_factory.mktemp("tagger"), "BertForTokenClassification", **labels)


@pytest.fixture(scope="module")
def answerer(tmp_path_factory):
    return made(tmp_path_factory.mktemp("answerer"), "BertForQuestionAnswering")


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    """Whose questions see all, and whose texts a window."""
    more = {"attention_window": [4, 4], "sep_token_id": 3, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
            "type_vocab_size": 2}  # fmt: skip
    return made(tmp_path_factory.mktemp("windowed"), "LongformerForQuestionAnswering", "[SEP] [SEP]", **more)


def test_names_are_those_of_the_reference_s_pipeline(tagger):
    model, fast, ours = tagger
    pipe = transformers.pipeline("token-classification", model=model, tokenizer=fast, aggregation_strategy="first")
    seen = 0
    for text in (*TEXTS[:1], *TEXTS[2:], "London was far, Ada", "un-believably"):
        found, expected = reading.names(ours, text), pipe(text)
        assert [(one["label"], one["begin"], one["end"]) for one in found] == [
            (one["entity_group"], one["start"], one["end"]) for one in expected
        ]
        assert [one["words"] for one in found] == [text[one["start"] : one["end"]] for one in expected]
        seen += len(found)
    assert seen > 3


def test_a_chinese_character_is_a_word(tagger):
    _, _, ours = tagger
    ids, places = ours.tokenizer.encode("北京x", special=False), ours.tokenizer.places("北京x")
    assert places == [(0, 1), (1, 2), (2, 3)] and len(ids) == 3
    assert not any(reading._goes_on("北京x", places, ours.tokenizer.pieces(ids), at) for at in (1, 2))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], [("PER", "a b"), ("LOC", "d")]),
        (["B-PER", "B-PER", "I-LOC", "I-LOC"], [("PER", "a"), ("PER", "b"), ("LOC", "c d")]),
        (["I-PER", "O", "I-PER", "I-PER"], [("PER", "a"), ("PER", "c d")]),
    ],
)
def test_names_begin_and_end_where_their_labels_say(tagger, monkeypatch, said, expected):
    _, _, ours = tagger
    chosen = torch.full((1, 6, len(LABELS)), -9.0)
    for at, label in enumerate(said):
        chosen[0, at + 1, LABELS.index(label)] = 9.0
    monkeypatch.setattr(reading, "_said", lambda *rest, **more: chosen)
    assert [(one["label"], one["words"]) for one in reading.names(ours, "a b c d")] == expected


@pytest.mark.parametrize("which", ["answerer", "windowed"])
def test_answers_are_the_likeliest_spans(which, request):
    model, fast, ours = request.getfixturevalue(which)
    for question, text in (("who was born", TEXTS[0]), ("far", TEXTS[2] + " " + TEXTS[0])):
        given = fast(question, text, return_tensors="pt", return_offsets_mapping=True)
        with torch.no_grad():
            out = model(input_ids=given["input_ids"], token_type_ids=given["token_type_ids"])
        inside = [at for at, part in enumerate(given.sequence_ids()) if part == 1]
        where = [0, *inside]
        begin, end = (logits[0, where].softmax(-1) for logits in (out.start_logits, out.end_logits))
        count = len(where)
        pairs = {(i, j): float(begin[i] * end[j]) for i in range(1, count) for j in range(i, min(count, i + 30))}
        (first, last), likely = max(pairs.items(), key=lambda one: one[1])
        places = given["offset_mapping"][0].tolist()
        found = reading.answer(ours, question, text)
        assert (found["begin"], found["end"]) == (places[where[first]][0], places[where[last]][1])
        assert found["answer"] == text[found["begin"] : found["end"]]
        assert found["probability"] == pytest.approx(likely, rel=1e-4)
        assert found["no_answer"] == pytest.approx(float(begin[0] * end[0]), rel=1e-4)


def test_a_long_text_is_read_in_windows(answerer):
    _, _, ours = answerer
    text = " ".join(f"{TEXTS[0]} {TEXTS[2]}" for _ in range(20))
    count = len(ours.tokenizer.encode(text, special=False))
    assert count > 3 * ours.context
    found = reading.answer(ours, "far", text)
    assert found["answer"] == text[found["begin"] : found["end"]] and found["answer"]
    # Nothing is left out: what one window finds best in the last words is looked at as well.
    seen = []
    said = reading._said

    def watched(bundle, row, kinds=(), **more):
        seen.append(row)
        return said(bundle, row, kinds, **more)

    reading._said = watched
    try:
        reading.answer(ours, "far", text)
    finally:
        reading._said = said
    ids = ours.tokenizer.encode(text, special=False)
    assert all(len(row) <= ours.context for row in seen) and seen[-1][-9:-1] == ids[-8:]
    with pytest.raises(RegardError, match="tokens"):
        reading.answer(ours, "far " * 60, text)


def test_scores_and_choices(tmp_path):
    model, fast, ours = made(tmp_path / "score", "BertForSequenceClassification", num_labels=1)
    given = fast("who", TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        expected = float(model(**given).logits)
    assert reading.score(ours, TEXTS[0], "who") == pytest.approx(expected, rel=1e-4)
    assert reading.score(ours, TEXTS[0]) != pytest.approx(expected, rel=1e-2)
    model, fast, ours = made(tmp_path / "choice", "BertForMultipleChoice")
    rows = [fast(TEXTS[0], other, return_tensors="pt") for other in TEXTS[1:]]
    with torch.no_grad():
        said = torch.stack([model(**{key: one[None] for key, one in row.items()}).logits[0, 0] for row in rows])
    [found] = reading.predict(ours, [TEXTS[0]], among=TEXTS[1:])
    torch.testing.assert_close(torch.tensor([found["probabilities"][text] for text in TEXTS[1:]]), said.softmax(0))
    assert found["choice"] == TEXTS[1:][int(said.argmax())]


def test_a_classifier_of_pairs(tmp_path, capsys):
    labels = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    model, fast, _ = made(tmp_path, "BertForSequenceClassification", **labels)
    with torch.no_grad():
        expected = model(**fast(TEXTS[0], TEXTS[2], return_tensors="pt")).logits.softmax(-1)[0]
    code = run(["predict", str(tmp_path), "--question", TEXTS[0], TEXTS[2], "--threads", "1", "--device", "cpu"])
    [one] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    torch.testing.assert_close(torch.tensor([one["probabilities"][name] for name in ("no", "yes")]), expected)


def test_the_verb_reads_and_says_what_it_lacks(tagger, answerer, capsys):
    def said(ours, *options):
        code = run(["predict", str(ours.folder), *options, "--threads", "1", "--device", "cpu", "--lang", "en"])
        out, error = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], " ".join(error.split())

    code, found, _ = said(tagger[2], *TEXTS[:2])
    assert code == 0 and [one["text"] for one in found] == TEXTS[:2] and found[0]["found"][0]["label"] in ("PER", "LOC")
    code, [one], _ = said(answerer[2], "--question", "who", TEXTS[0])
    assert code == 0 and one["answer"] == TEXTS[0][one["begin"] : one["end"]]
    code, _, error = said(answerer[2], TEXTS[0])
    assert code != 0 and "--question" in error
    code, _, error = said(tagger[2], "--question", "who", TEXTS[0])
    assert code != 0 and "--question" in error and "tagging" in error
