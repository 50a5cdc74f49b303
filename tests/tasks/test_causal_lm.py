"""Causal language modelling: shifted once, everything predicted once, the end included; scores of whole documents."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from regard import tasks
from regard.errors import ConfigError, RegardError
from regard.tasks.base import IGNORED

BOS, EOS, UNK, SPACE, A = 1, 2, 3, 7, 8


def causal(tokenizer, context=31):
    return tasks.get("causal-lm", {}, tokenizer, context=context)


def test_labels_are_the_next_tokens_and_the_end_carries_loss(pairs):
    (sample,) = causal(pairs).samples({"text": "ab a"})
    a, b_second = A, A + 8 + 1
    assert sample.tokens.tolist() == [BOS, a, b_second, SPACE, a]
    assert sample.labels.tolist() == [a, b_second, SPACE, a, EOS]
    assert sample.targets == 5 and sample.cut == 0


def test_long_documents_are_cut_so_that_each_token_is_predicted_once(pairs):
    text = "abcdefgh abcd efg h"
    whole = [BOS, *pairs.encode(text, special=False), EOS]
    for context in (1, 2, 3, 5, 7, 19, 20, 31):
        chunks = causal(pairs, context).samples({"text": text})
        assert [t for chunk in chunks for t in chunk.labels] == whole[1:]
        assert [t for chunk in chunks for t in chunk.tokens] == whole[:-1]
        lengths = [len(chunk.tokens) for chunk in chunks]
        assert max(lengths) <= context and max(lengths) - min(lengths) <= 1
        assert len(chunks) == math.ceil((len(whole) - 1) / context)
        assert sum(EOS in chunk.labels for chunk in chunks) == 1


def test_an_empty_text_gives_no_sample(pairs):
    assert causal(pairs).samples({"text": ""}) == []


def test_a_row_without_its_column_is_named(pairs):
    with pytest.raises(RegardError, match=r"poems.jsonl:7.*'text'"):
        causal(pairs).samples({"label": "x", "where": "poems.jsonl:7"})


def test_collated_rows_are_flat_and_shortest_first(pairs):
    task = causal(pairs)
    samples = [task.samples({"text": text})[0] for text in ("abc", "d", "ef")]
    batch = task.collate(samples, [5, 6, 7])
    assert batch.ids == (6, 7, 5) and batch.lengths == (2, 3, 4) and batch.tokens.shape == (1, 9)
    assert batch.count == 9 and batch.where.tolist() == list(range(9))
    assert batch.labels.tolist() == [t for i in (1, 2, 0) for t in samples[i].labels]
    assert batch.document().tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_a_batch_costs_what_its_documents_cost_alone(pairs, tiny):
    task, model = causal(pairs), tiny("gpt2")
    samples = [task.samples({"text": text})[0] for text in ("abc de", "d", "ef", "hhhhh")]
    together = task.loss(model, task.collate(samples, range(4)), None)
    alone = [task.loss(model, task.collate([sample], [0]), None) for sample in samples]
    assert together.item() == pytest.approx(sum(loss.item() for loss in alone), rel=1e-5)


def test_loss_is_that_of_the_plain_formula(pairs, tiny):
    task, model = causal(pairs), tiny("gpt2")
    (sample,) = task.samples({"text": "abc de"})
    logits = model(torch.from_numpy(sample.tokens)[None])[0]
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(sample.labels), reduction="sum")
    assert task.loss(model, task.collate([sample], [0]), None).item() == pytest.approx(expected.item(), rel=1e-5)


def test_bits_per_character_are_those_of_the_loss(pairs, tiny):
    task, model = causal(pairs, context=5), tiny("gpt2")
    rows = [{"text": text} for text in ("abc de fgh", "d", "", "hhhhh")]
    done = []
    model.train()
    result = task.evaluate(model, rows, progress=done.append)
    assert model.training and sum(done) == 4
    model.eval()
    samples = [sample for row in rows for sample in task.samples(row)]
    nats = task.loss(model, task.collate(samples, range(len(samples))), None).item()
    characters = 10 + 1 + 5
    assert result.primary.name == "bits_per_character" == task.primary
    assert result.primary.value == pytest.approx(nats / characters / math.log(2), rel=1e-5)
    assert result.values["nats_per_token"] == pytest.approx(nats / (characters + 3), rel=1e-5)
    assert result.examples == 3


def test_a_character_the_tokenizer_cannot_spell_costs_a_choice_of_all_unicode(pairs, tiny):
    task, model = causal(pairs), tiny("gpt2")
    unknown = task.evaluate(model, [{"text": "a月"}])
    (sample,) = task.samples({"text": "a月"})
    assert UNK in sample.labels
    nats = task.loss(model, task.collate([sample], [0]), None).item() + math.log(0x110000 - 0x800)
    assert unknown.primary.value == pytest.approx(nats / 2 / math.log(2), rel=1e-5)
    assert unknown.details["unknown_characters"] == 1


def test_baselines_grow_better_with_their_memory(pairs):
    rows = [{"text": "abc abd abc abd"}] * 9 + [{"text": ""}]
    found = causal(pairs).baselines(rows, rows[:2])
    assert [result.name for result in found] == ["unigram", "bigram", "5-gram"]
    values = [result.primary.value for result in found]
    assert values == sorted(values, reverse=True) and found[0].examples == 2


def test_context_above_the_models_is_refused(pairs):
    with pytest.raises(ConfigError, match=r"64.*31"):
        tasks.get("causal-lm", {"context": 64}, pairs, context=31)
    assert tasks.get("causal-lm", {"context": 7}, pairs, context=31).context == 7


def test_a_tokenizer_without_bos_begins_with_eos(pairs):
    pairs.bos = None
    (sample,) = causal(pairs).samples({"text": "a"})
    assert sample.tokens.tolist() == [EOS, A] and sample.labels.tolist() == [A, EOS]
    pairs.eos = pairs.sep = None
    with pytest.raises(RegardError, match=r"eos / sep"):
        causal(pairs)


def test_unknown_tasks_are_named():
    with pytest.raises(ConfigError, match=r"translate.*causal-lm"):
        tasks.config("translate", {})
    with pytest.raises(ConfigError, match=r"contxt"):
        tasks.config("causal-lm", {"contxt": 3})
    assert tasks.names()[:4] == ("causal-lm", "masked-lm", "seq2seq", "classification")


def test_no_label_is_the_ignored_one(pairs):
    (sample,) = causal(pairs).samples({"text": "abc"})
    assert not np.isin(IGNORED, sample.labels)
