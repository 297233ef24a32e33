"""The search itself: who is born, who is the donor, who is retired, in the order of arrivals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer.errors import (
    EvolutionError,
    RetiredError,
    UnknownModelError,
)
from bench_core.weight_transfer.evolution.aging import AgingEvolution
from bench_core.weight_transfer.evolution.engines import Engine, open_engine
from bench_core.weight_transfer.evolution.journal import Journal
from bench_core.weight_transfer.evolution.result import Arrival, SearchResult
from bench_core.weight_transfer.evolution.settings import Candidate, Evolution, Outcome, Setup
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.methods.base import TransferMethod
from bench_core.weight_transfer.prefix import Match

IDS_A_BIRTH: Final = 1009
"""Ids of one birth, one for each start of the search: a birth that a kill interrupted may have
stored its model already. A prime, so that ids are spread over any number of shards."""

_DONOR_STREAM: Final = 1
"""Tells the draws of random donors from those of births, of the same seed and number."""


def search(
    setup: Setup,
    settings: Evolution | None = None,
    *,
    engine: str = "serial",
    workers: int = 1,
    journal: Path | None = None,
    order: Sequence[int] | None = None,
    progress: Callable[[Arrival], None] | None = None,
) -> SearchResult:
    """Evolve architectures whose candidates take over each other's weights.

    All decisions are made here, from what has arrived: workers only train. So a seed and an order
    of arrivals give the same candidates, donors and accuracies, bit for bit, on every engine with
    machines that compute the same bits; a synchronous search needs the seed alone.

    Args:
        setup: space, task, transfer method and training.
        settings: of the evolution.
        engine: ``serial``, ``processes``, ``mpi`` or ``ray``; see `engines`.
        workers: of the engine.
        journal: a file in which every arrival is noted. The same call goes on from it; what was
            being trained is trained again, with a donor that is asked for anew.
        order: births in the order of an earlier `SearchResult`, to be followed.
        progress: is called after each arrival.

    Raises:
        EvolutionError: what is asked for cannot be, another process has the journal, its models
            are not in the store any more, or a worker was lost.
        ModelExistsError: the store has models of these ids, from another search.
        StoreError, SaveError: models or the journal cannot be written.

    Example:
        >>> from bench_core.weight_transfer import spaces
        >>> from bench_core.weight_transfer.evolution import MethodRecipe
        >>> from bench_core.weight_transfer.tasks import TaskRecipe
        >>> few = {"n_train": 64, "n_validation": 64}
        >>> setup = Setup(
        ...     space=spaces.get("feed-forward", inputs=8, outputs=2, layers=3),
        ...     task=TaskRecipe.of("generated", shapes=((8,),), outputs=2, **few),
        ...     method=MethodRecipe("store", servers=("memory:",)),
        ... )
        >>> result = search(setup, Evolution(candidates=6, population=3, sample=2))
        >>> len(result.arrivals), result.arrivals[-1].candidate.match is not None
        (6, True)
    """
    settings = settings or Evolution()
    _check_order(settings, order)
    with ExitStack() as opened:
        method = opened.enter_context(setup.method.open())
        notes = None
        if journal is not None:
            notes = opened.enter_context(closing(Journal(journal, setup, settings)))
        running = opened.enter_context(closing(open_engine(engine, setup, workers, method)))
        return _Search(setup, settings, method, running, notes, order, progress).to_the_end()


def _check_order(settings: Evolution, order: Sequence[int] | None) -> None:
    if order is None:
        return
    if settings.is_synchronous:
        raise EvolutionError("an order was given to a synchronous search, which has its own")
    if sorted(order) != list(range(settings.candidates)):
        raise EvolutionError(
            f"an order of {len(order)} births, expected each of {settings.candidates} once"
        )


class _Search:
    """One run of a search: the candidates in flight, their donors, and what has arrived."""

    def __init__(
        self,
        setup: Setup,
        settings: Evolution,
        method: TransferMethod,
        engine: Engine,
        journal: Journal | None,
        order: Sequence[int] | None,
        progress: Callable[[Arrival], None] | None,
    ) -> None:
        self._setup, self._settings = setup, settings
        self._method, self._engine = method, engine
        self._journal, self._order, self._progress = journal, order, progress
        self._evolution = AgingEvolution(setup.space, settings)
        self._arrivals: list[Arrival] = []
        self._in_flight: dict[int, Candidate] = {}
        self._pins: dict[int, tuple[int, str]] = {}
        """The donors of candidates in flight and the pins on them, by birth."""
        self._early: dict[int, Outcome] = {}
        """Outcomes whose turn in the given order has not come."""
        self._live: dict[int, int] = {}
        """Models that can be donors by birth, in the order of arrival."""
        self._asked_ns: dict[int, int] = {}
        """Nanoseconds that finding the donor took, by birth."""
        self._gone: list[int] = []
        """Models of those that died of age, to be retired when that is noted."""
        self._strays: set[int] = set()
        """Models that a worker of an earlier start may store still."""
        self._start = 0 if journal is None else journal.starts
        self._began = time.perf_counter()

    def to_the_end(self) -> SearchResult:
        """Run until all candidates have arrived; give back what is retained, whatever happens."""
        try:
            if self._journal is not None:
                self._resume(self._journal)
            while len(self._arrivals) < self._settings.candidates:
                for candidate in self._due():
                    self._submit(candidate)
                self._note([self._arrived(outcome) for outcome in self._arriving()])
            return SearchResult(tuple(self._arrivals))
        finally:
            for birth in list(self._pins):
                with suppress(Exception):  # the first error is the one to tell
                    self._unpin(birth)

    def _due(self) -> list[Candidate]:
        """Return those who are born now; all at once where the search is synchronous."""
        found: list[Candidate] = []
        if self._settings.is_synchronous and self._in_flight:
            return found
        while (
            len(self._in_flight) < self._settings.in_flight
            and self._evolution.born < self._settings.candidates
        ):
            found.append(self._evolution.ask())
            self._in_flight[found[-1].birth] = found[-1]
        return found

    def _submit(self, candidate: Candidate) -> None:
        candidate = replace(candidate, model=self._model(candidate.birth, self._start))
        started = time.perf_counter_ns()
        match, pin = self._donor(candidate)
        self._asked_ns[candidate.birth] = time.perf_counter_ns() - started
        if match is not None:
            self._pins[candidate.birth] = (match.donor, pin)
        candidate = self._in_flight[candidate.birth] = replace(candidate, match=match)
        self._engine.submit(candidate)

    def _donor(self, candidate: Candidate) -> tuple[Match | None, str]:
        """Return whose weights a child takes, and the pin that retains them."""
        donors = self._settings.donors
        if candidate.parent is None or donors == "none":
            return None, ""
        graph = self._setup.space.build(candidate.arch)
        if donors == "best":
            in_flight = {self._model(birth, self._start) for birth in self._in_flight}
            hint = self._live.get(candidate.parent)
            return self._method.retain_best(graph, hint=hint, exclude=in_flight | self._strays)
        model = self._live.get(candidate.parent)
        if donors == "random" and self._live:
            rng = np.random.default_rng([self._settings.seed, candidate.birth, _DONOR_STREAM])
            model = list(self._live.values())[rng.integers(len(self._live))]
        return (None, "") if model is None else self._retained(model, graph)

    def _retained(self, model: int, graph: ArchitectureGraph) -> tuple[Match | None, str]:
        try:
            match = self._method.match_with(model, graph)
            return (None, "") if match is None else (match, self._method.retain(model))
        except (RetiredError, UnknownModelError):  # a method that forgets, or a shared store
            return None, ""

    def _arriving(self) -> list[Outcome]:
        """Return the next outcomes, in the order in which they count."""
        if self._settings.is_synchronous:
            outcomes = [self._engine.next() for _ in self._in_flight]
            return sorted(outcomes, key=lambda outcome: outcome.birth)
        if self._order is None:
            return [self._engine.next()]
        wanted = self._order[len(self._arrivals)]
        if wanted not in self._in_flight:
            raise EvolutionError(
                f"birth {wanted} shall arrive as number {len(self._arrivals)}, but is not in "
                f"flight then; give in_flight and the order of the same search"
            )
        while wanted not in self._early:
            outcome = self._engine.next()
            self._early[outcome.birth] = outcome
        return [self._early.pop(wanted)]

    def _arrived(self, outcome: Outcome) -> Arrival:
        seconds = time.perf_counter() - self._began
        candidate = self._in_flight.pop(outcome.birth)
        self._take_up(candidate, outcome)
        phases = {"query": self._asked_ns.pop(outcome.birth), **outcome.phases}
        outcome = replace(outcome, phases=phases)
        return Arrival(candidate, outcome, seconds, self._method.nbytes())

    def _take_up(self, candidate: Candidate, outcome: Outcome) -> None:
        """Count a candidate in, give its donor back, and see who dies of age."""
        self._unpin(candidate.birth)
        if outcome.is_finite:
            self._live[candidate.birth] = candidate.model
        oldest = self._evolution.tell(candidate, outcome.accuracy)
        if oldest is None or not self._settings.retires:
            return
        if self._live.pop(oldest.candidate.birth, None) is not None:
            self._gone.append(oldest.candidate.model)

    def _unpin(self, birth: int) -> None:
        if birth in self._pins:
            self._method.release(*self._pins.pop(birth))

    def _note(self, arrivals: Sequence[Arrival]) -> None:
        """Write down what arrived; a synchronous search's all at once, so that it resumes alike."""
        self._arrivals += arrivals
        if self._journal is not None:
            self._journal.add(arrivals)
        # Only now: a search that is killed before this note and goes on asks the same models.
        while self._gone:
            self._method.retire(self._gone.pop())
        if self._progress is not None:
            for arrival in arrivals:
                self._progress(arrival)

    def _resume(self, journal: Journal) -> None:
        """Take up what had arrived before, and remove what had not."""
        self._method.sweep()
        for arrival in journal.arrivals:
            self._due()
            self._check_expected(arrival.candidate)
            del self._in_flight[arrival.candidate.birth]
            self._take_up(arrival.candidate, arrival.outcome)
            self._arrivals.append(arrival)
        if self._arrivals:
            self._began -= self._arrivals[-1].seconds
        self._retire_kept()
        self._due()
        for candidate in self._in_flight.values():
            self._forget(candidate.birth)
        for candidate in list(self._in_flight.values()):
            self._submit(candidate)

    def _check_expected(self, noted: Candidate) -> None:
        """See that this candidate can arrive now, and shall."""
        birth = noted.birth
        if self._in_flight.get(birth) != replace(noted, model=0, match=None):
            raise CorruptFileError(
                f"the journal has another birth {birth} than the search, or has it elsewhere; it "
                "was changed, or is of another version: give another path and another store"
            )
        if self._order is not None and self._order[len(self._arrivals)] != birth:
            raise EvolutionError(
                f"arrival {len(self._arrivals)} of the journal is birth {birth}, the order has "
                f"{self._order[len(self._arrivals)]}; give the journal's order, or another journal"
            )

    def _retire_kept(self) -> None:
        """Retire whose turn had come when the search was stopped; see that the others are there.

        A search that had ended needs none of them.
        """
        kept = set(self._method.models())
        missing = set(self._live.values()) - kept
        is_needed = len(self._arrivals) < self._settings.candidates
        if missing and is_needed and self._setup.method.name != "noop":
            raise EvolutionError(
                f"model {min(missing)} of the journal is not in the store: it was removed, or was "
                "in memory; give the store of this journal, or remove the journal to begin anew"
            )
        for model in kept.intersection(self._gone):
            self._method.retire(model)
        self._gone.clear()

    def _forget(self, birth: int) -> None:
        """Retire what earlier starts stored of a birth that never arrived."""
        for start in range(self._start):
            model = self._model(birth, start)
            self._strays.add(model)
            with suppress(UnknownModelError):
                self._method.retire(model)

    def _model(self, birth: int, start: int) -> int:
        return self._settings.first_model + birth * IDS_A_BIRTH + start % IDS_A_BIRTH
