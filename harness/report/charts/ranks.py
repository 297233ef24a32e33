"""Rank correlation: whether one quantity grows where another does, whatever the shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Values = Sequence[float] | npt.NDArray[np.float64]


def spearman(a: Values, b: Values) -> float:
    """Return Spearman's rho: Pearson's correlation of the ranks, equal values sharing theirs.

    NaN where one side is constant, or there are fewer than two pairs.
    """
    if len(a) < 2:
        return math.nan
    ranks = np.stack(
        [pd.Series(np.asarray(side, dtype=float)).rank().to_numpy() for side in (a, b)]
    )
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    spread = math.sqrt(float((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float(centred[0] @ centred[1]) / spread if spread else math.nan


def kendall(a: Values, b: Values) -> float:
    """Return Kendall's tau-b, which corrects for ties (Kendall, "The treatment of ties in ranking
    problems", Biometrika 33, 1945).

    NaN where one side is constant, or there are fewer than two pairs.
    """
    left, right = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    agreeing = untied_left = untied_right = 0.0
    for place in range(len(left) - 1):
        sign_left = np.sign(left[place + 1 :] - left[place])
        sign_right = np.sign(right[place + 1 :] - right[place])
        agreeing += float(sign_left @ sign_right)
        untied_left += float(np.abs(sign_left).sum())
        untied_right += float(np.abs(sign_right).sum())
    spread = math.sqrt(untied_left * untied_right)
    return agreeing / spread if spread else math.nan
