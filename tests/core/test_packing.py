"""Documents packed into one row are what they are alone, in their outputs and in their gradients."""

from __future__ import annotations

import pytest
import torch
from core_parts import DECODERS, FAMILIES, VOCAB, some_tokens, tiny
from torch.testing import assert_close

from regard.errors import RegardError
from regard.layers import Context, Mask

LENGTHS = [5, 5, 1, 11, 2, 2, 2, 7]
SOURCES = [3, 3, 5, 5, 2, 7, 7, 1]


def documents(lengths=LENGTHS):
    return [some_tokens(1, length, seed=100 + number) for number, length in enumerate(lengths)]


@pytest.mark.parametrize("name", [name for name in [*FAMILIES, *DECODERS] if name != "vaswani"])
def test_packed_is_separate(name):
    model, rows = tiny(name), documents()
    parameters = list(model.parameters())
    packed = model(torch.cat(rows, 1), Context.packed(LENGTHS))
    separate = torch.cat([model(row).flatten(0, -2) for row in rows])
    assert_close(packed.flatten(0, -2), separate)
    weights = torch.randn_like(separate) / separate.numel()
    together = torch.autograd.grad((packed.flatten(0, -2) * weights).sum(), parameters, allow_unused=True)
    alone = torch.autograd.grad((separate * weights).sum(), parameters, allow_unused=True)
    for one, other in zip(together, alone, strict=True):
        assert (one is None and other is None) or assert_close(one, other) is None


def test_packed_pairs_are_separate_pairs():
    model, sources, targets = tiny("vaswani"), documents(SOURCES), documents()
    parameters = list(model.parameters())
    packed = model(torch.cat(sources, 1), torch.cat(targets, 1), Context.packed(SOURCES), Context.packed(LENGTHS))
    memory = model.encode(torch.cat(sources, 1), Context.packed(SOURCES))
    across = Mask(documents=tuple(LENGTHS), memory_documents=tuple(SOURCES))
    stepwise = model.hidden(torch.cat(targets, 1), Context.packed(LENGTHS, memory=memory, memory_mask=across))
    separate = torch.cat([model(*pair)[0] for pair in zip(sources, targets, strict=True)])
    assert_close(packed[0], separate)
    assert_close(model.head(stepwise)[0], separate)
    weights = torch.randn_like(separate) / separate.numel()
    together = torch.autograd.grad((packed[0] * weights).sum(), parameters)
    alone = torch.autograd.grad((separate * weights).sum(), parameters)
    for one, other in zip(together, alone, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("name", [name for name in [*FAMILIES, *DECODERS] if name != "vaswani"])
def test_no_document_feels_another(name):
    model, rows = tiny(name), documents()
    changed = [row if number == 3 else (row + 7) % VOCAB for number, row in enumerate(rows)]
    start, end = sum(LENGTHS[:3]), sum(LENGTHS[:4])
    with torch.no_grad():
        one, other = (model.hidden(torch.cat(some, 1), Context.packed(LENGTHS)) for some in (rows, changed))
    assert torch.equal(one[:, start:end], other[:, start:end])
    assert (one != other).any(-1).sum() == sum(LENGTHS) - LENGTHS[3]


def test_no_document_feels_anothers_source():
    model, sources, targets = tiny("vaswani"), documents(SOURCES), documents()
    changed = [row if number == 3 else (row + 7) % VOCAB for number, row in enumerate(sources)]
    with torch.no_grad():
        one, other = (
            model(torch.cat(some, 1), torch.cat(targets, 1), Context.packed(SOURCES), Context.packed(LENGTHS))
            for some in (sources, changed)
        )
    start, end = sum(LENGTHS[:3]), sum(LENGTHS[:4])
    assert torch.equal(one[:, start:end], other[:, start:end]) and not torch.equal(one, other)


@pytest.mark.parametrize("name", ["bert", "gpt2", "by hand rotary"])
def test_documents_named_in_the_mask_alone_are_counted_anew(name):
    model, row = tiny(name), torch.cat(documents(), 1)
    with torch.no_grad():
        assert_close(model(row, Context(mask=Mask(documents=tuple(LENGTHS)))), model(row, Context.packed(LENGTHS)))


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_packed_equals_segments(name):
    """The same documents by way of a mask over the whole row."""
    model, row = tiny(name), torch.cat(documents(), 1)
    numbers = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS)).unsqueeze(0)
    packed = Context.packed(LENGTHS)
    with torch.no_grad():
        over_the_row = model(row, Context(mask=Mask(segments=numbers), positions=packed.positions))
        assert_close(model(row, packed), over_the_row)


def test_a_rule_inside_documents_counts_from_their_start():
    model, rows = tiny("by hand none", causal=False), documents()
    rule = Mask(predicate=lambda q, k: (q + k) % 3 != 1)
    context = Context.packed(LENGTHS)
    context = Context(mask=context.mask & rule, positions=context.positions)
    with torch.no_grad():
        packed = model.hidden(torch.cat(rows, 1), context)
        separate = torch.cat([model.hidden(row, Context(mask=rule)) for row in rows], 1)
    assert_close(packed, separate)


def test_types_and_positions_go_with_the_documents():
    model, rows = tiny("bert"), documents()
    types = [torch.randint(2, row.shape) for row in rows]
    with torch.no_grad():
        packed = model(torch.cat(rows, 1), Context.packed(LENGTHS, types=torch.cat(types, 1)))
        separate = [model(row, Context(types=kind)) for row, kind in zip(rows, types, strict=True)]
    assert_close(packed, torch.cat(separate, 1))


@pytest.mark.parametrize(
    "context",
    [
        Context.packed(LENGTHS),
        Context.packed(LENGTHS, memory_mask=Mask(memory_documents=tuple(SOURCES[:-1]))),
        Context.packed(LENGTHS, memory_mask=Mask(memory_documents=(*SOURCES[:-1], 2))),
        Context.packed(LENGTHS, memory_mask=Mask(documents=tuple(SOURCES), memory_documents=tuple(SOURCES))),
        Context(memory_mask=Mask(memory_documents=tuple(SOURCES))),
    ],
)
def test_a_memory_that_is_not_cut_alike_is_refused(context):
    model, memory = tiny("vaswani"), torch.randn(1, sum(SOURCES), 42)
    with pytest.raises(RegardError, match="Each document needs its own part"):
        model.hidden(torch.cat(documents(), 1), replace_memory(context, memory))


def replace_memory(context, memory):
    return Context(mask=context.mask, positions=context.positions, memory=memory, memory_mask=context.memory_mask)


@pytest.mark.parametrize(
    "mask",
    [
        Mask(documents=(5, 3), lengths=torch.tensor([8])),
        Mask(documents=(5, 3), segments=torch.zeros(1, 8)),
        Mask(documents=(5, 3), causal=True, prefix=torch.tensor([2])),
        Mask(documents=(5, 3)) & Mask(lengths=torch.tensor([8])),
        Mask(documents=(5, 2)),
        Mask(documents=(5, 3, 0)),
    ],
)
def test_rules_that_documents_cannot_have_are_refused(mask):
    with pytest.raises(RegardError):
        tiny("bert").hidden(some_tokens(1, 8), Context(mask=mask))


def test_two_ways_of_cutting_a_row_are_refused():
    with pytest.raises(RegardError, match="different documents"):
        Mask(documents=(5, 3)) & Mask(documents=(4, 4))
    assert (Mask(documents=(5, 3)) & Mask(documents=(5, 3), causal=True)).documents == (5, 3)
