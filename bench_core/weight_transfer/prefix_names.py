"""Names of the prefixes of sequences of choices, for whole populations at once."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bench_core.weight_transfer.spaces.base import Archs

PrefixNames = npt.NDArray[np.uint64]
"""One a position: shape (n, L). Equal names are equal choices up to there."""

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_CHOICE_BITS: Final = np.uint64(16)


def prefix_names(archs: Archs) -> PrefixNames:
    """Return the name of each prefix of each row, shape (n, L): the same in every process.

    The name of position i mixes the name of i - 1 with a mixed word of position and choice. Given
    the name before, different choices never meet; names of different prefixes meet with odds of
    2^-64 a pair, so among 1.8 million (60,000 rows of 30) with odds of 9e-8. Against somebody who
    looks for a collision they are no help: stores name layers with `ArchitectureGraph.names`.
    The mixing is the finaliser of SplitMix64 (Steele et al., OOPSLA 2014).
    """
    n, length = archs.shape
    names = np.empty((length, n), dtype=np.uint64)
    before = np.full(n, _GOLDEN)
    for position, (choices, here) in enumerate(zip(archs.T, names, strict=True)):
        here[:] = choices
        here |= np.uint64(position + 1) << _CHOICE_BITS
        here *= _GOLDEN
        _mix(here)
        here ^= before
        _mix(here)
        before = here
    return np.ascontiguousarray(names.T)


def _mix(words: npt.NDArray[np.uint64]) -> None:
    """Let every bit of a word depend on every other, in place; no two words become one."""
    words ^= words >> np.uint64(30)
    words *= _FIRST
    words ^= words >> np.uint64(27)
    words *= _SECOND
    words ^= words >> np.uint64(31)
