"""Selectors: what each picks, in the model's order, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from bench_core.errors import UnknownNameError
from bench_core.formats import TensorSpec
from bench_core.layer_loading import SELECTORS, select

SPECS = {f"t{i}": TensorSpec((n,), torch.uint8) for i, n in enumerate([5, 2, 9, 9, 1, 4, 3])}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("all", "t0 t1 t2 t3 t4 t5 t6"),
        ("first_3", "t0 t1 t2"),
        ("first_0", ""),
        ("first_99", "t0 t1 t2 t3 t4 t5 t6"),
        ("last_2", "t5 t6"),
        ("last_0", ""),
        ("last_99", "t0 t1 t2 t3 t4 t5 t6"),
        ("largest", "t2"),
        ("smallest", "t4"),
        ("every_other", "t0 t2 t4 t6"),
        ("prefix_1", "t0"),
        ("prefix_25", "t0 t1"),
        ("prefix_50", "t0 t1 t2 t3"),
        ("prefix_100", "t0 t1 t2 t3 t4 t5 t6"),
        ("random_99", "t0 t1 t2 t3 t4 t5 t6"),
    ],
)
def test_what_each_picks(selector: str, expected: str) -> None:
    assert select(SPECS, selector) == expected.split()


def test_random_is_seeded_and_in_order() -> None:
    picks = [select(SPECS, "random_4", seed) for seed in range(20)]
    assert picks == [select(SPECS, "random_4", seed) for seed in range(20)]
    assert len({tuple(pick) for pick in picks}) > 1
    assert all(len(pick) == 4 and pick == sorted(pick) for pick in picks)


@pytest.mark.parametrize("selector", SELECTORS)
def test_nothing_is_picked_from_nothing(selector: str) -> None:
    assert select({}, selector) == []


@pytest.mark.parametrize("selector", ["biggest", "first", "first_-1", "prefix_101", "", "all "])
def test_unknown_selectors_are_refused(selector: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown selector"):
        select(SPECS, selector)
    with pytest.raises(UnknownNameError, match="did you mean 'largest'"):
        select(SPECS, "largst")
