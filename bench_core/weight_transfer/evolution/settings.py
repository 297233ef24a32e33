"""What an evolution is asked to do, and what goes to and comes from its workers: plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from bench_core.weight_transfer.errors import EvolutionError
from bench_core.weight_transfer.methods import open_method
from bench_core.weight_transfer.methods.base import TransferMethod
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.spaces.base import SearchSpace
from bench_core.weight_transfer.tasks import TaskRecipe
from bench_core.weight_transfer.training import TrainingPlan

Donors = Literal["best", "parent", "random", "none"]
"""Whose weights a child takes: of the longest prefix as the method finds it, of its parent, of a
live model drawn at random, or nobody's."""
DONORS: Final[tuple[Donors, ...]] = get_args(Donors)

_SEEDS: Final = 1 << 63
"""What torch takes."""


@dataclass(frozen=True)
class MethodRecipe:
    """A transfer method as plain data, so that every process can open it."""

    name: str = "store"
    folder: str | None = None
    servers: tuple[str, ...] = ()
    format: str = "safetensors"
    engine: str = "files"

    @property
    def is_in_memory(self) -> bool:
        """Whether the models are seen by the process that opened the method alone."""
        named = any(url.startswith("memory:") for url in self.servers)
        return self.name == "store" and (named or (not self.servers and self.engine == "memory"))

    def open(self) -> TransferMethod:
        """Open the method; see `methods.open_method` for what each field is and for errors."""
        folder = None if self.folder is None else Path(self.folder)
        return open_method(self.name, folder, self.servers, self.format, self.engine)


@dataclass(frozen=True)
class Setup:
    """What a worker needs to train candidates. Picklable; equal ones give equal bits."""

    space: SearchSpace
    task: TaskRecipe
    method: MethodRecipe = field(default_factory=MethodRecipe)
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    threads: int = 1
    """Of torch in each worker; the last bits of a training depend on it."""


@dataclass(frozen=True)
class Evolution:
    """Settings of the search; the defaults are those of the published run on ATTN."""

    candidates: int = 1_000
    population: int = 50
    """P: a candidate lives until so many younger ones have arrived."""
    sample: int = 5
    """S: the best of so many, drawn from the population, is a child's parent."""
    beta: float | None = 1.0
    """Of the mutations, see `mutation.position_weights`."""
    seed: int = 0
    in_flight: int = 1
    """Candidates that are being trained at once, whatever the number of workers."""
    is_synchronous: bool = False
    """Wait for all that are in flight, and take them in the order of their births."""
    donors: Donors = "best"
    retires: bool = True
    """Whether a model is retired from the store when its candidate leaves the population."""
    first_model: int = 0
    """Smallest id in the store, for several searches in one."""

    def __post_init__(self) -> None:
        if not 1 <= self.sample <= self.population:
            raise EvolutionError(
                f"a sample of {self.sample} from a population of {self.population}, expected 1 to "
                "the population's size"
            )
        if self.candidates < 1 or self.in_flight < 1 or self.first_model < 0:
            raise EvolutionError(
                f"candidates {self.candidates}, in_flight {self.in_flight}, first_model "
                f"{self.first_model}: expected 1 or more, 1 or more, 0 or more"
            )
        if not 0 <= self.seed < _SEEDS:
            raise EvolutionError(f"seed {self.seed}, expected 0 to 2^63 - 1")
        if self.donors not in DONORS:
            raise EvolutionError(f"donors {self.donors!r}, expected one of {', '.join(DONORS)}")


@dataclass(frozen=True)
class Candidate:
    """An architecture on its way to a worker."""

    birth: int
    """Its number in the order of births, from 0."""
    arch: tuple[int, ...]
    parent: int | None
    """The birth it is a mutation of; None: it was drawn."""
    model: int = 0
    """Its id in the store."""
    match: Match | None = None
    """The donor, which is retained until the candidate arrives."""
    seed: int = 0
    """Of first values, the same for all of a search, so that equal layers begin equal."""


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate."""

    birth: int
    accuracy: float
    """Minus infinity: it could not be built, or its values were not finite."""
    layers: int = 0
    transferred: int = 0
    """Layers that it took over."""
    bytes_fetched: int = 0
    bytes_logical: int = 0
    bytes_physical: int = 0
    phases: Mapping[str, int] = field(default_factory=dict)
    """Nanoseconds, see `TrainedModel`, where ``query`` is the donor found and retained by the
    search, and ``graph``: the architecture made from the choices."""
    problem: str = ""
    """Why it was not trained."""

    @property
    def is_finite(self) -> bool:
        """Whether it has a score."""
        return math.isfinite(self.accuracy)
