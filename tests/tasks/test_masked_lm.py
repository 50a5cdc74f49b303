"""Masked language modelling: whole words, 80/10/10, nothing but the hidden positions carries loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regard import tasks
from regard.errors import ConfigError, RegardError
from regard.tasks.base import IGNORED
from regard.tasks.masked_lm import choose_words

UNK, MASK, CLS, SEP, SPACE, A = 3, 4, 5, 6, 7, 8
TEXT = "abcd ef g hhh ab cde fgab c defgh ab"


def masked(tokenizer, context=61, **settings):
    return tasks.get("masked-lm", settings, tokenizer, context=context)


def test_whole_words_are_hidden_and_only_they_carry_loss(pairs):
    task = masked(pairs, rate=0.4)
    plain = np.asarray(pairs.encode(TEXT))
    words = np.asarray([None, *pairs.words(plain[1:-1].tolist()), None], dtype=object)
    for index in range(50):
        (sample,) = task.samples({"text": TEXT}, index=index)
        chosen = sample.labels != IGNORED
        assert (sample.labels[chosen] == plain[chosen]).all()
        assert (sample.tokens[~chosen] == plain[~chosen]).all()
        hidden = {words[place] for place in np.flatnonzero(chosen)}
        assert None not in hidden
        assert all((words == word)[chosen].sum() == (words == word).sum() for word in hidden)


def test_unknown_and_special_tokens_are_never_asked_for(pairs):
    task = masked(pairs, rate=1.0)
    (sample,) = task.samples({"text": "ab月 月 c"})
    assert sample.tokens[0] == CLS and sample.tokens[-1] == SEP
    asked = sample.labels[sample.labels != IGNORED].tolist()
    assert asked == [A, A + 8 + 1, A + 2]
    assert task.samples({"text": "月 月"}) == [] == task.samples({"text": ""})


def test_hiding_is_a_pure_function_of_seed_epoch_and_index(pairs):
    task = masked(pairs)

    def hidden(**where):
        (sample,) = task.samples({"text": TEXT}, **where)
        return sample.tokens.tolist(), sample.labels.tolist()

    first = hidden(seed=1, epoch=2, index=3)
    assert first == hidden(seed=1, epoch=2, index=3)
    others = [hidden(seed=1, epoch=2, index=4), hidden(seed=1, epoch=3, index=3), hidden(seed=2, epoch=2, index=3)]
    assert all(first != other for other in others)


def test_eighty_ten_ten(pairs):
    task = masked(pairs, context=2002)
    text = " ".join("abcdefgh"[i % 8] for i in range(999))
    asked = kept = hidden = 0
    for index in range(31):
        (sample,) = task.samples({"text": text}, index=index)
        chosen = sample.labels != IGNORED
        asked += chosen.sum()
        hidden += (sample.tokens[chosen] == MASK).sum()
        kept += (sample.tokens[chosen] == sample.labels[chosen]).sum()
        swapped = sample.tokens[chosen & (sample.tokens != MASK)]
        assert (swapped >= SPACE).all(), "a random token is never a special one"
    assert asked == 31 * round(0.15 * 999)
    assert hidden / asked == pytest.approx(0.8, abs=0.02)
    assert kept / asked == pytest.approx(0.1 + 0.1 / 17, abs=0.015)  # a random one of 17 may be the same


def test_choice_keeps_to_its_share():
    generator = np.random.default_rng(7)
    words = np.asarray([0, 0, 0, 1, 2, None, 3, 3], dtype=object)
    real = np.ones(8, dtype=bool)
    for _ in range(40):
        chosen = choose_words(words, real, 0.3, generator)
        numbers = {words[place] for place in chosen}
        assert len(chosen) <= 2 or numbers == {0}  # a single word may be longer than the share
        assert len(chosen) >= 1


def test_long_texts_are_cut_into_chunks_and_nothing_is_lost(pairs):
    task = masked(pairs, context=9, rate=1.0, masked=0.0, replaced=0.0)
    chunks = task.samples({"text": TEXT})
    ids = [token for chunk in chunks for token in chunk.tokens[1:-1]]
    assert ids == pairs.encode(TEXT, special=False)
    assert all(chunk.tokens[0] == CLS and chunk.tokens[-1] == SEP and len(chunk.tokens) <= 9 for chunk in chunks)


def test_only_hidden_rows_reach_the_head_and_packed_equals_separate(pairs, tiny):
    task, model = masked(pairs, context=31), tiny("bert")
    samples = [task.samples({"text": text}, index=i)[0] for i, text in enumerate(("abcd ef g", "hh", "cde fgab c"))]
    seen = []
    model.head.register_forward_pre_hook(lambda head, arguments: seen.append(arguments[0].shape))
    plain_loss, model.head.loss = (
        model.head.loss,
        lambda rows, labels: (seen.append(rows.shape), plain_loss(rows, labels))[1],
    )
    batch = task.collate(samples, range(3))
    together = task.loss(model, batch, None)
    assert seen == [(batch.count, 20)] and batch.count < sum(batch.lengths) / 2
    alone = sum(task.loss(model, task.collate([sample], [0]), None).item() for sample in samples)
    assert together.item() == pytest.approx(alone, rel=1e-5)


def test_accuracy_counts_hidden_tokens(pairs, tiny):
    task, model = masked(pairs, context=31), tiny("bert")
    rows = [{"text": text} for text in ("abcd ef g", "hh", "", "cde fgab c")]
    right = count = 0
    nats = 0.0
    for index, row in enumerate(rows):
        for sample in task.samples(row, index=index):
            logits = model(torch.from_numpy(sample.tokens)[None])[0]
            chosen = np.flatnonzero(sample.labels != IGNORED)
            wanted = torch.from_numpy(sample.labels[chosen])
            right += (logits[chosen].argmax(-1) == wanted).sum().item()
            nats += torch.nn.functional.cross_entropy(logits[chosen], wanted, reduction="sum").item()
            count += len(chosen)
    result = task.evaluate(model, rows)
    assert result.primary.name == "accuracy" and result.primary.value == pytest.approx(right / count)
    assert result.values["nats_per_token"] == pytest.approx(nats / count, rel=1e-5) and result.examples == 3


def test_baselines_score_the_same_hidden_tokens(pairs):
    rows = [{"text": "ab ab ab ab"}] * 5
    found = masked(pairs).baselines(rows, rows)
    assert [result.name for result in found] == ["unigram", "bigram"]
    assert found[1].primary.value > found[0].primary.value


def test_prediction_fills_each_gap(pairs, tiny):
    task = masked(pairs, context=31)
    bundle = type("Bundle", (), {"model": tiny("bert"), "tokenizer": pairs})()
    (found,) = task.predict(bundle, ["ab [MASK]c [MASK]"], candidates=3)
    assert len(found["masks"]) == 2 and all(len(gap) == 3 for gap in found["masks"])
    shares = [candidate["probability"] for candidate in found["masks"][0]]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    assert found["filled"].startswith("ab ") and "[MASK]" not in found["filled"]
    with pytest.raises(RegardError, match=r"MASK"):
        task.predict(bundle, ["no gap"])
    with pytest.raises(RegardError, match=r"40"):
        task.predict(bundle, ["[MASK]" + "a" * 37])


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"rate"):
        tasks.config("masked-lm", {"rate": 0.0})
    with pytest.raises(ConfigError, match=r"replaced"):
        tasks.config("masked-lm", {"masked": 0.8, "replaced": 0.3})
