"""The same by trial: random models are drawn, and prefixes compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench_core.weight_transfer.birthday.closed import mutation_probabilities
from bench_core.weight_transfer.errors import SpaceError


@dataclass(frozen=True)
class Trials:
    """What trials gave."""

    mean: float
    standard_error: float
    n: int

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Trials:
        """Return the summary of some values.

        Raises:
            SpaceError: fewer than two.
        """
        found = np.asarray(values, dtype=np.float64)
        if found.size < 2:
            raise SpaceError(f"{found.size} values, expected two or more to tell their spread")
        error = float(found.std(ddof=1)) / math.sqrt(found.size)
        return cls(float(found.mean()), error, found.size)

    def z(self, expected: float) -> float:
        """Return how many standard errors the mean lies above an expectation."""
        difference = self.mean - expected
        if self.standard_error == 0:
            same = math.isclose(difference, 0, abs_tol=1e-9)
            return 0.0 if same else math.copysign(math.inf, difference)
        return difference / self.standard_error

    def ratio(self, expected: float) -> float:
        """Return the mean over an expectation: above 1 for populations that evolved."""
        return self.mean / expected if expected else math.inf


def simulate(
    probabilities: Sequence[Sequence[float]], n: int, trials: int, seed: int = 0
) -> Trials:
    """Return the length of the longest prefix of a random model in common with any of n others.

    Args:
        probabilities: of each position's choices; for k equal ones ``[1 / k] * k``.
        n: stored models, 1 or more.
        trials: how often.
        seed: of all draws.

    Raises:
        SpaceError: fewer than 1 model or 2 trials.
    """

    def trial(rng: np.random.Generator) -> int:
        models = _draw(probabilities, n + 1, rng)
        return _longest(models[:-1], models[-1])

    return _repeat(trial, n, trials, seed)


def simulate_child(
    choices: Sequence[int],
    n: int,
    trials: int,
    seed: int = 0,
    weights: Sequence[float] | None = None,
) -> Trials:
    """Return the same for the child of one of n random models: see `closed.child`.

    Raises:
        SpaceError: as `simulate` and `closed.child`.
    """
    chance = mutation_probabilities(choices, weights)
    even = [[1 / count] * count for count in choices]

    def trial(rng: np.random.Generator) -> int:
        models = _draw(even, n, rng)
        made = models[0].copy()
        position = rng.choice(len(choices), p=chance)
        step = rng.integers(1, choices[position])
        made[position] = (made[position] + step) % choices[position]
        return _longest(models, made)

    return _repeat(trial, n, trials, seed)


def simulate_distinct(choices: Sequence[int], n: int, trials: int, seed: int = 0) -> Trials:
    """Return the number of different prefixes of all lengths among n random models.

    Raises:
        SpaceError: fewer than 1 model or 2 trials.
    """
    even = [[1 / count] * count for count in choices]

    def trial(rng: np.random.Generator) -> int:
        groups = np.zeros(n, dtype=np.int64)
        total = 0
        for column in _draw(even, n, rng).T:
            different, groups = np.unique(groups * (column.max() + 1) + column, return_inverse=True)
            total += len(different)
        return total

    return _repeat(trial, n, trials, seed)


def _repeat(trial: Callable[[np.random.Generator], int], n: int, trials: int, seed: int) -> Trials:
    if n < 1 or trials < 2:
        raise SpaceError(f"{n} models and {trials} trials, expected at least 1 and 2")
    rng = np.random.default_rng(seed)
    return Trials.of([trial(rng) for _ in range(trials)])


def _draw(
    probabilities: Sequence[Sequence[float]], n: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    return np.stack([rng.choice(len(p), n, p=p) for p in probabilities], axis=1)


def _longest(models: npt.NDArray[np.int64], one: npt.NDArray[np.int64]) -> int:
    return int(np.cumprod(models == one, axis=1).sum(axis=1).max())
