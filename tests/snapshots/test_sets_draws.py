"""The draws of the published sets: the very numbers, their bounds, and their independence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_core.errors import UnknownNameError
from bench_core.models.chains import chain, skeleton
from bench_core.snapshots.draws import (
    DISTRIBUTIONS,
    DrawError,
    derived_seed,
    first_own_block,
    retrained_blocks,
)

TOP, QUARTER, HALF = "TOP_LAYERS", "TWENTY_FIVE_PERCENT", "FIFTY_PERCENT"
CUTS = {"resnet18": 9, "resnet152": 51, "vit_l_32": 25, "bert": 13, "eff_net_v2_l": 81}

# fmt: off
LISTS = {
    ("resnet18", TOP): [1,2,1,1,0,0,0,1,1,1,0,2,1,1,1,1,1,1,1,1,1,0,1,1,1,1,1,1,1,0,1,1,0,2],
    ("resnet18", QUARTER): [2,4,3,3,1,1,1,4,3,3,0,4,3,1,1,1,2,2,2,2,3,1,2,2,2,3,1,2,3,1,3,1,1,4],
    ("resnet18", HALF): [4,6,5,5,3,3,3,6,5,5,2,7,6,4,3,3,4,5,4,4,5,3,4,4,4,5,4,5,5,3,5,3,3,6],
    ("resnet152", TOP): [4,9,7,6,3,3,2,8,6,7,1,10,8,3,3,3,4,5,5,4,6,3,4,4,5,7,3,5,6,1,6,3,2,9],
    ("vit_l_32", TOP): [2,5,3,3,1,1,1,4,3,3,0,5,4,2,1,1,2,3,2,2,3,1,2,2,2,4,2,3,3,1,3,1,1,5],
}
# fmt: on
SUMS = {
    "resnet18": (30, 72, 146),
    "resnet152": (165, 406, 825),
    "vit_l_32": (81, 198, 406),
    "bert": (39, 104, 213),
    "eff_net_v2_l": (257, 643, 1311),
}
UNIQUE_MB = {
    "resnet18": (599, 1068, 1454),
    "resnet50": (1335, 2248, 2945),
    "resnet152": (2448, 3614, 5511),
    "vit_b_16": (1449, 3292, 6382),
    "vit_l_32": (5303, 11199, 21679),
}
"""Of 35 published models, each block counted once."""
RANGES = {
    ("eff_net_v2_l", TOP): (1, 16),
    ("eff_net_v2_l", QUARTER): (3, 39),
    ("eff_net_v2_l", HALF): (20, 60),
    ("bert", TOP): (0, 3),
}


@pytest.mark.parametrize(("architecture", "distribution"), LISTS)
def test_the_published_lists_come_out(architecture: str, distribution: str) -> None:
    expected = LISTS[architecture, distribution]
    assert retrained_blocks(distribution, CUTS[architecture], 34) == expected


@pytest.mark.parametrize("architecture", SUMS)
def test_the_published_sums_come_out(architecture: str) -> None:
    drawn = [sum(retrained_blocks(name, CUTS[architecture], 34)) for name in (TOP, QUARTER, HALF)]
    assert tuple(drawn) == SUMS[architecture]


@pytest.mark.parametrize(("architecture", "distribution"), RANGES)
def test_the_published_ranges_come_out(architecture: str, distribution: str) -> None:
    drawn = retrained_blocks(distribution, CUTS[architecture], 34)
    assert (min(drawn), max(drawn)) == RANGES[architecture, distribution]


@pytest.mark.parametrize(
    ("name", "architecture"),
    [(n, n) for n in ("resnet18", "resnet152", "vit_l_32")] + [("bert_base", "bert")],
)
def test_chains_have_the_cuts_that_the_published_draws_are_for(
    name: str, architecture: str
) -> None:
    assert len(chain(name).cuts) == CUTS[architecture]


@pytest.mark.parametrize("architecture", UNIQUE_MB)
def test_sets_are_as_large_as_the_published_ones(architecture: str) -> None:
    spec = chain(architecture)
    tensors = [skeleton(block).state_dict().values() for block in spec.blocks]
    sizes = [sum(tensor.nbytes for tensor in block) / 1e6 for block in tensors]
    found = []
    for distribution in (TOP, QUARTER, HALF):
        drawn = retrained_blocks(distribution, len(spec.cuts), 34)
        own = [sum(sizes[first_own_block(spec.cuts, number) :]) for number in drawn]
        found.append(sum(sizes) + sum(own))
    assert found == pytest.approx(UNIQUE_MB[architecture], rel=0.001)


@pytest.mark.parametrize("n_cuts", [2, 5, 9, 13, 19, 42, 81])
@pytest.mark.parametrize(
    ("name", "mean", "means"), [(TOP, 0.1, 2), (QUARTER, 0.25, 2), (HALF, 0.5, 4)]
)
def test_the_draws_are_those_of_scipy(n_cuts: int, name: str, mean: float, means: float) -> None:
    truncnorm = pytest.importorskip("scipy.stats").truncnorm
    centre, deviation = mean * n_cuts, mean * n_cuts / means
    bounds = (-centre / deviation, (n_cuts - centre) / deviation)
    theirs = truncnorm.rvs(*bounds, loc=centre, scale=deviation, size=2000, random_state=42)
    assert retrained_blocks(name, n_cuts, 2000) == [round(value) for value in theirs.tolist()]


@given(
    name=st.sampled_from(DISTRIBUTIONS),
    n_cuts=st.integers(1, 100),
    count=st.integers(0, 50),
    more=st.integers(0, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_draws_are_bounded_and_fewer_are_the_first_of_more(
    name: str, n_cuts: int, count: int, more: int, seed: int
) -> None:
    drawn = retrained_blocks(name, n_cuts, count + more, seed)
    assert all(0 <= number <= n_cuts for number in drawn)
    assert retrained_blocks(name.lower(), n_cuts, count, seed) == drawn[:count]


def test_a_draw_of_all_cuts_retrains_every_trainable_block() -> None:
    cuts = (4, 3, 2, 1)
    assert [first_own_block(cuts, r) for r in range(5)] == [4, 3, 2, 1, 1]


def test_given_numbers_are_taken_as_they_are() -> None:
    assert retrained_blocks([0, 3, 1, 2], 4, 3) == [0, 3, 1]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([1], "1 numbers of blocks to re-train for 2"), ([0, 5], "5 blocks"), ([0, -1], "-1 blocks")],
)
def test_wrong_numbers_are_refused(numbers: list[int], message: str) -> None:
    with pytest.raises(DrawError, match=message):
        retrained_blocks(numbers, 4, 2)


def test_an_unknown_distribution_names_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'TOP_LAYERS'"):
        retrained_blocks("top_layer", 4, 2)


def test_derived_seeds_are_fixed_and_apart() -> None:
    assert derived_seed(0, 1, 2) == derived_seed(0, 1, 2)
    assert (
        len({derived_seed(seed, i, j) for seed in range(5) for i in range(12) for j in range(12)})
        == 720
    )
    assert derived_seed(1, 23) != derived_seed(12, 3)
    assert derived_seed("published", 7) == 4993651759931950003
