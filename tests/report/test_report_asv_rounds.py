"""Rounds in which commits took turns: read beside asv's samples, and compared by pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_builders import asv_entry, write_asv

from harness.asv_rounds import Round, write_rounds
from harness.report.load import load
from harness.report.ratios import ratio_of
from harness.report.sides import not_in_turns
from harness.report.thresholds import aa_thresholds
from harness.statistics import verdict

NAME = "mod.Load.time_load"
CASE = f"{NAME}('direct')"
DRIFT = (1.0, 1.4, 2.0, 2.7, 1.2, 3.0, 1.8, 2.2)
"""How slow the machine was in each round."""


def measured(
    folder: Path, commit: str, samples: list[float], rounds: list[Round] | None
) -> pd.DataFrame:
    """Return the samples of a case at one commit, as they are loaded."""
    entry = asv_entry((("direct",),), [float(np.median(samples))], [samples])
    path = write_asv(folder / commit, {NAME: entry}, {NAME: ("format",)}, commit=commit * 40)
    if rounds is not None:
        write_rounds(path, {CASE: rounds})
    return load([path]).samples


def in_turns(folder: Path, commit: str, seconds: float, loop: str = "loop") -> pd.DataFrame:
    """Return two samples a round of a case that drifts with the machine."""
    values = [seconds * factor * wobble for factor in DRIFT for wobble in (0.999, 1.001)]
    return measured(folder, commit, values, [Round(loop, n, 2) for n in range(len(DRIFT))])


def test_each_sample_knows_its_round_and_who_took_turns(tmp_path: Path) -> None:
    rounds = [Round("one", 0, 2), Round("two", 1, 1)]

    found = measured(tmp_path, "a", [0.1, 0.2, 0.3], rounds)

    assert list(found["value"]) == [0.1, 0.2, 0.3]
    assert list(found["round"]) == [0, 0, 1]
    assert list(found["turns"]) == ["one", "one", "two"]


def test_samples_beyond_the_known_rounds_are_a_group_of_their_own(tmp_path: Path) -> None:
    found = measured(tmp_path, "a", [0.1, 0.2, 0.3, 0.4], [Round("one", 0, 2)])

    assert list(found["round"]) == [0, 0, -2, -2]
    assert list(found["turns"]) == ["one", "one", "", ""]


def test_without_rounds_all_is_as_asv_has_it(tmp_path: Path) -> None:
    found = measured(tmp_path, "a", [0.1, 0.2], None)

    assert found["round"].isna().all()
    assert set(found["turns"]) == {""}


@pytest.mark.parametrize(("factor", "expected"), [(1.0, "unchanged"), (1.2, "slower")])
def test_what_drifts_over_the_rounds_cancels(tmp_path: Path, factor: float, expected: str) -> None:
    a, b = in_turns(tmp_path, "a", 0.1), in_turns(tmp_path, "b", 0.1 * factor)

    found = ratio_of(b, a)

    assert found.groups == len(DRIFT)
    assert found.value == pytest.approx(factor)
    assert verdict(found) == expected


def test_rounds_of_two_loops_have_nothing_in_common(tmp_path: Path) -> None:
    a, b = in_turns(tmp_path, "a", 0.1), in_turns(tmp_path, "b", 0.1, loop="another")

    found = ratio_of(b, a)

    assert found.low < 0.8 < 1.25 < found.high
    assert verdict(found) == "cannot tell"


def test_sides_that_took_no_turns_are_noted(tmp_path: Path) -> None:
    a, b = in_turns(tmp_path, "a", 0.1), in_turns(tmp_path, "b", 0.1)
    alone = measured(tmp_path, "c", [0.1, 0.1], None)

    assert not_in_turns(a, b) == []
    for sides in ((a, alone), (alone, b), (a, in_turns(tmp_path, "d", 0.1, loop="another"))):
        (note,) = not_in_turns(*sides)
        assert note.endswith("bench-core commits A B --rounds 6 measures them in turns")


def test_an_interval_goes_by_rounds_and_not_by_samples(tmp_path: Path) -> None:
    values = [factor for factor in (1.0, 1.0, 1.3) for _ in range(20)]
    rounds = [Round("", n, 20) for n in range(3)]
    a = measured(tmp_path, "a", values, [Round("x", item.number, 20) for item in rounds])
    b = measured(tmp_path, "b", values, [Round("y", item.number, 20) for item in rounds])

    assert ratio_of(a, b).groups == 3
    assert ratio_of(a, b).high >= 1.3


def test_noise_is_told_by_every_other_round(tmp_path: Path) -> None:
    values = [factor for factor in (1.0, 1.1, 1.0, 1.1) for _ in range(2)]
    found = measured(tmp_path, "a", values, [Round("x", number, 2) for number in range(4)])

    assert aa_thresholds(found, floor=0.05) == {NAME: pytest.approx(0.2)}
