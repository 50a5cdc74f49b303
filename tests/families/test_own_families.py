"""The families that nobody else has: what their papers promise, in every way a model is run here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_twins import batch, some_tokens
from torch import Tensor
from torch.testing import assert_close

from regard import models
from regard.errors import ConfigError, RegardError
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Context, Key
from regard.layers.cache import Ring
from regard.layers.side import side_loss
from regard.models.transformer import Transformer
from regard.tasks import causal_lm, masked_lm
from regard.tasks.config import CausalLM, MaskedLM
from regard.weights import folder as files
from regard.weights import table

SIZES = {"vocab": 31, "context": 61, "dim": 21, "depth": 2, "heads": 3, "hidden": 17, "dropout": 0.0}
OWN: dict[str, dict[str, Any]] = {
    "performer": {"features": 11},
    "adaptive_span": {"dim": 30, "longest": 7, "ramp": 4},
}
HEADS: dict[str, dict[str, Any]] = {
    "language": {},
    "untied": {"tied": False},
    "classify": {"head": "classify", "labels": ("a", "b", "c")},
    "score": {"head": "score"},
    "tag": {"head": "tag", "labels": ("a", "b")},
    "pool": {"head": "pool"},
}


def tiny(family: str, **changes: Any) -> Any:
    model = models.build(models.config(family, SIZES | OWN[family] | changes), Key(3))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.3, generator=generator))
    return model.eval()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("family", OWN)
def test_packed_and_padded_rows_are_what_each_is_alone(family: str, causal: bool) -> None:
    model, lengths = tiny(family, causal=causal), [17, 17, 5, 1]
    with torch.no_grad():
        for side in ("right", "left"):
            given = batch(lengths, side)
            rows = [row[real] for row, real in zip(given.tokens, given.real, strict=True)]
            alone = [model.hidden(row[None])[0] for row in rows]
            together = model.hidden(given.tokens, given.context)
            assert_close(together[given.real], torch.cat(alone))
            other = model.hidden(torch.where(given.real, given.tokens, 30), given.context)
            assert torch.equal(together[given.real], other[given.real])
        packed = model.hidden(torch.cat(rows)[None], Context.packed(lengths))
        assert_close(packed[0], torch.cat(alone))


@pytest.mark.parametrize("family", OWN)
def test_nothing_comes_from_the_future(family: str) -> None:
    model, tokens = tiny(family), some_tokens(2, 29)
    with torch.no_grad():
        before = model(tokens)
        tokens[:, 17:] = (tokens[:, 17:] + 5) % 31
        after = model(tokens)
    assert torch.equal(before[:, :17], after[:, :17]) and not torch.equal(before[:, 17], after[:, 17])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("family", OWN)
def test_what_may_be_seen_is_seen(family: str, causal: bool) -> None:
    """A changed token reaches all that see it."""
    model, tokens = tiny(family, causal=causal), some_tokens(1, 13)
    with torch.no_grad():
        before = model.hidden(tokens)
        tokens[0, 6] = (tokens[0, 6] + 5) % 31
        moved = (model.hidden(tokens) - before).abs().amax(-1)[0] > 0
    assert moved[6:].all() and moved[:6].all() == (not causal)


@pytest.mark.parametrize("capacity", [None, 40])
@pytest.mark.parametrize("family", OWN)
def test_a_cache_changes_nothing(family: str, capacity: int | None) -> None:
    model = tiny(family)
    given = batch([13, 7, 2], "left")
    with torch.no_grad():
        whole = model(given.tokens, given.context)
        cache, found = model.cache(3, capacity), []
        for first, last in ((0, 5), (5, 6), (6, 11), (11, 12), (12, 13)):
            context = Context(positions=given.positions[:, first:last], cache=cache)
            found.append(model(given.tokens[:, first:last], context))
        assert_close(torch.cat(found, 1)[given.real], whole[given.real])
        cache.select(torch.tensor([2, 0, 0]))
        tokens, positions = some_tokens(3, 2), given.positions[[2, 0, 0], -1:] + torch.tensor([1, 2])
        going_on = model(tokens, Context(positions=positions, cache=cache))
        again = torch.cat((given.tokens[[2, 0, 0]], tokens), 1)
        at = torch.cat((given.positions[[2, 0, 0]], positions), 1)
        assert_close(going_on, model(again, Context(positions=at))[:, -2:])


@pytest.mark.parametrize("family", OWN)
def test_a_step_of_training_is_a_function_of_its_key(family: str) -> None:
    model, tokens = tiny(family, dropout=0.2), some_tokens(1, 23)

    def gradients(key: Key) -> list[Tensor]:
        model.zero_grad()
        hidden = model.hidden(tokens, Context.packed([11, 12], key=key))
        model.head.loss(hidden[0, :-1], tokens[0, 1:]).backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    one, same, other = gradients(Key(3)), gradients(Key(3)), gradients(Key(5))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(gradient.isfinite().all() for gradient in one)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", OWN)
def test_files_and_back(family: str, head: str, tmp_path: Path) -> None:
    model, module = tiny(family, **HEADS[head]), models.family(family)
    files.write(tmp_path, table.write(module.TABLE, model), shard=5_000)
    data = json.loads(json.dumps(module.write(model.config)))
    assert models.of_type(data["model_type"]) == family
    again = models.empty(module.read(data, "config.json"))
    assert again.config == model.config
    table.read(module.TABLE, files.Folder(tmp_path), again, str(tmp_path))
    tokens = some_tokens(2, 7)
    with torch.no_grad():
        assert torch.equal(again.eval()(tokens), model(tokens))
    assert isinstance(again, Transformer)


def test_directions_are_redrawn_in_training_alone() -> None:
    model, tokens = tiny("performer"), some_tokens(1, 23)
    fixed = models.empty(replace(model.config, redrawn=False))
    fixed.load_state_dict(model.state_dict(), assign=True)
    other = models.empty(replace(model.config, seed=5))
    other.load_state_dict(model.state_dict(), assign=True)
    with torch.no_grad():
        plain = model.hidden(tokens)
        assert torch.equal(plain, model.hidden(tokens)) and torch.equal(plain, fixed.eval().hidden(tokens))
        assert not torch.equal(plain, other.eval().hidden(tokens))
        drawn = [model.hidden(tokens, Context(key=Key(seed))) for seed in (3, 3, 5)]
        assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
        assert torch.equal(plain, fixed.hidden(tokens, Context(key=Key(3))))


def test_a_performer_comes_near_exact_attention() -> None:
    model, tokens = tiny("performer", features=8192, depth=1), some_tokens(2, 29)
    from regard.layers import Attention

    own = model.stack.blocks[0].attention
    exact = Attention(own.projection)
    exact.load_state_dict(own.state_dict())
    with torch.no_grad():
        x = model.embed(tokens, Context().open((2, 29), tokens.device, model.mask)) * 0.2
        context = Context().open((2, 29), tokens.device, model.mask).at(0)
        assert (own(x, context) - exact(x, context)).abs().max() < 0.02


def test_sums_of_a_cache_do_not_grow() -> None:
    model = tiny("performer")
    cache = model.cache()
    with torch.no_grad():
        for _ in range(5):
            model(some_tokens(1, 7), Context(cache=cache))
    assert {tuple(t.shape) for t in cache.layers[0].states[0]} == {(1, 3, 11, 7), (1, 3, 11, 1), (1, 3, 1)}
    with pytest.raises(RegardError, match="guess ahead"):
        cache.back(1)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="features"):
        models.config("performer", SIZES | {"features": 0})


def test_a_head_weighs_by_its_span() -> None:
    """Sukhbaatar et al. 2019, eq. 3 and 4, one number at a time."""
    model, tokens = tiny("adaptive_span", depth=1), some_tokens(1, 17)
    own, seen = model.stack.blocks[0].attention, []
    with torch.no_grad():
        own.span.copy_(torch.tensor([0.0, 0.37, 1.3]))  # 0, 2.59 and, no longer than the longest, 7 tokens
        core, own.core = own.core, lambda q, k, v, *rest: seen.append((q, k, v)) or core(q, k, v, *rest)
        found = []
        own.o.register_forward_hook(lambda _, inputs, out: found.append(inputs[0]))
        model.hidden(tokens)
    (q, k, v), out = seen[0], found[0][0].unflatten(-1, (3, -1))
    for h, span in enumerate((0.0, 2.59, 7.0)):
        for t in range(17):
            weights = [
                min(max((4 + span - (t - s)) / 4, 0.0), 1.0) * float((q[0, h, t] @ k[0, h, s] * 10**-0.5).exp())
                for s in range(t + 1)
            ]
            expected = sum(w * v[0, h, s] for s, w in enumerate(weights)) / sum(weights)
            assert_close(out[t, h], expected)


@pytest.mark.parametrize("position", ["rotary", "relative"])
def test_a_span_by_pieces_is_the_same_span(position: str) -> None:
    model, tokens = tiny("adaptive_span", position=position), some_tokens(1, 53)
    with torch.no_grad():
        by_pieces = model.hidden(tokens)
        whole = model.hidden(tokens, Context(positions=torch.arange(53).unsqueeze(0)))  # which need not be in order
        assert_close(by_pieces, whole)
        assert model.stack.blocks[0].attention.reach() <= 11 < 26
        memory = model.cache().layers[0]
        assert isinstance(memory, Ring) and memory.window == model.stack.blocks[0].attention.reach()


def test_spans_that_cost_grow_shorter() -> None:
    tokens, sizes = some_tokens(1, 53), {}
    for shorten in (0.0, 0.3):
        model = tiny("adaptive_span", shorten=shorten)
        attentions = [block.attention for block in model.stack.blocks]
        with torch.no_grad():
            for attention in attentions:
                attention.span.fill_(0.5)
        optimizer = torch.optim.SGD([attention.span for attention in attentions], lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            side: dict[int, Any] = {}
            hidden = model.hidden(tokens, Context(side=side))
            loss = model.head.loss(hidden[0, :-1], tokens[0, 1:]) / 52 + side_loss(model.config, side)
            loss.backward()
            optimizer.step()
        assert set(side) == {0, 1}
        sizes[shorten] = float(torch.stack([attention.spans() for attention in attentions]).mean().detach())
    assert sizes[0.3] < sizes[0.0] - 0.1


@pytest.mark.parametrize(("task", "causal"), [("causal-lm", True), ("masked-lm", False)])
def test_a_task_counts_the_cost_of_spans(task: str, causal: bool) -> None:
    tokenizer = Tokenizer.train(
        "characters", ["abcdefgh " * 9], vocab=311, specials={n: f"<{n}>" for n in ("bos", "eos", "cls", "sep", "mask")}
    )
    sizes = {"vocab": tokenizer.size, "causal": causal}
    lossy, free = (tiny("adaptive_span", shorten=cost, **sizes).train() for cost in (0.1, 0.0))
    settings = {"causal-lm": CausalLM(), "masked-lm": MaskedLM()}[task]
    build = {"causal-lm": causal_lm.build, "masked-lm": masked_lm.build}[task]
    made = build(settings, tokenizer, context=61, labels=())  # type: ignore[operator]
    batch = made.collate(made.samples({"text": "abc abcdefgh abc hgf"}), [0])
    with torch.no_grad():
        for model in (lossy, free):
            for block in model.stack.blocks:
                block.attention.span.fill_(0.5)
        apart = made.loss(lossy, batch, Key(3)) - made.loss(free, batch, Key(3))
    assert_close(apart, torch.tensor(batch.count * 0.1 * 2 * 3.5), atol=1e-4, rtol=1e-4)


def test_a_span_at_its_end_is_led_back_inside_and_not_beyond() -> None:
    attention = tiny("adaptive_span").stack.blocks[0].attention
    with torch.no_grad():
        attention.span.copy_(torch.tensor([-0.1, -0.1, 1.2]))
    (attention.spans() * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
    assert attention.span.grad.tolist() == [0.0, -7.0, 7.0]
    assert attention.spans().tolist() == [0.0, 0.0, 7.0]
