"""The losses against PyTorch's plain ones, with their gradients, below and above the chunk; and what they hold."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from core_parts import some_tokens, tiny
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close

from regard.ops.losses import class_loss, vocabulary_loss

CHUNK = 512


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.13])
@pytest.mark.parametrize("count", [1, 7, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_the_vocabulary_loss_is_cross_entropy_in_sum(count, smoothing, with_bias):
    rows, weight = torch.randn(count, 13, requires_grad=True), torch.randn(61, 13, requires_grad=True)
    bias = torch.randn(61, requires_grad=True) if with_bias else None
    targets = torch.randint(61, (count,))
    wanted = [rows, weight] if bias is None else [rows, weight, bias]
    ours = vocabulary_loss(rows, weight, targets, bias, smoothing)
    theirs = F.cross_entropy(F.linear(rows, weight, bias), targets, reduction="sum", label_smoothing=smoothing)
    assert_close(ours, theirs)
    # Divided as the loop does, so that the gradients are of the size they are used at.
    for one, other in zip(
        torch.autograd.grad(ours / count, wanted), torch.autograd.grad(theirs / count, wanted), strict=True
    ):
        assert_close(one, other)


def test_rows_without_any_target_cost_nothing():
    rows, weight = torch.randn(0, 13, requires_grad=True), torch.randn(61, 13, requires_grad=True)
    loss = vocabulary_loss(rows, weight, torch.zeros(0, dtype=torch.int64), None, 0.1)
    loss.backward()
    assert loss == 0 and weight.grad is not None and weight.grad.eq(0).all()


def allocations(events):
    """(time, bytes taken or, negative, given back) of a profile."""
    for event in events:
        if event.name == "[memory]":
            yield event.start_time_ns, event.extra_fields.alloc_size
        yield from allocations(event.children)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_logits_are_never_held_at_once(smoothing):
    rows, weight = torch.randn(5 * CHUNK, 3, requires_grad=True), torch.randn(1009, 3, requires_grad=True)
    targets = torch.randint(1009, (5 * CHUNK,))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        vocabulary_loss(rows, weight, targets, None, smoothing).backward()
    found = sorted(allocations(seen.profiler.kineto_results.experimental_event_tree()))
    taken = [size for _, size in found]
    assert max(taken) >= CHUNK * 1009 * 4  # it is seen at all
    assert max(itertools.accumulate(taken)) < 3 * CHUNK * 1009 * 4


def test_losses_of_half_precision_are_taken_in_float32():
    logits = (5 * torch.randn(7, 11)).to(torch.bfloat16)
    targets = torch.randint(11, (7,))
    assert_close(class_loss(logits, targets), F.cross_entropy(logits.float(), targets, reduction="sum"))


@pytest.mark.parametrize("name", ["bert", "gpt2", "qwen3", "vaswani"])
def test_a_heads_loss_is_that_of_its_logits(name):
    model, targets = tiny(name), some_tokens(7)
    hidden = torch.randn(7, model.config.dim)
    logits = model.head(hidden)
    assert_close(model.head.loss(hidden, targets), F.cross_entropy(logits, targets, reduction="sum"))
    smoothing = 0.1 if name == "vaswani" else 0.0
    model.train()
    expected = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    assert_close(model.head.loss(hidden, targets), expected)


def test_a_classifiers_loss_is_cross_entropy_in_sum():
    model, targets = tiny("bert classify"), torch.tensor([2, 0, 1])
    logits = model(some_tokens(3, 7))
    assert logits.shape == (3, 3)
    assert_close(model.head.loss(logits, targets), F.cross_entropy(logits, targets, reduction="sum"))


def test_a_sum_of_parts_is_the_whole():
    """What makes accumulation equal the large batch: nobody but the loop divides."""
    rows, weight, targets = torch.randn(23, 13), torch.randn(61, 13), torch.randint(61, (23,))
    pairs = zip(rows.split([3, 19, 1]), targets.split([3, 19, 1]), strict=True)
    parts = [vocabulary_loss(some, weight, wanted) for some, wanted in pairs]
    assert_close(torch.stack(parts).sum(), vocabulary_loss(rows, weight, targets))
