"""The whole explanation of each kind of model; the lens; the page and the JSON made of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from regard.cli.command import _jsonable
from regard.errors import RegardError
from regard.explain import explain, explanation, question
from regard.explain.lens import lens
from regard.report import html, png, terminal
from regard.report.sections import Label, Message
from regard.words import LANGUAGES, has

KINDS = ("gpt", "grouped", "mlm", "classifier", "translator")
POEM = "床前明月光，疑是地上霜。"


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_of_the_lens_is_the_models_output(make, kind):
    bundle = make(kind)
    asked = question.ask(bundle, POEM, None)
    reading = lens(bundle.model, asked)
    probabilities = torch.softmax(question.logits(bundle.model, asked)[0], -1)
    rows = list(asked.rows) or [0]
    best, order = probabilities.topk(reading.answers.shape[-1])
    torch.testing.assert_close(reading.probabilities[-1, rows].float(), best)
    assert torch.equal(reading.answers[-1, rows, 0], order[:, 0])
    assert len(reading.answers) == bundle.model.config.depth + 1


def test_the_first_row_of_the_lens_reads_the_embedding(make):
    bundle = make("grouped")
    asked = question.ask(bundle, POEM, None)
    model = bundle.model
    with torch.no_grad():
        vectors = model.embed.tokens(asked.tokens[None])
        expected = torch.softmax(model.head(model.stack.norm(vectors))[0], -1)
    torch.testing.assert_close(lens(model, asked).probabilities[0].float(), expected.topk(10).values)


@pytest.mark.parametrize("kind", KINDS)
def test_an_explanation_is_complete_and_its_numbers_are_the_models(make, kind):
    bundle = make(kind)
    found = explain(bundle, POEM)
    kinds = {"translator": {"encoder", "decoder", "cross"}}.get(kind, {"self"})
    assert set(found.attention) == kinds
    heads = bundle.model.stack.blocks[0].attention.projection.heads
    for name, section in found.attention.items():
        assert len(section.heads) == 3 * heads
        for head in section.heads:
            assert np.shape(head.weights) == (len(section.queries), len(section.keys))
            np.testing.assert_allclose(np.sum(head.weights, -1), 1.0, rtol=1e-4)
        assert (section.rollout is None) == (name == "cross")
        if section.rollout is not None:
            np.testing.assert_allclose(section.rollout.sum(-1), 1.0)
    asked = question.ask(bundle, POEM, None)
    with torch.no_grad():
        shares = torch.softmax(question.logits(bundle.model, asked)[0], -1)
    assert [one.probability for one in found.answers] == pytest.approx(
        [float(shares[at, number]) for at, number in enumerate(asked.answers)], rel=1e-4
    )
    if kind != "mlm":  # the masked model is asked for the hidden word, not for its own best
        assert all(one.rank == 1 for one in found.answers)
    json.dumps(_jsonable(found.document()))
    assert "</html>" in html.build(found.report())


def test_chosen_layers_and_heads_limit_what_is_looked_at(make):
    found = explain(make("translator"), POEM, "明月", layers=[1], heads=[2, 5])
    for section in found.attention.values():
        assert [(head.layer, head.head) for head in section.heads] == [(1, 2), (1, 5)]
        assert section.rollout is None
    document = found.document()
    assert np.shape(document["attention"]["cross"]["heads"][0]["weights"]) == (len(found.tokens), len(found.source))
    whole = explain(make("translator"), POEM, "明月")
    assert "weights" not in whole.document()["attention"]["cross"]["heads"][0]
    one = next(head for head in whole.attention["cross"].heads if (head.layer, head.head) == (1, 5))
    assert one.effect == pytest.approx(found.attention["cross"].heads[1].effect, abs=1e-5)


def test_maps_beyond_the_budget_are_those_that_matter_least(make, monkeypatch):
    monkeypatch.setattr(explanation, "MAP_NUMBERS", 1000)
    found = explain(make("gpt"), POEM)
    heads = found.attention["self"].heads
    kept = [abs(head.effect) for head in heads if head.weights is not None]
    left = [abs(head.effect) for head in heads if head.weights is None]
    assert len(kept) == 1000 // len(found.tokens) ** 2
    assert min(kept) >= max(left)
    assert "report.page" not in html.build(found.report())


def test_the_targets_own_tokens_are_the_answers(make, tokenizer):
    found = explain(make("gpt"), "床前", "明月光")
    assert [one.answer for one in found.answers] == list("明月光")
    assert found.tokens[-3:] == ("前", "明", "月")
    assert [one.after for one in found.answers] == ["前", "明", "月"]
    classifier = explain(make("classifier"), "床前", "坏")
    assert classifier.answers[0].answer == "坏"


def test_gaps_of_a_masked_model(make, tokenizer):
    mark = tokenizer.pieces([tokenizer.mask])[0]
    found = explain(make("mlm"), f"床前{mark}月{mark}")
    assert len(found.answers) == 2
    assert found.remark is None
    named = explain(make("mlm"), f"床前{mark}月{mark}", "明光")
    assert [one.answer for one in named.answers] == ["明", "光"]
    hidden = explain(make("mlm"), "疑是地上霜。")
    assert [one.answer for one in hidden.answers] == list("霜") or hidden.answers[-1].answer == "霜"
    assert hidden.remark is not None


def test_the_model_is_left_as_it_was(make):
    bundle = make("gpt")
    bundle.model.train()
    bundle.model.stack.blocks[1].eval()
    before = {name: value.clone() for name, value in bundle.model.state_dict().items()}
    first = explain(bundle, POEM)
    assert bundle.model.training
    assert not bundle.model.stack.blocks[1].training
    assert all(torch.equal(before[name], value) for name, value in bundle.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in bundle.model.modules())
    assert explain(bundle, POEM).document() == first.document()  # nothing was drawn at random


@pytest.mark.parametrize(
    ("kind", "text", "target", "more", "key"),
    [
        ("gpt", "", None, {}, "explain.empty"),
        ("gpt", "明", "", {}, "explain.empty_target"),
        ("gpt", "明" * 61, None, {}, "explain.too_long"),
        ("gpt", "明", None, {"layers": [3]}, "explain.no_layer"),
        ("gpt", "明", None, {"heads": [7]}, "explain.no_head"),
        ("classifier", "明", "neutral", {}, "explain.no_label"),
        ("mlm", "明月", "光", {}, "explain.masks"),
    ],
)
def test_what_cannot_be_explained_is_refused(make, kind, text, target, more, key):
    with pytest.raises(RegardError) as error:
        explain(make(kind), text, target, **more)
    assert error.value.key == key
    assert str(error.value) and key not in str(error.value)


def every_label(value) -> list[Label]:
    if isinstance(value, Message):
        return [value, *every_label(list(value.values.values()))]
    if isinstance(value, list | tuple):
        return [label for each in value for label in every_label(each)]
    if hasattr(value, "__dataclass_fields__"):
        return [label for name in value.__dataclass_fields__ for label in every_label(getattr(value, name))]
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_everything_said_is_in_both_languages(make, kind):
    labels = every_label(explain(make(kind), POEM).report())
    assert len(labels) > 30
    for label in labels:
        assert has(label.key), label.key
        for language in LANGUAGES:
            assert label.key not in label.spoken(language)


def test_picture_and_terminal(make, tmp_path, capsys):
    from rich.console import Console

    found = explain(make("translator"), POEM, "明月")
    png.write(found.report(), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    terminal.show(found.summary(), Console(width=100))
    assert "明" in capsys.readouterr().out
