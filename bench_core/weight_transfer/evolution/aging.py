"""Aging evolution: the best of a sample has a child, and the oldest dies, not the worst."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from bench_core.weight_transfer.evolution.settings import Candidate, Evolution
from bench_core.weight_transfer.mutation import mutate, position_weights
from bench_core.weight_transfer.spaces.base import SearchSpace


@dataclass(frozen=True)
class Individual:
    """A candidate that has arrived."""

    candidate: Candidate
    accuracy: float


class AgingEvolution:
    """The population, and who is born next (Real et al., "Regularized evolution", AAAI 2019).

    Each birth draws from a generator of its own, made of the seed and its number: so what is born
    depends on the seed and on the order in which those before arrived, and on nothing else.

    Example:
        >>> from bench_core.weight_transfer import spaces
        >>> settings = Evolution(population=2, sample=2)
        >>> evolution = AgingEvolution(spaces.get("feed-forward"), settings)
        >>> for accuracy in (0.1, 0.9):
        ...     _ = evolution.tell(evolution.ask(), accuracy)
        >>> evolution.ask().parent
        1
    """

    def __init__(self, space: SearchSpace, settings: Evolution) -> None:
        """Begin with nobody.

        Raises:
            SpaceError: the space cannot be mutated, or not with this beta.
        """
        position_weights(space, settings.beta)  # refuses now what no mutation could do later
        self._space = space
        self._settings = settings
        self._population: deque[Individual] = deque()
        self.born = 0
        """How many candidates have been asked for."""

    @property
    def population(self) -> tuple[Individual, ...]:
        """Those alive, the oldest arrival first."""
        return tuple(self._population)

    def ask(self) -> Candidate:
        """Return the next candidate: drawn until the population is full, then a child."""
        birth = self.born
        self.born += 1
        rng = np.random.default_rng([self._settings.seed, birth])
        if len(self._population) < self._settings.population:
            arch = self._space.random(1, rng)[0]
            return Candidate(birth, tuple(arch.tolist()), None, seed=self._settings.seed)
        parent = self._parent(rng).candidate
        (arch,) = mutate(self._space, [parent.arch], rng, self._settings.beta)
        return Candidate(birth, tuple(arch.tolist()), parent.birth, seed=self._settings.seed)

    def tell(self, candidate: Candidate, accuracy: float) -> Individual | None:
        """Take up a candidate that has arrived; return the one that dies of age, if any."""
        oldest = None
        if len(self._population) == self._settings.population:
            oldest = self._population.popleft()
        self._population.append(Individual(candidate, accuracy))
        return oldest

    def _parent(self, rng: np.random.Generator) -> Individual:
        drawn = rng.choice(len(self._population), self._settings.sample, replace=False)
        sample = [self._population[index] for index in drawn]
        return max(sample, key=lambda one: (one.accuracy, -one.candidate.birth))
