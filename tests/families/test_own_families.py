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
from regard.layers import Context, Key
from regard.models.transformer import Transformer
from regard.weights import folder as files
from regard.weights import table

SIZES = {"vocab": 31, "context": 61, "dim": 21, "depth": 2, "heads": 3, "hidden": 17, "dropout": 0.0}
OWN: dict[str, dict[str, Any]] = {"performer": {"features": 11}}
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
