from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data import order

lengths = st.lists(st.integers(0, 97), min_size=1, max_size=300)
seeds = st.integers(0, 2**64 - 1)


@given(seeds, st.integers(0, 2**40), st.integers(0, 500))
def test_a_permutation_has_every_index_once(seed, epoch, count):
    assert sorted(order.permutation(seed, epoch, count)) == list(range(count))


def test_a_permutation_depends_on_seed_and_epoch_and_on_nothing_else():
    first = order.permutation(7, 3, 1009)
    np.random.seed(5)  # noqa: NPY002: the global state must not matter
    assert np.array_equal(first, order.permutation(7, 3, 1009))
    assert not np.array_equal(first, order.permutation(8, 3, 1009))
    assert not np.array_equal(first, order.permutation(7, 4, 1009))


def test_a_permutation_is_this_one_on_every_machine():
    # Philox's raw stream is fixed by its paper; a change here would change the order of every training there was.
    assert order.permutation(0, 0, 11).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 10, 6, 7]


def test_a_permutation_leaves_no_place_unmoved_more_often_than_chance():
    stays = sum(int((order.permutation(1, epoch, 97) == np.arange(97)).sum()) for epoch in range(300))
    assert 200 < stays < 400  # one a permutation on average


@given(lengths, seeds, st.integers(0, 99), st.integers(1, 200), st.booleans())
def test_a_plan_has_every_example_once_and_keeps_to_its_budget(sizes, seed, epoch, tokens, bucket):
    plan = order.plan(sizes, seed=seed, epoch=epoch, tokens=tokens, bucket=bucket)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(sizes)))
    for batch in plan:
        assert len(batch) == 1 or sum(sizes[i] for i in batch) <= tokens


@given(lengths, seeds, st.integers(0, 99), st.integers(1, 200), st.booleans())
def test_a_plan_is_a_pure_function(sizes, seed, epoch, tokens, bucket):
    one = order.plan(sizes, seed=seed, epoch=epoch, tokens=tokens, bucket=bucket)
    two = order.plan(np.array(sizes), seed=seed, epoch=epoch, tokens=tokens, bucket=bucket)
    assert [batch.tolist() for batch in one] == [batch.tolist() for batch in two]


def test_epochs_differ():
    sizes = np.arange(1, 200)
    plans = [order.plan(sizes, seed=3, epoch=epoch, tokens=512, bucket=True) for epoch in range(3)]
    firsts = {tuple(plan[0].tolist()) for plan in plans}
    assert len(firsts) == 3


def test_batches_can_be_shared_out_among_any_number_of_ranks():
    plan = order.plan(np.full(101, 5), seed=1, epoch=0, tokens=25, bucket=False)
    for ranks in (1, 2, 3, 7):
        shares = [plan[rank::ranks] for rank in range(ranks)]
        joined = [shares[place % ranks][place // ranks].tolist() for place in range(len(plan))]
        assert joined == [batch.tolist() for batch in plan]


def test_buckets_hold_like_lengths_in_no_order_of_length():
    sizes = np.array([3, 89] * 500)
    plan = order.plan(sizes, seed=11, epoch=0, tokens=89 * 5, bucket=True)
    mixed = sum(len(set(sizes[batch].tolist())) > 1 for batch in plan)
    assert mixed <= len(plan) * 0.1
    shortest = [int(sizes[batch].min()) for batch in plan]
    assert shortest != sorted(shortest)
    straight = order.plan(sizes, seed=11, epoch=0, tokens=89 * 5, bucket=False)
    assert np.array_equal(np.concatenate(straight), order.permutation(11, 0, len(sizes)))


def test_an_example_longer_than_the_budget_is_a_batch_of_its_own():
    plan = order.plan([5, 1000, 7], seed=0, epoch=0, tokens=13, bucket=False)
    assert [1] in [batch.tolist() for batch in plan]


def test_nothing_to_plan():
    assert order.plan([], seed=0, epoch=0, tokens=5) == []
    with pytest.raises(ValueError):
        order.plan([3], seed=0, epoch=0, tokens=0)
    with pytest.raises(ValueError):
        order.plan([3, -1], seed=0, epoch=0, tokens=5)


def test_uniform_draws_belong_to_their_example():
    draws = order.uniform(5, 2, 13, 1000, stream=order.AUGMENT)
    assert ((draws >= 0) & (draws < 1)).all() and 0.45 < draws.mean() < 0.55
    for other in (
        order.uniform(6, 2, 13, 1000, stream=order.AUGMENT),
        order.uniform(5, 3, 13, 1000, stream=order.AUGMENT),
        order.uniform(5, 2, 14, 1000, stream=order.AUGMENT),
        order.uniform(5, 2, 13, 1000, stream=order.MASK),
    ):
        assert not set(draws.tolist()) & set(other.tolist())
    # More of them only adds to them, so that a longer text does not change what its beginning drew.
    assert np.array_equal(draws[:7], order.uniform(5, 2, 13, 7, stream=order.AUGMENT))


def test_a_million_examples_are_planned_in_seconds():
    sizes = order.permutation(0, 1, 1_000_000) % 61 + 3
    plan = order.plan(sizes, seed=0, epoch=0, tokens=4096)
    assert sum(len(batch) for batch in plan) == 1_000_000
