"""Step lines: what a sample stood at from each moment on, and several of them at common moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Steps = npt.NDArray[np.float64]
"""Shape (steps, 2): where a step begins, in order, and the value from there on."""


def value_at(steps: Steps, places: Numbers) -> Numbers:
    """Return the value at each place, shape (places,); they lie at the first step or behind it."""
    last = np.searchsorted(steps[:, 0], places, side="right") - 1
    values: Numbers = steps[last, 1]
    return values


def common_places(lines: Sequence[Steps], end: float) -> Numbers:
    """Return where any of the lines steps, from where all have begun up to ``end``."""
    begin = max(float(line[0, 0]) for line in lines)
    places = np.unique(np.concatenate([line[:, 0] for line in lines]))
    return np.append(places[(places >= begin) & (places < end)], max(end, begin))


def without_repeats(steps: Steps) -> Steps:
    """Return only the steps that change the value, and the last: the drawn line is the same."""
    differs = np.append(True, np.diff(steps[:, 1]) != 0)
    differs[-1] = True
    kept: Steps = steps[differs]
    return kept


def evenly(count: int, most: int) -> Places:
    """Return at most ``most`` of ``count`` indices, evenly far apart, first and last among them."""
    kept: Places = np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
    return kept
