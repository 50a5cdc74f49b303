"""Heads made by hand, and what is measured of them; rollout by hand."""

from __future__ import annotations

import numpy as np
import pytest

from regard.explain.patterns import PATTERNS, measure
from regard.explain.rollout import rollout

TOKENS = [2, 11, 5, 7, 11, 5, 13, 3]  # ends of a text at 0 and 7; 11 5 comes twice
T = len(TOKENS)


def even(causal: bool = True) -> np.ndarray:
    seen = np.tri(T) if causal else np.ones((T, T))
    return seen / seen.sum(-1, keepdims=True)


def leaning(cells: dict[int, int], strength: float = 0.9) -> np.ndarray:
    """Even attention, but query t gives `strength` to key cells[t]."""
    weights = even()
    for t, s in cells.items():
        weights[t] *= 1 - strength
        weights[t, s] += strength
    return weights


MADE = {
    "previous": leaning({t: t - 1 for t in range(1, T)}),
    "diagonal": leaning({t: t for t in range(1, T)}),
    "first": leaning(dict.fromkeys(range(1, T), 0)),
    "same": leaning({4: 1, 5: 2}),
    "induction": leaning({4: 2, 5: 3}),
    "separator": leaning({t: 6 if t >= 6 else 3 for t in range(3, T)}),
    "uniform": even(),
}


@pytest.mark.parametrize("name", MADE)
def test_a_head_made_for_a_pattern_is_given_its_name(name):
    separators = [3, 6] if name == "separator" else [0, 7]
    (found,) = measure(MADE[name][None], TOKENS, TOKENS, separators, crosses=False)
    assert found.pattern == name
    assert set(found.scores) <= {pattern.name for pattern in PATTERNS}


def test_scores_by_hand():
    weights = np.array([[[1.0, 0, 0], [0.25, 0.75, 0], [0.5, 0.125, 0.375]]])
    (found,) = measure(weights, [4, 9, 4], [4, 9, 4], [1], crosses=False)
    assert found.scores["previous"] == pytest.approx((0.25 + 0.125) / 2)
    assert found.scores["diagonal"] == pytest.approx((0.75 + 0.375) / 2)
    assert found.scores["first"] == pytest.approx((0.25 + 0.5) / 2)
    assert found.scores["same"] == pytest.approx(0.5)  # only the third token has an equal one to see
    assert found.scores["induction"] == pytest.approx(0.125)  # after the first 4 came the 9
    assert found.scores["separator"] == pytest.approx((0.75 + 0.125) / 2)
    entropies = [-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / np.log(2)]
    entropies.append(-(0.5 * np.log(0.5) + 0.125 * np.log(0.125) + 0.375 * np.log(0.375)) / np.log(3))
    assert found.scores["uniform"] == pytest.approx(np.mean(entropies))


def test_even_attention_over_few_keys_is_no_pattern_but_even():
    """With two keys, half of the attention falls on the first by chance."""
    (found,) = measure(np.array([[[1.0, 0.0], [0.5, 0.5]]]), [4, 9], [4, 9], [0], crosses=False)
    assert found.pattern == "uniform"


def test_between_two_texts_positions_say_nothing():
    weights = np.full((2, 3, 5), 0.2)
    found = measure(weights, [4, 9, 8], [9, 1, 2, 3, 6], [4], crosses=True)
    assert all(set(each.scores) == {"first", "same", "separator", "uniform"} for each in found)


def test_a_text_of_one_token_has_no_pattern():
    (found,) = measure(np.ones((1, 1, 1)), [4], [4], [], crosses=False)
    assert found.pattern is None
    assert found.scores == {}


def test_a_query_that_sees_nothing_is_passed_over():
    weights = even()
    weights[3] = 0.0
    (found,) = measure(weights[None], TOKENS, TOKENS, [0, 7], crosses=False)
    assert all(np.isfinite(score) for score in found.scores.values())


def test_rollout_by_hand_and_its_rows():
    first = np.array([[[0.4, 0.6], [0.2, 0.8]], [[0.0, 1.0], [0.6, 0.4]]])  # mean [[.2, .8], [.4, .6]]
    second = np.array([[[1.0, 0.0], [0.5, 0.5]]])
    found = rollout([first, second])
    # [[1, 0], [.25, .75]] @ [[.6, .4], [.2, .8]]
    np.testing.assert_allclose(found, [[0.6, 0.4], [0.25 * 0.6 + 0.75 * 0.2, 0.25 * 0.4 + 0.75 * 0.8]])


def test_rollout_rows_sum_to_one_even_where_a_query_sees_nothing():
    generator = np.random.default_rng(0)
    layers = [generator.dirichlet(np.ones(T), size=(5, T)) for _ in range(7)]
    layers[2][:, 4] = 0.0
    np.testing.assert_allclose(rollout(layers).sum(-1), np.ones(T))
