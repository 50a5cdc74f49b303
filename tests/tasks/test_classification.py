"""Classification by encoders and decoders: labels read from the data, unseen ones refused, cuts counted."""

from __future__ import annotations

import pytest
import torch

from regard import tasks
from regard.errors import ConfigError, RegardError
from regard.layers import Context
from regard.models.transformer import about

ROWS = [
    {"text": "abc d", "label": "good", "where": "films.csv:2"},
    {"text": "hh", "label": "bad", "where": "films.csv:3"},
    {"text": "", "label": "bad", "where": "films.csv:4"},
    {"text": "cde fgab c", "label": "so-so", "where": "films.csv:5"},
    {"text": "efg", "label": "good", "where": "films.csv:6"},
]


LABELS = ("bad", "good", "so-so")


def classification(tokenizer, context=31, **settings):
    return tasks.get("classification", settings, tokenizer, context=context, labels=LABELS)


def test_the_recipes_labels_stand_before_those_found(pairs):
    assert classification(pairs).labels == ("bad", "good", "so-so")
    assert classification(pairs, labels=("good", "bad", "so-so")).labels == ("good", "bad", "so-so")
    with pytest.raises(RegardError, match=r"only|at least two"):
        tasks.get("classification", {}, pairs, context=31, labels=("good",))
    with pytest.raises(ConfigError, match=r"twice"):
        tasks.config("classification", {"labels": ("a", "a")})


def test_sample_and_batch(pairs):
    task = classification(pairs)
    samples = [sample for row in ROWS for sample in task.samples(row)]
    assert len(samples) == 4 and samples[0].klass == 1 and samples[0].targets == 1
    assert samples[0].tokens.tolist() == pairs.encode("abc d")
    batch = task.collate(samples, [0, 1, 3, 4])
    assert batch.ids == (1, 4, 0, 3) and batch.labels.tolist() == [0, 1, 1, 2] and batch.count == 4
    assert len(batch.where) == 0 and batch.document().tolist() == [0, 1, 2, 3]


def test_a_label_never_seen_is_refused_by_place(pairs, tiny):
    task = classification(pairs)
    row = {"text": "a", "label": "awful", "where": "held_out.csv:9"}
    with pytest.raises(RegardError, match=r"held_out.csv:9.*awful.*bad, good, so-so"):
        task.samples(row)
    with pytest.raises(RegardError, match=r"awful"):
        task.baselines(ROWS, [row])


def test_what_is_cut_is_counted(pairs):
    (sample,) = classification(pairs, context=7).samples({"text": "abcdefgh", "label": "bad"})
    assert len(sample.tokens) == 7 and sample.cut == 3


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_packed_equals_separate(pairs, tiny, family):
    task, model = classification(pairs), tiny(family, head="classify", labels=LABELS)
    samples = [sample for row in ROWS for sample in task.samples(row)]
    together = task.loss(model, task.collate(samples, range(4)), None)
    alone = [task.loss(model, task.collate([sample], [0]), None).item() for sample in samples]
    assert together.item() == pytest.approx(sum(alone), rel=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_scores_and_predictions_agree(pairs, tiny, family):
    task, model = classification(pairs), tiny(family, head="classify", labels=LABELS)
    bundle = type("Bundle", (), {"model": model, "tokenizer": pairs})()
    asked = [row for row in ROWS if row["text"]]
    predicted = task.predict(bundle, [row["text"] for row in asked])
    for one in predicted:
        assert sum(one["probabilities"].values()) == pytest.approx(1.0)
        assert max(one["probabilities"], key=one["probabilities"].get) == one["label"]
    right = sum(one["label"] == row["label"] for one, row in zip(predicted, asked, strict=True))
    result = task.evaluate(model, ROWS)
    assert result.primary.name == "accuracy" and result.primary.value == pytest.approx(right / 4)
    assert result.details["labels"] == ["bad", "good", "so-so"] and result.examples == 4
    assert sum(map(sum, result.details["confusion"])) == 4
    logits = about(model, torch.tensor([pairs.encode("hh")]), Context())[0]
    shares = torch.softmax(logits, -1).tolist()
    assert list(predicted[1]["probabilities"].values()) == pytest.approx(shares, rel=1e-4)


def test_scoring_drops_nothing(pairs, tiny):
    task, model = classification(pairs), tiny("bert", head="classify", labels=LABELS, dropout=0.5)
    quiet = [task.predict(type("Bundle", (), {"model": model.eval()})(), ["abc d", "hh"])]
    noisy = [task.predict(type("Bundle", (), {"model": model.train()})(), ["abc d", "hh"])]
    assert quiet == noisy and model.training


def test_a_text_longer_than_the_context_is_refused_in_prediction(pairs, tiny):
    task, model = classification(pairs), tiny("bert", head="classify", labels=LABELS)
    bundle = type("Bundle", (), {"model": model, "tokenizer": pairs})()
    with pytest.raises(RegardError, match=r"42.*31"):
        task.predict(bundle, ["a" * 40])


def test_baselines(pairs):
    train = [
        {"text": "good good", "label": "good"},
        {"text": "bad", "label": "bad"},
        {"text": "fine good", "label": "good"},
    ]
    found = tasks.get("classification", {}, pairs, context=9, labels=("bad", "good")).baselines(train, train)
    assert [result.name for result in found] == ["majority", "naive_bayes", "logistic_regression"]
    assert [round(result.primary.value, 3) for result in found] == [0.667, 1.0, 1.0]
