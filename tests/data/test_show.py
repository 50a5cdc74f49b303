from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from regard.data import show

WORDS = ["[bos]", "[eos]", "[MASK]", "明", "月", "照", "\n", "a"]


class Tokenizer:
    def pieces(self, ids):
        return [WORDS[number] for number in ids]


def batch(**changes):
    usual = {
        "tokens": np.array([[0, 3, 4, 0, 5]]),
        "lengths": (3, 2),
        "where": np.array([0, 1, 2, 3, 4]),
        "labels": np.array([3, 4, 1, 5, 1]),
        "source": None,
        "source_lengths": (),
        "count": 5,
        "ids": (17, 4),
    }
    return SimpleNamespace(**{**usual, **changes})


def test_a_language_model_is_asked_for_what_follows():
    one, two = show.documents(batch(), Tokenizer(), where=["a:3", "a:9"], cut={4: 7})
    assert [(piece.text, piece.answer) for piece in one.pieces] == [("[bos]", None), ("明", None), ("月", "[eos]")]
    assert (one.where, one.cut, two.where, two.cut) == ("a:3", 0, "a:9", 7)
    text = show.text([one, two])
    assert "[bos]|明|月→[eos]" in text and "[bos]|照→[eos]" in text
    assert "2 documents in one row of 5 tokens, without padding" in text and "5 tokens carry loss" in text
    assert "7 tokens beyond the context" in text


def test_borders_are_kept_a_label_of_the_next_document_is_an_answer():
    # The last token of the first document is asked for what happens to be the first of the second: no continuation.
    one, _ = show.documents(batch(labels=np.array([3, 4, 0, 5, 1])), Tokenizer())
    assert one.pieces[-1].answer == "[bos]" and one.where == "#17"


def test_a_masked_language_model_is_asked_at_the_gaps():
    found = show.documents(
        batch(tokens=np.array([[0, 2, 4, 0, 5]]), where=np.array([1]), labels=np.array([3])), Tokenizer()
    )
    assert "([bos])|[MASK]→明|(月)" in show.text(found)


def test_a_classification_shows_its_class():
    found = show.documents(batch(where=np.array([]), labels=np.array([1, 0])), Tokenizer(), classes=["bad", "good"])
    assert [document.answer for document in found] == ["good", "bad"]
    assert "[bos]|明|月\n" in show.text(found) and "carry loss" not in show.text(found)


def test_a_translation_shows_its_source():
    found = show.documents(batch(source=np.array([[7, 7, 1]]), source_lengths=(1, 2)), Tokenizer())
    assert [document.source for document in found] == [("a",), ("a", "[eos]")]
    assert "source  a|[eos]" in show.text(found)


def test_long_batches_are_cut_short_and_say_so():
    found = show.documents(batch(tokens=np.array([[0, 6, 4, 0, 5]])), Tokenizer())
    text = show.text(found * 5, documents=3, tokens=2)
    assert "[bos]→明|⏎| … +1" in text and "and 7 more documents" in text
