"""Sequence to sequence: teacher forcing shifted once, packed pairs, answers scored as text."""

from __future__ import annotations

import pytest
import torch

from regard import tasks
from regard.errors import RegardError
from regard.inputs.marks import Marks
from regard.tasks.base import IGNORED

BOS, EOS, CLS, SEP, A = 1, 2, 5, 6, 8
PAIRS = [("abc", "h g"), ("d", "ee"), ("fgh ab c", "a"), ("hhhh", "bcd efg")]


def seq2seq(tokenizer, context=31, **settings):
    return tasks.get("seq2seq", settings, tokenizer, context=context)


def samples_of(task):
    return [task.samples({"source": source, "target": target})[0] for source, target in PAIRS]


def test_target_is_shifted_once_and_its_end_carries_loss(pairs):
    (sample,) = seq2seq(pairs).samples({"source": "ab", "target": "cd"})
    c, d_second = A + 2, A + 8 + 3
    assert sample.source.tolist() == [CLS, A, A + 8 + 1, SEP]
    assert sample.tokens.tolist() == [BOS, c, d_second]
    assert sample.labels.tolist() == [c, d_second, EOS]
    assert sample.size == 7 and sample.targets == 3


def test_what_is_cut_is_counted(pairs):
    (sample,) = seq2seq(pairs, context=5).samples({"source": "abcde", "target": "abcdefg"})
    assert len(sample.source) == 5 and len(sample.tokens) == len(sample.labels) == 5
    assert sample.cut == 2 + 3
    assert EOS not in sample.labels  # the target goes on where it was cut
    assert seq2seq(pairs).samples({"source": "", "target": "a"}) == []


def test_pairs_in_one_batch_cost_what_they_cost_alone(pairs, tiny):
    task, model = seq2seq(pairs), tiny("vaswani")
    samples = samples_of(task)
    batch = task.collate(samples, range(4))
    assert batch.source_lengths == (3, 5, 6, 10) and batch.count == sum(len(s.labels) for s in samples)
    alone = sum(task.loss(model, task.collate([sample], [0]), None).item() for sample in samples)
    assert task.loss(model, batch, None).item() == pytest.approx(alone, rel=1e-5)


def test_loss_is_that_of_the_plain_formula(pairs, tiny):
    task, model = seq2seq(pairs), tiny("vaswani")
    sample = samples_of(task)[0]
    logits = model(torch.from_numpy(sample.source)[None], torch.from_numpy(sample.tokens)[None])[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(sample.labels), reduction="sum")
    assert task.loss(model, task.collate([sample], [0]), None).item() == pytest.approx(expected.item(), rel=1e-5)


def test_smoothing_is_the_heads_and_stays_out_of_the_scores(pairs, tiny):
    task, model = seq2seq(pairs), tiny("vaswani", smoothing=0.3)
    rows = [{"source": source, "target": target} for source, target in PAIRS]
    batch = task.collate(samples_of(task), range(4))
    plain = task.loss(model, batch, None).item()
    assert task.loss(model.train(), batch, None).item() != pytest.approx(plain, rel=1e-3)
    result = task.evaluate(model, rows)
    assert result.values["nats_per_token"] == pytest.approx(plain / batch.count, rel=1e-5)


def test_answers_are_scored_as_text(pairs, tiny):
    from sacrebleu.metrics import CHRF

    task, model = seq2seq(pairs, context=13), tiny("vaswani", context=13)
    rows = [{"source": source, "target": target} for source, target in [*PAIRS, ("a" * 40, "b"), ("", "c")]]
    done = []
    result = task.evaluate(model, rows, progress=done.append)
    assert sum(done) == result.examples == 5 and result.cut == 42 - 13
    answers, true = result.details["answers"], [row["target"] for row in rows[:5]]
    assert result.primary.name == "chrf"
    assert result.primary.value == pytest.approx(CHRF().corpus_score(answers, [true]).score)


def test_baselines_copy_and_remember(pairs):
    rows = [{"source": source, "target": target} for source, target in PAIRS]
    copy, neighbour = seq2seq(pairs).baselines(rows, [*rows, {"source": "abd", "target": "x"}])
    assert copy.details["answers"] == [source for source, _ in PAIRS] + ["abd"]
    assert neighbour.details["answers"] == [target for _, target in PAIRS] + ["h g"]


def test_nothing_to_score_is_said(pairs, tiny):
    with pytest.raises(RegardError, match=r"nothing to score|没有可评分"):
        seq2seq(pairs).evaluate(tiny("vaswani"), [{"source": "", "target": ""}])


def test_targets_begin_as_the_model_has_learnt_to(pairs):
    """A published model's own beginning (BART's is eos), in training as in decoding."""
    plain, own = (tasks.get("seq2seq", {}, pairs, context=64, marks=marks) for marks in (None, Marks(start=7)))
    row = {"source": "abc", "target": "abc"}
    (one,), (other,) = plain.samples(row), own.samples(row)
    assert one.tokens[0] == pairs.bos and other.tokens[0] == 7
    assert one.tokens[1:].tolist() == other.tokens[1:].tolist() and one.labels.tolist() == other.labels.tolist()


def test_a_language_is_said_and_not_predicted(pairs):
    """Behind the start stands the token of the language that is asked for; no loss is on it."""
    plain, spoken = (
        tasks.get("seq2seq", {}, pairs, context=64, marks=marks) for marks in (Marks(start=7), Marks(start=7, first=9))
    )
    (one,), (other,) = (task.samples({"source": "abc", "target": "abc"}) for task in (plain, spoken))
    assert other.tokens.tolist() == [7, 9, *one.tokens[1:].tolist()]
    assert other.labels.tolist() == [IGNORED, *one.labels.tolist()]
