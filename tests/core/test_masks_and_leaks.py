"""Masks against predicates by hand; and in whole models nothing hidden is felt: not by a bit, not by a gradient."""

from __future__ import annotations

import itertools

import pytest
import torch
from core_parts import DECODERS, FAMILIES, VOCAB, bind, padded, some_tokens, tiny
from torch.testing import assert_close

from regard.errors import RegardError
from regard.layers import Context, Mask
from regard.layers.places import Places

B, S = 2, 7
LENGTHS, PREFIX = torch.tensor([3, 7]), torch.tensor([2, 5])
SEGMENTS = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [4, 4, 4, 4, 0, 0, 4]])
RULES = {
    "causal": (Mask(causal=True), lambda b, q, k: k <= q),
    "window": (Mask(window=3), lambda b, q, k: abs(q - k) < 3),
    "prefix": (Mask(causal=True, prefix=4), lambda b, q, k: k <= q or k < 4),
    "prefixes": (Mask(causal=True, prefix=PREFIX), lambda b, q, k: k <= q or k < PREFIX[b]),
    "lengths": (Mask(lengths=LENGTHS), lambda b, q, k: k < LENGTHS[b]),
    "segments": (Mask(segments=SEGMENTS), lambda b, q, k: SEGMENTS[b, q] == SEGMENTS[b, k]),
    "predicate": (Mask(predicate=lambda q, k: (q - k) % 2 == 0), lambda b, q, k: (q - k) % 2 == 0),
}


def tensor(mask: Mask, q: Places | None = None, k: Places | None = None) -> torch.Tensor:
    bound = bind(mask, S) if q is None or k is None else mask.bind(q, k)
    assert bound.tensor is not None
    return bound.tensor.expand(B, 1, -1, -1)[:, 0]


def by_hand(*rules):
    made = torch.zeros(B, S, S, dtype=torch.bool)
    for b, q, k in itertools.product(range(B), range(S), range(S)):
        made[b, q, k] = all(bool(rule(b, q, k)) for rule in rules)
    return made


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_intersection_of_rules_is_the_rules_of_both(count):
    for names in itertools.combinations(RULES, count):
        masks, rules = zip(*(RULES[name] for name in names), strict=True)
        both = masks[0]
        for other in masks[1:]:
            both = both & other
        assert torch.equal(tensor(both), by_hand(*rules)), names


def test_rules_of_one_mask_are_an_intersection_too():
    mask = Mask(causal=True, window=3, lengths=LENGTHS, segments=SEGMENTS)
    rules = [RULES[name][1] for name in ("causal", "window", "lengths", "segments")]
    assert torch.equal(tensor(mask), by_hand(*rules))


def test_an_empty_mask_changes_nothing():
    mask = Mask(causal=True)
    assert (mask & Mask()) is mask and (Mask() & mask) is mask
    assert (Mask() & Mask(memory_documents=(2, 3))).memory_documents == (2, 3)
    assert Mask().bind(Places.count(0, S), Places.count(0, S)).tensor is None


def test_rules_read_positions_wherever_the_keys_lie():
    shuffled = Places(torch.tensor([[4, 0, -1, 2, 6, 1, 3]]))
    queries = Places(torch.tensor([[5, 3], [6, -1]]))
    found = tensor(Mask(causal=True, window=4), queries, shuffled)
    for b, t, s in itertools.product(range(2), range(2), range(S)):
        q, k = int(queries.positions[b, t]), int(shuffled.positions[0, s])
        assert found[b, t, s] == (0 <= k <= q and q - k < 4)


@pytest.mark.parametrize("rule", ["everything", *RULES])
def test_what_is_no_token_is_never_visible(rule):
    mask = Mask() if rule == "everything" else RULES[rule][0]
    places = Places(torch.tensor([[0, 1, 2, -1, -1, -1, -1], [-1, -1, 0, 1, 2, 3, 4]]))
    found = tensor(mask, places, places)
    assert not found[0, :, 3:].any() and not found[1, :, :2].any() and found.any()


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_before_a_changed_token_moves(name):
    model, tokens = tiny(name), some_tokens(2, 13)
    with torch.no_grad():
        before = model.hidden(tokens)
        for t in range(13):
            changed = tokens.clone()
            changed[:, t] = (changed[:, t] + 5) % VOCAB
            after = model.hidden(changed)
            assert torch.equal(after[:, :t], before[:, :t])
            assert not torch.equal(after[:, t], before[:, t])
            if "windowed" not in name:
                assert not torch.equal(after[:, -1], before[:, -1])


def test_nothing_before_a_changed_target_moves_and_all_see_the_source():
    model, source, target = tiny("vaswani"), some_tokens(2, 7), some_tokens(2, 11, seed=2)
    with torch.no_grad():
        before = model(source, target)
        for t in range(11):
            changed = target.clone()
            changed[:, t] = (changed[:, t] + 5) % VOCAB
            assert torch.equal(model(source, changed)[:, :t], before[:, :t])
        source[:, -1] = (source[:, -1] + 5) % VOCAB
        assert (model(source, target) != before).any(-1).all()


@pytest.mark.parametrize("name", DECODERS)
def test_no_gradient_comes_from_the_future(name):
    model, tokens = tiny(name), some_tokens(1, 11)
    seen = {}
    model.embed.register_forward_hook(lambda _, inputs, out: seen.update(x=out.requires_grad_()))
    hidden = model.hidden(tokens)
    for t in range(11):
        (gradient,) = torch.autograd.grad(hidden[:, t].square().sum(), seen["x"], retain_graph=True)
        assert gradient[:, t + 1 :].eq(0).all() and gradient[:, t].ne(0).all()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", [name for name in [*FAMILIES, *DECODERS] if name != "vaswani"])
def test_padded_is_alone_and_padding_is_not_felt(name, side):
    model = tiny(name)
    rows = [some_tokens(length, seed=length) for length in (13, 5, 1)]
    tokens, lengths = padded(rows)
    context = Context.padded(lengths)
    if side == "left":
        tokens = torch.stack([row.roll(13 - length) for row, length in zip(tokens, lengths, strict=True)])
        count = torch.arange(13) - (13 - torch.tensor(lengths)).unsqueeze(1)
        context = Context(positions=count.clamp(min=-1))
    valid = context.positions >= 0
    other = torch.where(valid, tokens, (tokens + 7) % VOCAB)
    with torch.no_grad():
        together, again = model(tokens, context), model(other, context)
        for number, row in enumerate(rows):
            alone = model(row.unsqueeze(0))[0]
            mine, same = (out[number] if alone.dim() == 1 else out[number, valid[number]] for out in (together, again))
            assert_close(mine, alone)
            assert torch.equal(mine, same)


@pytest.mark.parametrize("name", ["bert", "bert classify", "gpt2 classify"])
def test_lengths_in_the_mask_are_padding_too(name):
    model = tiny(name)
    rows = [some_tokens(length, seed=length) for length in (11, 4)]
    tokens, lengths = padded(rows)
    with torch.no_grad():
        together = model(tokens, Context(mask=Mask(lengths=torch.tensor(lengths))))
        for number, row in enumerate(rows):
            alone = model(row.unsqueeze(0))[0]
            assert_close(together[number] if alone.dim() == 1 else together[number, : len(row)], alone)


@pytest.mark.parametrize("how", ["padded", "left", "lengths"])
def test_padding_of_a_source_is_hidden_from_the_target(how):
    model = tiny("vaswani")
    sources = [some_tokens(length, seed=length) for length in (7, 3)]
    targets = [some_tokens(length, seed=length + 50) for length in (5, 11)]
    (source, source_lengths), (target, lengths) = padded(sources), padded(targets)
    context = Context.padded(source_lengths)
    if how == "left":
        source[1] = source[1].roll(4)
        context = Context(positions=torch.tensor([[*range(7)], [-1] * 4 + [0, 1, 2]]))
    if how == "lengths":
        context = Context(mask=Mask(lengths=torch.tensor(source_lengths)))
    with torch.no_grad():
        together = model(source, target, context, Context.padded(lengths))
        for row, (one, other) in enumerate(zip(sources, targets, strict=True)):
            assert_close(together[row, : len(other)], model(one[None], other[None])[0])
        hidden = slice(0, 4) if how == "left" else slice(3, 7)
        source[1, hidden] = (source[1, hidden] + 7) % VOCAB
        again = model(source, target, context, Context.padded(lengths))
        assert torch.equal(again[1, :11], together[1, :11])


def test_a_memory_mask_of_ones_own_is_kept():
    model, source, target = tiny("vaswani"), some_tokens(2, 7), some_tokens(2, 5, seed=2)
    short = Mask(lengths=torch.tensor([4, 4]))
    with torch.no_grad():
        found = model(source, target, None, Context(memory_mask=short))
        memory = model.encode(source)
        assert_close(found, model.head(model.hidden(target, Context(memory=memory[:, :4]))))


def test_a_prefix_widens_a_decoder():
    model, tokens = tiny("qwen3"), some_tokens(2, 11)
    context = Context(mask=Mask(causal=True, prefix=torch.tensor([5, 3])))
    with torch.no_grad():
        before = model.hidden(tokens, context)
        for t in range(11):
            changed = tokens.clone()
            changed[:, t] = (changed[:, t] + 5) % VOCAB
            moved = (model.hidden(changed, context) != before).any(-1)
            for row, prefix in enumerate((5, 3)):
                assert moved[row].tolist() == [s >= t or t < prefix for s in range(11)]


def test_a_layers_own_window_is_intersected_with_the_contexts():
    model, tokens = tiny("by hand none", window=3), some_tokens(1, 11)
    with torch.no_grad():
        before = model.hidden(tokens, Context(mask=Mask(predicate=lambda q, k: k != 4)))
        changed = tokens.clone()
        changed[:, 2] = (changed[:, 2] + 5) % VOCAB
        after = model.hidden(changed, Context(mask=Mask(predicate=lambda q, k: k != 4)))
    # Two layers of a window of 3 reach 4 back, but nothing passes through token 4.
    assert (after != before).any(-1)[0].tolist() == [2 <= t < 6 for t in range(11)]


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"positions": torch.zeros(2, 5, dtype=torch.int64)}, "positions"),
        ({"positions": torch.zeros(3, 7, dtype=torch.int64)}, "positions"),
        ({"positions": torch.zeros(7, dtype=torch.int64)}, "positions"),
        ({"mask": Mask(documents=(3, 4))}, "documents"),
        ({"mask": Mask(segments=torch.zeros(2, 5))}, "segments"),
    ],
)
def test_what_cannot_be_meant_is_refused(what, says):
    with pytest.raises(RegardError, match=says):
        tiny("gpt2")(some_tokens(2, 7), Context(**what))


def test_a_text_longer_than_the_positions_is_refused():
    with pytest.raises(RegardError, match=r"62.*61"):
        tiny("gpt2")(some_tokens(1, 62))


def test_a_row_without_tokens_has_no_vector():
    with pytest.raises(RegardError, match="Row 1"):
        tiny("bert classify")(some_tokens(2, 5), Context.padded([5, 0]))
