"""Mutation changes one choice, by even odds or by beta; the closed form of what is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_core.weight_transfer import SpaceError, spaces
from bench_core.weight_transfer.mutation import expected_transfer, mutate, position_weights
from bench_core.weight_transfer.spaces import FeedForward, SearchSpace

SPACES = [
    spaces.get("dense-skip", layers=4),
    spaces.get("feed-forward", layers=6),
    spaces.get("attn", layers=2, widths=(8,)),
    spaces.get("nt3-small"),
]
each_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


@each_space
@given(seed=st.integers(0, 2**32), beta=st.one_of(st.none(), st.floats(1, 100)))
@settings(max_examples=20, deadline=None)
def test_a_child_differs_in_exactly_one_allowed_choice(
    space: SearchSpace, seed: int, beta: float | None
) -> None:
    rng = np.random.default_rng(seed)
    parents = space.random(50, rng)
    before = parents.copy()
    children = mutate(space, parents, rng, beta)
    assert children.dtype == np.uint16
    assert ((children != parents).sum(axis=1) == 1).all()
    assert (children < np.asarray(space.choices)).all()
    assert (parents == before).all()


@pytest.mark.parametrize("present", [0, 1, 3])
def test_every_other_choice_has_the_same_odds_the_last_one_too(present: int) -> None:
    space = FeedForward(layers=1, widths=(1, 2, 3))
    parents = np.full((6000, 1), present)
    counts = np.bincount(mutate(space, parents, np.random.default_rng(1)).ravel(), minlength=4)
    assert counts[present] == 0
    # 2,000 expected of each; the standard deviation is 37.
    assert (np.abs(np.delete(counts, present) - 2000) < 185).all()


def test_positions_with_one_choice_are_never_drawn() -> None:
    space = spaces.get("nt3-small", widths=(100,))
    assert space.choices[2] == 1
    for beta in (None, 1, 10):
        weights = position_weights(space, beta)
        assert weights[2] == 0
        assert (np.delete(weights, 2) > 0).all()
        assert math.isclose(weights.sum(), 1)
    parents = space.random(500, np.random.default_rng(0))
    changed = mutate(space, parents, np.random.default_rng(1)) != parents
    assert not changed[:, 2].any()
    assert changed.sum() == 500


def test_beta_moves_the_weight_to_the_end_of_a_chain_linearly() -> None:
    chain = FeedForward(layers=5)
    assert position_weights(chain, 1) == pytest.approx([0.2] * 5)
    assert position_weights(chain, 9) == pytest.approx(np.array([1, 3, 5, 7, 9]) / 25)


def test_positions_that_invalidate_as_much_share_their_group_s_weight() -> None:
    space = spaces.get("dense-skip", layers=2)
    assert space.depends == (2, 2, 0, 0, 0)
    assert position_weights(space, 1) == pytest.approx([1 / 4] * 2 + [1 / 6] * 3)
    assert position_weights(space, 3) == pytest.approx([1 / 8] * 2 + [1 / 4] * 3)


def test_half_of_a_chain_less_a_half_is_kept() -> None:
    for layers in (1, 2, 7):
        chain = FeedForward(layers=layers)
        assert expected_transfer(chain) == pytest.approx((layers - 1) / 2)


@each_space
@pytest.mark.parametrize("beta", [None, 1, 10])
def test_the_closed_form_is_the_mean_of_a_simulation(
    space: SearchSpace, beta: float | None
) -> None:
    rng = np.random.default_rng(7)
    parents = space.random(20_000, rng)
    changed = mutate(space, parents, rng, beta) != parents
    reached = changed.copy()
    # Position by position: reached if changed itself, or if what feeds it is reached.
    for v, position in enumerate(space.positions):
        for u in position.after:
            reached[:, v] |= reached[:, u]
    kept = (~reached).sum(axis=1)
    error = kept.std() / math.sqrt(len(kept))
    assert abs(kept.mean() - expected_transfer(space, beta)) < 4 * error


def test_what_cannot_be_is_refused() -> None:
    chain, rng = FeedForward(layers=2), np.random.default_rng(0)
    for beta in (0.5, -1, math.inf, math.nan):
        with pytest.raises(SpaceError, match="at least 1"):
            mutate(chain, [[0, 0]], rng, beta)
    with pytest.raises(SpaceError, match="choice 11 at position 1"):
        mutate(chain, [[0, 11]], rng)
    assert mutate(chain, np.empty((0, 2), dtype=np.uint16), rng).shape == (0, 2)


class Fixed(FeedForward):
    """A space of one architecture."""

    choices = (1, 1)


def test_a_space_of_one_architecture_has_no_children() -> None:
    with pytest.raises(SpaceError, match="no position has a second choice"):
        mutate(Fixed(layers=2), [[0, 0]], np.random.default_rng(0))
