"""Gradients against finite differences; integrated gradients against what they must sum to."""

from __future__ import annotations

import sys

import pytest
import torch

from regard.explain import question
from regard.explain.saliency import saliency

KINDS = {"gpt": "明", "grouped": "明月", "mlm": None, "classifier": "好", "translator": "月光"}


def moved(bundle, asked, call: int, position: int, step: torch.Tensor) -> float:
    """The answer's logit with the vector of one token of one input moved by `step`."""
    embeddings = {id(m): m for m in bundle.model.modules() if isinstance(m, torch.nn.Embedding)}
    tokens = next(m for m in embeddings.values() if m.weight.shape[0] == bundle.tokenizer.size)
    calls = []

    def nudge(module, arguments, vectors):
        calls.append(None)
        if len(calls) != call + 1:
            return vectors
        vectors = vectors.clone()
        vectors[0, position] += step
        return vectors

    handle = tokens.register_forward_hook(nudge)
    with torch.no_grad():
        value = question.answer_logit(asked, question.logits(bundle.model, asked))
    handle.remove()
    return float(value)


@pytest.mark.parametrize("kind", KINDS)
def test_saliency_equals_finite_differences(make, kind):
    bundle = make(kind)
    bundle.model.double()
    asked = question.ask(bundle, "床前明月光", KINDS[kind])
    found, _ = saliency(bundle.model, asked)
    assert len(found) == (2 if kind == "translator" else 1)
    inputs = [asked.tokens] if asked.source is None else [asked.source, asked.tokens]
    weight = next(
        m.weight
        for m in bundle.model.modules()
        if isinstance(m, torch.nn.Embedding) and m.weight.shape[0] == bundle.tokenizer.size
    )
    size = 1e-4
    for call, (tokens, salience) in enumerate(zip(inputs, found, strict=True)):
        for position in (0, len(tokens) - 1):
            vector = weight[tokens[position]].detach()
            unit = vector / vector.norm()
            up, down = (moved(bundle, asked, call, position, sign * size * unit) for sign in (1, -1))
            slope = (up - down) / (2 * size)
            expected = slope * float(vector.norm())
            assert float(salience.gradient_x_input[position]) == pytest.approx(expected, rel=1e-4, abs=1e-6)
            assert float(salience.gradient_norm[position]) >= abs(slope) - 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_integrated_gradients_sum_to_the_rise(make, kind, monkeypatch):
    monkeypatch.setattr(sys.modules["regard.explain.saliency"], "STEPS", 400)
    bundle = make(kind, gain=2.0)
    bundle.model.double()
    asked = question.ask(bundle, "床前明月光", KINDS[kind])
    found, rise = saliency(bundle.model, asked)
    total = sum(float(each.integrated_gradients.sum()) for each in found)
    assert total == pytest.approx(rise, rel=1e-2, abs=1e-3)
    with torch.no_grad():
        end = float(question.answer_logit(asked, question.logits(bundle.model, asked)))
    assert rise != pytest.approx(end)  # what is left is the logit of average tokens


def test_it_works_where_gradients_are_off_and_leaves_none_behind(make):
    bundle = make("gpt")
    asked = question.ask(bundle, "明月", None)
    with torch.no_grad():
        found, _ = saliency(bundle.model, asked)
    assert found[0].gradient_norm.max() > 0
    assert all(parameter.grad is None for parameter in bundle.model.parameters())
