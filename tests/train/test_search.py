"""--find-lr finds a rate that learns, --find-batch a micro-batch that fits; neither leaves anything behind."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_start import data, recipe  # noqa: F401, a fixture

from regard import config
from regard.cli.main import run as command
from regard.errors import RegardError
from regard.train import search
from regard.train.feed import Place
from regard.train.recipe import BatchConfig
from regard.train.setup import prepare
from regard.train.stop import Interrupted, Stop
from regard.train.trial import Trial


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def curve(lowest: float, count: int = 100) -> tuple[list[float], list[float]]:
    """A loss that falls towards a rate, fastest a decade below it, and then leaves, as such curves do."""
    rates = [1e-6 * 10 ** (6 * step / (count - 1)) for step in range(count)]
    fallen = [1 / (1 + (lowest / 10 / rate) ** 3) for rate in rates]
    return rates, [5 - 3 * share + (rate / lowest) ** 2 / 100 for rate, share in zip(rates, fallen, strict=True)]


def test_the_rate_is_a_tenth_of_the_lowest_loss_s():
    rates, losses = curve(1e-2)
    found = search.judged(rates, losses, losses)
    assert found.lowest == pytest.approx(1e-2, rel=0.2) and found.suggested == pytest.approx(1e-3, rel=0.25)
    assert found.steepest < found.lowest / 2


def test_a_loss_that_leaves_at_once_gives_no_rate():
    with pytest.raises(RegardError, match="left at once"):
        search.judged([1e-6] * 6, [math.nan] * 6, [math.nan] * 6)


def test_the_suggested_rate_learns_more_than_a_far_smaller_and_a_far_larger_one(data):  # noqa: F811
    setup = prepare(recipe(data, **{"batch.accumulate": 1}))
    feed = setup.feed()
    found = search.find_lr(setup, feed)
    assert list(found.rates) == sorted(found.rates) and len(found.rates) == len(found.losses)
    assert found.smoothed[0] == pytest.approx(found.losses[0])

    def reached(rate: float) -> float:
        asked = config.override(setup.recipe, {"train.optimizer.rate": str(rate)})
        trial = Trial(replace(setup, recipe=asked))
        losses = [trial.learn(batch, step, 1.0) for step, batch in zip(range(40), search._batches(feed), strict=False)]
        return float(np.mean(losses[-8:]))

    good = reached(found.suggested)
    assert good < reached(found.suggested / 100) and good < reached(found.suggested * 100)


def test_the_test_begins_where_the_training_does(data):  # noqa: F811
    """The first loss is that of the recipe's first batch under its own weights and dropout."""
    setup = prepare(recipe(data, **{"batch.accumulate": 1}))
    feed = setup.feed()
    found = search.find_lr(setup, feed, updates=5)
    assert found.losses[0] == Trial(setup).learn(feed.batches(Place()), 0, 0.0)


def test_stopped_while_it_searches(data):  # noqa: F811
    setup = prepare(recipe(data))
    stop = Stop()
    stop.ask()
    with pytest.raises(Interrupted):
        search.find_lr(setup, setup.feed(), stop=stop)


class Probed:
    """Stands for the process that tries sizes: it holds so much and likes one size best."""

    def __init__(self, most: int, best: int):
        self.most, self.best, self.asked = most, best, []

    def __call__(self, setup, wanted, folder, most, stop):
        for size in wanted:
            self.asked.append(size)
            fits = size <= self.most
            speed = 1000.0 / (1 + abs(math.log2(size / self.best)))
            yield search.Tried(tokens=size, speed=speed if fits else None, memory=size * 1000 if fits else None)
            if not fits:
                return


@pytest.mark.parametrize(("most", "best"), [(10**9, 256), (128, 10**6), (64, 64)])
def test_the_fastest_and_the_largest(data, monkeypatch, most, best):  # noqa: F811
    setup = prepare(recipe(data))
    probed = Probed(most, best)
    monkeypatch.setattr(search, "_probed", probed)
    feed = setup.feed()
    found = search.find_batch(setup, feed)
    fitting = [tried for tried in found.tried if tried.speed is not None]
    assert found.largest == fitting[-1] and found.fastest.speed == max(tried.speed for tried in fitting)
    assert found.accumulate == math.ceil(setup.recipe.train.batch.tokens / found.fastest.tokens)
    assert probed.asked == sorted(probed.asked)


def test_nothing_fits(data, monkeypatch):  # noqa: F811
    setup = prepare(recipe(data))
    monkeypatch.setattr(search, "_probed", Probed(1, 1))
    with pytest.raises(RegardError, match="Not even a micro-batch"):
        search.find_batch(setup, setup.feed())


def test_sizes_stop_at_the_data_and_at_the_memory(data):  # noqa: F811
    setup = prepare(recipe(data))
    feed = setup.feed()
    sizes = search.sizes(setup, feed, None)
    assert sizes[0] >= feed.size.max() and sizes[-1] < 2 * feed.tokens <= 2 * sizes[-1]
    large = search.needs(setup, search.under(feed, BatchConfig(tokens=sizes[-1])), 0, 0.0).total
    assert search.sizes(setup, feed, large - 1)[-1] < sizes[-1]


@pytest.mark.slow
def test_from_the_command_line(data, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Both print a setting that the recipe takes, and leave nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(config.to_toml(recipe(data)), encoding="utf-8")
    for look in ("--find-lr", "--find-batch"):
        assert command(["train", "recipe.toml", look, "--json"]) == 0, capsys.readouterr()
        found = json.loads(capsys.readouterr().out)
        config.override(recipe(data), found["set"])
        assert command(["train", "recipe.toml", look, "--lang", "zh"]) == 0
        assert all(f"--set {key}={value}" in capsys.readouterr().out for key, value in found["set"].items())
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


@pytest.mark.slow
def test_a_size_that_does_not_fit_ends_only_the_process_that_tried_it(data):  # noqa: F811
    setup = prepare(recipe(data))
    feed = setup.feed()
    with pytest.raises(RegardError, match="Not even"):
        search.find_batch(setup, feed, available=100 << 20)  # less than PyTorch alone takes
