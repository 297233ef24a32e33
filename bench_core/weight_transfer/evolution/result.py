"""What an evolution gives: every arrival, and the measures of the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench_core.weight_transfer.evolution.settings import Candidate, Outcome
from bench_core.weight_transfer.lineage import most_popular


@dataclass(frozen=True)
class Arrival:
    """A candidate that was trained."""

    candidate: Candidate
    outcome: Outcome
    seconds: float
    """From the beginning of the search; time before an interruption counts, the gap does not."""
    stored_bytes: int
    """Of all models that are kept when this one came; the oldest goes after it."""


@dataclass(frozen=True)
class SearchResult:
    """An evolution from its first arrival to its last."""

    arrivals: tuple[Arrival, ...]
    """In the order in which they came."""

    @property
    def order(self) -> tuple[int, ...]:
        """Births in the order of arrival: with the seed it decides everything but the times."""
        return tuple(one.candidate.birth for one in self.arrivals)

    @property
    def best(self) -> Arrival:
        """The most accurate; of equals the one that came first."""
        return max(self.arrivals, key=lambda one: one.outcome.accuracy)

    @property
    def seconds(self) -> float:
        """Until the last arrival."""
        return self.arrivals[-1].seconds

    def best_accuracies(self) -> list[float]:
        """Return the best accuracy so far after each arrival."""
        best, found = float("-inf"), []
        for one in self.arrivals:
            best = max(best, one.outcome.accuracy)
            found.append(best)
        return found

    def time_to(self, accuracy: float) -> float | None:
        """Return the seconds until a candidate had this accuracy; None: none ever had."""
        for one in self.arrivals:
            if one.outcome.accuracy >= accuracy:
                return one.seconds
        return None

    def phase_seconds(self) -> Mapping[str, float]:
        """Return the seconds of all candidates together in each phase."""
        total: Counter[str] = Counter()
        for one in self.arrivals:
            total.update(one.outcome.phases)
        return {phase: spent / 1e9 for phase, spent in total.items()}

    def donor_popularity(self, window: int | None = None) -> tuple[tuple[int, int], ...]:
        """Return donors and how many arrivals took from them, as `lineage.most_popular`."""
        matches = (one.candidate.match for one in self.arrivals)
        return most_popular([None if match is None else match.donor for match in matches], window)

    @property
    def bytes_logical(self) -> int:
        """Of all models that were stored, each counted whole."""
        return sum(one.outcome.bytes_logical for one in self.arrivals)

    @property
    def bytes_physical(self) -> int:
        """Of what was written."""
        return sum(one.outcome.bytes_physical for one in self.arrivals)
