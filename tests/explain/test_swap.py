"""Another attention under the same weights: what is changed, what is measured, what is left out and why."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.testing import assert_close

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.errors import RegardError
from regard.explain import swap, swap_page
from regard.explain.swap import Settings, Spent
from regard.layers import Key, Mask
from regard.words import say

SMALL = Settings(window=5, block=2, random=1, cluster=4, rounds=2, features=32)
WIDE = Settings(window=64, block=16, random=1, cluster=64, rounds=1, features=32)
TOKENS = torch.randint(5, 25, (61,), generator=torch.Generator().manual_seed(3)).tolist()


@pytest.mark.parametrize("kind", ["gpt", "grouped", "mlm"])
def test_what_sees_all_changes_nothing(make, kind):
    found = swap.compare(make(kind), TOKENS, settings=WIDE, methods=("exact", "blocks", "lsh"), lengths=[41])
    exact, blocks, hashed = (one.loss for one in found.whole)
    assert exact is not None and exact > 0
    assert blocks == pytest.approx(exact, rel=1e-5) and hashed == pytest.approx(exact, rel=1e-5)
    assert max(found.errors["blocks"] + found.errors["lsh"]) < 1e-5
    assert len(found.errors["lsh"]) == found.swapped == found.layers == 3


def test_a_swapped_window_is_a_model_with_a_window(make):
    loaded = make("gpt")
    found = swap.compare(loaded, TOKENS, settings=SMALL, methods=("exact", "window"), lengths=[41])
    exact, near = found.whole
    for block in loaded.model.stack.blocks:
        assert not isinstance(block.attention.core, torch.nn.Module) and block.attention.core.__name__ == "fused"
        block.attention.mask = Mask(window=5)
    with torch.no_grad():
        hidden = loaded.model.hidden(torch.tensor([TOKENS[:41]]))[0, :-1]
        expected = loaded.model.head.loss(hidden, torch.tensor(TOKENS[1:41])).item() / 40
    assert near.loss == pytest.approx(expected, rel=1e-5) and abs(expected - (exact.loss or 0)) > 1e-4


def test_an_error_is_of_one_layer_given_what_the_exact_model_gives_it(make):
    loaded = make("grouped")
    found = swap.compare(loaded, TOKENS, settings=SMALL, methods=("window",), lengths=[31])
    seen = []
    with torch.no_grad(), swap.around(swap.swappable(loaded.model), lambda place, core: watching(core, seen)):
        loaded.model.hidden(torch.tensor([TOKENS[:31]]))
    behind = torch.arange(31).unsqueeze(1) - torch.arange(31)
    for error, (q, k, v, exact) in zip(found.errors["window"], seen, strict=True):
        k, v = (x.repeat_interleave(3, 1) for x in (k, v))
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        near = scores.masked_fill((behind < 0) | (behind >= 5), -math.inf).softmax(-1) @ v
        assert error == pytest.approx(((near - exact).norm() / exact.norm()).item(), rel=1e-4)


def watching(core, seen):
    def watched(q, k, v, *rest):
        out = core(q, k, v, *rest)
        seen.append((q, k, v, out))
        return out

    return watched


def test_the_model_is_as_it_was_whatever_happens(make):
    loaded = make("gpt")
    before = [block.attention.core for block in loaded.model.stack.blocks]

    def broken(*arguments):
        raise RegardError("swap.no_text")

    with pytest.raises(RegardError), swap.swapped(swap.swappable(loaded.model), broken):
        loaded.model.hidden(torch.tensor([TOKENS]))
    assert [block.attention.core for block in loaded.model.stack.blocks] == before


def test_lengths_that_cannot_be_are_left_out_with_the_reason(make):
    found = swap.compare(
        make("gpt"), TOKENS, settings=SMALL, methods=("exact",), lengths=[31, 62, 200], layer_lengths=[200]
    )
    read, short, _ = found.whole
    assert read.seconds is not None and read.seconds > 0
    assert short.skipped is not None and "61 tokens" in say(short.skipped.key, **short.skipped.values)
    (layer,) = found.layer  # learned positions end where the context does
    assert layer.skipped is not None and "61" in say(layer.skipped.key, **layer.skipped.values)
    found = swap.compare(
        make("grouped"), TOKENS * 4, settings=SMALL, methods=("exact",), lengths=[200], layer_lengths=[200]
    )
    assert found.whole[0].skipped is not None and found.whole[0].skipped.key == "swap.beyond"
    assert found.layer[0].seconds is not None  # rotary positions go on
    found = swap.compare(make("grouped"), TOKENS * 4, settings=SMALL, methods=("exact",), lengths=[200], beyond=True)
    assert found.whole[0].loss is not None


def test_what_would_take_too_long_by_its_growth_is_left_out():
    told = [Spent(method="exact", length=n, seconds=n**2 / 1e6, peak=n) for n in (1000, 2000, 4000)]
    kept = swap._kept_from(told, "exact", 8000, 65.0)
    assert kept is None
    left = swap._kept_from(told, "exact", 8000, 60.0)
    assert left is not None and left.key == "swap.slow" and left.values["value"] == 64
    assert swap._kept_from(told, "lsh", 8000, 1.0) is None  # of which nothing is known


def test_growth_is_the_power_of_the_length():
    assert swap.exponent([(n, 3.0 * n**1.5) for n in (100, 200, 400, 900)]) == pytest.approx(1.5)
    # Short texts, on which other things weigh more, do not count once there are longer ones.
    assert swap.exponent([(1, 50.0), (2, 50.0), (400, 40.0), (800, 80.0), (1600, 160.0)]) == pytest.approx(1.0)
    assert swap.exponent([(100, 1.0)]) is None


def test_the_first_attention_is_given_what_the_model_gives_it(make):
    loaded = make("gpt")
    block, tokens = loaded.model.stack.blocks[0], torch.tensor(TOKENS[:31])
    x, _ = swap._given(loaded.model, block.attention, tokens)
    context = swap.Context().open((1, 31), tokens.device, loaded.model.mask)
    with torch.no_grad():
        assert_close(x, block.attention_before(loaded.model.embed(tokens[None], context)))
    assert not block.attention._forward_pre_hooks


def test_methods_that_cannot_serve_a_model_say_so(tokenizer):
    values = {"vocab": tokenizer.size, "context": 61, "dim": 28, "depth": 2, "heads": 7, "hidden": 112}
    loaded = Bundle(models.build(models.config("bloom", values), Key(5)).eval(), tokenizer, "bloom", "causal-lm")
    found = swap.compare(loaded, TOKENS, settings=SMALL, lengths=[31])
    assert set(found.cannot) == {"window", "blocks", "lsh", "favor"}
    assert [one.method for one in found.whole] == ["exact"]
    assert "bias" in json.dumps(swap_page.document(found)["cannot"]["favor"])
    local = models.config("longformer", {**values, "dim": 28, "window": [4, 4], "head": "language"})
    with pytest.raises(RegardError, match="WindowAttention"):
        swap.swappable(models.build(local, Key(5)))


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    bundle.save(path, make("grouped"))
    (path / "text.txt").write_text("床前明月光，疑是地上霜。举头望明月，低头思故乡。" * 9, encoding="utf-8")
    return path


def test_the_verb_measures_draws_and_tells(folder, tmp_path, capsys):
    page, picture = tmp_path / "a.html", tmp_path / "a.png"
    told = [
        "bench",
        "attention",
        str(folder),
        "--data",
        str(folder / "text.txt"),
        "--layer-length",
        "61",
        "--layer-length",
    ]
    assert run([*told, "122", "--html", str(page), "--png", str(picture), "--lang", "zh"]) == 0
    out = capsys.readouterr().out
    assert "块稀疏" in out and "n^" in out
    assert "FAVOR+" in page.read_text(encoding="utf-8") and picture.stat().st_size > 10_000
    assert (
        run([*told, "122", "--method", "exact", "--method", "window", "--window", "3", "--length", "50", "--json"]) == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document["settings"]["window"] == 3 and document["tokens"] == 50
    assert {one["method"] for one in document["whole"]} == {"exact", "window"}
    assert document["whole"][0]["loss"] != document["whole"][1]["loss"]
    assert set(document["growth"]["layer"]["window"]) == {"seconds", "peak"}
