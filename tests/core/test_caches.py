"""Cached is uncached, whatever the cache, the chunks, the padding, and whichever rows are kept."""

from __future__ import annotations

import random

import pytest
import torch
from core_parts import DECODERS, by_hand, padded, some_tokens, tiny
from torch.testing import assert_close

from regard.errors import RegardError
from regard.layers import Cache, Context, Growing, Mask, Preallocated, Ring
from regard.models.transformer import Transformer

CAPACITY = 29


def caches(model, how: str) -> Cache:
    return model.cache(batch=3, capacity=CAPACITY if how == "preallocated" else None)


def fed(model, tokens, cache, sizes, **more):
    """The hidden states of tokens given in pieces of these sizes."""
    pieces = tokens.split(sizes, 1)
    return torch.cat([model.hidden(piece, Context(cache=cache, **more)) for piece in pieces], 1)


def chunks(total: int, seed: int) -> list[int]:
    drawn, sizes = random.Random(seed), []
    while sum(sizes) < total:
        sizes.append(min(drawn.choice([1, 1, 2, 3, 7]), total - sum(sizes)))
    return sizes


@pytest.mark.parametrize("how", ["growing", "preallocated"])
@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_cached_is_uncached(name, how):
    model, tokens = tiny(name), some_tokens(3, 19)
    expected = model.hidden(tokens)
    for sizes in ([1] * 19, [19], [11] + [1] * 8, chunks(19, 1), chunks(19, 2)):
        cache = caches(model, how)
        assert_close(fed(model, tokens, cache, sizes), expected)
        assert cache.length == 19


@pytest.mark.parametrize("how", ["growing", "preallocated"])
@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_rows_of_mixed_lengths_go_on_each_from_its_own_end(name, how):
    model = tiny(name)
    rows = [some_tokens(length, seed=length) for length in (19, 13, 9)]
    first, second = [11, 5, 1], [3, 5, 2]  # the rest comes token by token
    cache = caches(model, how)
    found = [[], [], []]
    for starts, lengths in (([0, 0, 0], first), (first, second)):
        pieces = [row[start : start + length] for row, start, length in zip(rows, starts, lengths, strict=True)]
        tokens, _ = padded(pieces)
        hidden = model.hidden(tokens, Context.padded(lengths, cache=cache))
        for number, length in enumerate(lengths):
            found[number].append(hidden[number, :length])
    at = [one + two for one, two in zip(first, second, strict=True)]
    for step in range(3):
        tokens = torch.stack([row[start + step] for row, start in zip(rows, at, strict=True)]).unsqueeze(1)
        hidden = model.hidden(tokens, Context(cache=cache))
        for number in range(3):
            found[number].append(hidden[number])
    for number, row in enumerate(rows):
        states = torch.cat(found[number])
        assert_close(states, model.hidden(row[: len(states)].unsqueeze(0))[0])


@torch.no_grad()
def test_a_row_may_pause():
    """A chunk that is all padding for a row leaves it where it was, also after chunks without any padding."""
    model, tokens = tiny("qwen3"), some_tokens(2, 9)
    cache = model.cache(batch=2)
    model.hidden(tokens[:, :5], Context(cache=cache))
    model.hidden(tokens[:, 5:7], Context.padded([2, 0], cache=cache))
    again = torch.stack([tokens[0, 7], tokens[1, 5]]).unsqueeze(1)
    hidden = model.hidden(again, Context(cache=cache))
    assert_close(hidden[0, 0], model.hidden(tokens[:1, :8])[0, -1])
    assert_close(hidden[1, 0], model.hidden(tokens[1:, :6])[0, -1])


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("how", ["growing", "preallocated"])
@pytest.mark.parametrize("name", ["gpt2", "qwen3", "qwen3 windowed", "by hand transformer-xl"])
@torch.no_grad()
def test_selected_rows_repeat_leave_and_change_places(name, how, ragged):
    model = tiny(name)
    lengths = [11, 7, 9] if ragged else [11, 11, 11]
    rows = [some_tokens(length, seed=length + n) for n, length in enumerate(lengths)]
    cache = caches(model, how)
    model.hidden(padded(rows)[0], Context.padded(lengths, cache=cache))
    for parents in ([2, 0, 0, 2, 1], [4, 4, 1], [0, 1, 2]):  # more rows, fewer rows, the same
        cache.select(torch.tensor(parents))
        new = some_tokens(len(parents), 1, seed=len(parents))
        rows = [torch.cat([rows[parent], token]) for parent, token in zip(parents, new, strict=True)]
        hidden = model.hidden(new, Context(cache=cache))
        for number, row in enumerate(rows):
            assert_close(hidden[number, 0], model.hidden(row.unsqueeze(0))[0, -1])


@torch.no_grad()
def test_one_prompt_becomes_many_beams():
    for name in ("qwen3", "qwen3 windowed"):
        model, prompt = tiny(name), some_tokens(1, 7)
        for cache in (model.cache(1), model.cache(1, capacity=CAPACITY)):
            model.hidden(prompt, Context(cache=cache))
            cache.select(torch.tensor([0, 0, 0]))
            new = some_tokens(3, 1, seed=5)
            assert_close(
                model.hidden(new, Context(cache=cache))[:, 0],
                model.hidden(torch.cat([prompt.expand(3, -1), new], 1))[:, -1],
            )


@pytest.mark.parametrize("how", ["growing", "preallocated"])
@torch.no_grad()
def test_a_decoder_reads_its_memory_once(how):
    model, source, target = tiny("vaswani"), some_tokens(3, 7), some_tokens(3, 11, seed=2)
    lengths = [7, 3, 5]
    memory = model.encode(source, Context.padded(lengths))
    beside = {"memory": memory, "memory_mask": Mask(lengths=torch.tensor(lengths))}
    expected = model(source, target, Context.padded(lengths))
    cache = caches(model, how)
    projected = []
    model.stack.blocks[0].cross_attention.k.register_forward_hook(lambda *_: projected.append(1))
    assert_close(model.head(fed(model, target, cache, [1, 3, 1, 1, 5], **beside)), expected)
    assert len(projected) == 1
    rows = torch.tensor([2, 2, 0, 1])
    cache.select(rows)
    beside = {"memory": memory[rows], "memory_mask": Mask(lengths=torch.tensor(lengths)[rows])}
    new = some_tokens(4, 1, seed=9)
    hidden = model.hidden(new, Context(cache=cache, **beside))
    whole = model(source[rows], torch.cat([target[rows], new], 1), Context.padded([lengths[row] for row in rows]))
    assert_close(model.head(hidden), whole[:, -1:])


@torch.no_grad()
def test_a_ring_holds_a_window_and_no_more():
    model, tokens = by_hand("rotary", window=5), some_tokens(2, 23)
    expected = model.hidden(tokens)
    for sizes in ([1] * 23, [5] + [1] * 18, [3, 1, 1, 7, 1, 1, 5, 4], chunks(23, 3)):
        cache = model.cache(2)
        assert isinstance(cache.layers[0], Ring) and len(set(cache.layers)) == 1
        assert_close(fed(model, tokens, cache, sizes), expected)
        for state in cache.layers[0].states.values():
            assert all(tensor.shape[2] == 5 for tensor in state)


@torch.no_grad()
def test_a_ring_keeps_what_a_paused_row_still_needs():
    model, tokens = by_hand("alibi", window=3), some_tokens(2, 11)
    cache = model.cache(2)
    model.hidden(tokens[:, :7], Context(cache=cache))
    model.hidden(tokens[:, 7:8], Context.padded([1, 0], cache=cache))
    new = torch.stack([tokens[0, 8], tokens[1, 7]]).unsqueeze(1)
    hidden = model.hidden(new, Context(cache=cache))
    assert_close(hidden[0, 0], model.hidden(tokens[:1, :9])[0, -1])
    assert_close(hidden[1, 0], model.hidden(tokens[1:, :8])[0, -1])


@pytest.mark.parametrize("shape", [(1, 9), (3, 9)])
@torch.no_grad()
def test_positions_given_with_a_cache_are_the_positions(shape):
    model, tokens = tiny("gpt2"), some_tokens(3, 10)
    positions = torch.arange(2, 11).expand(shape)
    cache = model.cache(3)
    model.hidden(tokens[:, :9], Context(cache=cache, positions=positions))
    cache.select(torch.tensor([2, 0]))
    found = model.hidden(tokens[[2, 0], 9:], Context(cache=cache))
    expected = model.hidden(tokens[[2, 0]], Context(positions=torch.arange(2, 12).unsqueeze(0)))
    assert_close(found, expected[:, -1:])


@torch.no_grad()
def test_shared_layers_remember_apart():
    model = tiny("by hand rotary")
    model.stack.order = (0, 1, 1, 0)
    tokens = some_tokens(2, 7)
    cache = model.cache(2)
    assert len(cache.layers) == 4
    assert_close(fed(model, tokens, cache, [3, 1, 1, 2]), model.hidden(tokens))


@torch.no_grad()
def test_a_preallocated_cache_keeps_its_buffers_until_it_is_full():
    model, tokens = tiny("gpt2"), some_tokens(2, 7)
    cache = model.cache(2, capacity=7)
    model.hidden(tokens[:, :3], Context(cache=cache))
    memory = cache.layers[0]
    assert isinstance(memory, Preallocated)
    where = [tensor.data_ptr() for tensor in memory.states[0]]
    model.hidden(tokens[:, 3:], Context(cache=cache))
    assert [tensor.data_ptr() for tensor in memory.states[0]] == where
    with pytest.raises(RegardError, match="7 are in it and 1 more"):
        model.hidden(tokens[:, :1], Context(cache=cache))


def test_layers_that_remember_alike_share_a_memory():
    kinds = [type(memory) for memory in tiny("qwen3 windowed").cache().layers]
    assert kinds == [Ring, Growing, Ring]
    first, second, third = tiny("qwen3 windowed").cache(capacity=5).layers
    assert first is third and isinstance(second, Preallocated)


@pytest.mark.parametrize(
    ("name", "mask", "says"),
    [
        ("bert", Mask(), "causal"),
        ("gpt2", Mask(lengths=torch.tensor([3, 5])), "lengths"),
        ("gpt2", Mask(segments=torch.zeros(2, 5)), "segments"),
        ("gpt2", Mask(documents=(2, 3)), "documents"),
    ],
)
def test_what_a_cache_cannot_serve_is_refused(name, mask, says):
    model = tiny(name)
    tokens = some_tokens(1 if mask.documents else 2, 5)
    with pytest.raises(RegardError, match=says):
        model.hidden(tokens, Context(mask=mask, cache=model.cache(2)))


def test_a_layer_of_two_attentions_gets_no_cache():
    from regard import layers

    first, second = by_hand().stack.blocks[0].attention, by_hand().stack.blocks[0].attention
    block = layers.Block(one=layers.Residual(sublayer=first), two=layers.Residual(sublayer=second))
    model = by_hand()
    twice = Transformer(model.config, embed=model.embed, stack=layers.Stack([block]), head=model.head)
    with pytest.raises(RegardError, match="Layer 0 has 2"):
        twice.cache()
