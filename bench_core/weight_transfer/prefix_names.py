"""Names of the prefixes of sequences of choices, for whole populations at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bench_core.weight_transfer.spaces.base import Archs

PrefixNames = npt.NDArray[np.uint64]
"""One a position: shape (n, L). Equal names are equal choices up to there."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS: Final = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST_SHIFT: Final = np.uint64(31)
_CHOICE_BITS: Final = np.uint64(16)


def prefix_names(archs: Archs, out: PrefixNames | None = None) -> PrefixNames:
    """Return the name of each prefix of each row, shape (n, L): the same in every process.

    The name of position i mixes the name of i - 1 with a mixed word of position and choice. Given
    the name before, different choices never meet; names of different prefixes meet with odds of
    2^-64 a pair, so among 1.8 million (60,000 rows of 30) with odds of 9e-8. Against somebody who
    looks for a collision they are no help: stores name layers with `ArchitectureGraph.names`.
    The mixing is the finaliser of SplitMix64 (Steele et al., OOPSLA 2014).

    Args:
        archs: shape (n, L).
        out: where the names go, of the result's shape; None: a new array.
    """
    n, length = archs.shape
    names = np.empty((n, length), dtype=np.uint64) if out is None else out
    # Three columns that stay in the cache; fresh memory would cost more than the arithmetic.
    here, spare = np.empty((2, n), dtype=np.uint64)
    before = np.full(n, _GOLDEN)
    for position in range(length):
        here[:] = archs[:, position]
        here |= np.uint64(position + 1) << _CHOICE_BITS
        here *= _GOLDEN
        _mix(here, spare)
        here ^= before
        _mix(here, spare)
        names[:, position] = here
        here, before = before, here
    return names


def _mix(words: npt.NDArray[np.uint64], spare: npt.NDArray[np.uint64]) -> None:
    """Let every bit of a word depend on every other, in place; no two words become one."""
    for shift, factor in _ROUNDS:
        np.right_shift(words, shift, out=spare)
        words ^= spare
        words *= factor
    np.right_shift(words, _LAST_SHIFT, out=spare)
    words ^= spare
