"""The warpers against transformers' and against values worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from regard.generate import warp

B, V = 7, 101


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(B, V, generator=torch.Generator().manual_seed(3)) * 3


@pytest.mark.parametrize("value", [0.3, 1.0, 1.7])
def test_temperature_like_transformers(logits, value):
    torch.testing.assert_close(warp.temperature(logits, value), TemperatureLogitsWarper(value)(None, logits))


@pytest.mark.parametrize("k", [1, 5, V, V + 2])
def test_top_k_like_transformers(logits, k):
    torch.testing.assert_close(warp.top_k(logits, k), TopKLogitsWarper(k)(None, logits))


@pytest.mark.parametrize("p", [0.001, 0.5, 0.9, 0.99])
def test_top_p_like_transformers(logits, p):
    torch.testing.assert_close(warp.top_p(logits, p), TopPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 1.0])
def test_min_p_like_transformers(logits, p):
    torch.testing.assert_close(warp.min_p(logits, p), MinPLogitsWarper(p)(None, logits))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.99])
def test_typical_p_like_transformers(logits, p):
    torch.testing.assert_close(warp.typical_p(logits, p), TypicalLogitsWarper(p)(None, logits))
    cut = warp.top_k(logits, 13)
    torch.testing.assert_close(warp.typical_p(cut, p), TypicalLogitsWarper(p)(None, cut))


@pytest.mark.parametrize("penalty", [0.7, 1.0, 1.3])
def test_repetition_like_transformers(logits, penalty):
    tokens = torch.randint(V, (B, 13), generator=torch.Generator().manual_seed(5))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits)
    torch.testing.assert_close(warp.repetition(logits, tokens.tolist(), penalty), expected)


def test_bias_like_transformers():
    """Words of one to three tokens of five, so that many stand before the next token."""
    tokens = torch.randint(5, (31, 17), generator=torch.Generator().manual_seed(5))
    scores = torch.randn(31, 5, generator=torch.Generator().manual_seed(7))
    words = [([3], 1.5), ([0, 1], -2.0), ([2, 4, 1], 3.0), ([1, 1], -torch.inf), ([4, 0], 0.5)]
    expected = SequenceBiasLogitsProcessor([[word, value] for word, value in words])(tokens, scores)
    torch.testing.assert_close(warp.bias(scores, tokens.tolist(), words), expected)


def test_counted_by_hand():
    """Frequency for each time, presence once."""
    found = warp.counted(torch.zeros(2, 4), [[1, 1, 2], []], 0.5, 2.0)
    assert found.tolist() == [[0.0, -3.0, -2.5, 0.0], [0.0] * 4]


def test_no_repeat_like_transformers():
    tokens = torch.randint(5, (31, 17), generator=torch.Generator().manual_seed(5))
    scores = torch.randn(31, 5, generator=torch.Generator().manual_seed(7))
    for size in (1, 2, 3, 5, 17, 18):
        expected = NoRepeatNGramLogitsProcessor(size)(tokens, scores)
        torch.testing.assert_close(warp.no_repeat(scores, tokens.tolist(), size), expected)


def test_top_p_after_top_k_like_transformers(logits):
    expected = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(11)(None, logits))
    torch.testing.assert_close(warp.top_p(warp.top_k(logits, 11), 0.8), expected)


def test_top_p_by_hand():
    """Probabilities .5 .3 .2: .5 reaches .5 with one token, .51 needs two, .81 three."""
    logits = torch.tensor([[0.3, 0.5, 0.2]]).log()
    kept = [warp.top_p(logits, p).isfinite().tolist() for p in (0.49, 0.51, 0.81)]
    assert kept == [[[False, True, False]], [[True, True, False]], [[True, True, True]]]


def test_draw_by_hand():
    """Weights .25 0 .5 .25: the cumulative distribution is .25 .25 .75 1, and a token of weight 0 is never drawn."""
    logits = torch.tensor([0.25, 0.0, 0.5, 0.25]).log().expand(6, 4)
    uniform = torch.tensor([0.0, 0.2499, 0.2501, 0.7499, 0.7501, 1 - 2**-32], dtype=torch.float64)
    assert warp.draw(logits, uniform).tolist() == [0, 0, 2, 2, 3, 3]


def test_draw_at_the_edges_of_a_token():
    """A token owns its lower edge: at 0 the first of any weight is drawn, not one of none before it."""
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0]])
    edges = [0.0, 0.5 - 2**-32, 0.5, 1 - 2**-32]
    assert [warp.draw(logits, torch.tensor([edge], dtype=torch.float64)).item() for edge in edges] == [1, 1, 3, 3]


def test_draw_is_the_distribution():
    """One number in each of n equal cells gives each token its probability, to one in n."""
    logits = torch.randn(1, 13, generator=torch.Generator().manual_seed(7))
    n = 10007
    tokens = warp.draw(logits.expand(n, 13), (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    share = torch.bincount(tokens, minlength=13) / n
    torch.testing.assert_close(share, logits[0].softmax(0), atol=1.1 / n, rtol=0)


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_a_ruled_out_token_is_never_drawn(number, seed):
    logits = torch.randn(1, 31, generator=torch.Generator().manual_seed(seed))
    warped = warp.top_p(warp.top_k(logits, 7), 0.7)
    token = warp.draw(warped, torch.tensor([number / 2**32], dtype=torch.float64))
    assert warped[0, token].isfinite()


def test_log_probabilities(logits):
    torch.testing.assert_close(warp.log_probabilities(logits), logits.log_softmax(-1))
