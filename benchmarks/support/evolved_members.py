"""Models of an evolution without training, for the workloads that store and retire them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.support.equal_stacks import names_of
from harness.errors import InputError, RefusedError

if TYPE_CHECKING:
    import torch

    from bench_core.weight_transfer import ArchitectureGraph, Match
    from bench_core.weight_transfer.evolution.aging import AgingEvolution
    from bench_core.weight_transfer.spaces import SearchSpace

SCALABLE: Final = ("feed-forward", "dense-skip")
"""Spaces of dense layers alone, whose widths can be any."""
SAMPLE: Final = 5
"""Of so many of the population the most accurate is a parent, as published."""


class Member(NamedTuple):
    """A model of an evolution: its id is its number."""

    graph: ArchitectureGraph
    arch: tuple[int, ...]
    match: Match | None
    """Its donor, and what it has from it."""
    tensors: dict[str, torch.Tensor]
    """All of them; what it inherits is the donor's very memory."""
    accuracy: float

    @property
    def inherited(self) -> tuple[int, ...]:
        """The positions of the layers that are its donor's."""
        return () if self.match is None else self.match.positions


def scaled_space(name: str, scale: int) -> SearchSpace:
    """Return a published space with its input's and its layers' widths times ``scale``.

    Raises:
        RefusedError: it is to be scaled and is not one of `SCALABLE`.
    """
    from bench_core.weight_transfer import spaces

    if scale == 1:
        return spaces.get(name)
    if name not in SCALABLE or scale < 1:
        raise RefusedError(f"{name} times {scale}; only {', '.join(SCALABLE)} can be scaled")
    settings = spaces.get(name).settings
    inputs, widths = settings["inputs"], settings["widths"]
    return spaces.get(name, inputs=inputs * scale, widths=tuple(w * scale for w in widths))


def check_space(name: str) -> None:
    """Raise where there is no space of this name.

    Raises:
        InputError: the text says which there are.
    """
    from bench_core.errors import UnknownNameError
    from bench_core.weight_transfer import spaces

    try:
        spaces.get(name)
    except UnknownNameError as error:
        raise InputError(str(error)) from error


def evolution_of(space: SearchSpace, population: int, seed: int) -> AgingEvolution:
    """Return an aging evolution of so many."""
    from bench_core.weight_transfer.evolution.aging import AgingEvolution
    from bench_core.weight_transfer.evolution.settings import Evolution

    sample = min(SAMPLE, population)
    return AgingEvolution(space, Evolution(population=population, sample=sample, seed=seed))


def evolved(space: SearchSpace, n_models: int, population: int, seed: int) -> list[Member]:
    """Return the models of an evolution in the order of their births.

    Each has its donor, the best of all before it, and random tensors but for what it inherits.
    """
    import numpy as np

    from bench_core.weight_transfer import PrefixIndex

    accuracies = np.random.default_rng(seed).random(n_models).tolist()
    evolution, index = evolution_of(space, population, seed), PrefixIndex()
    members: list[Member] = []
    for model, accuracy in enumerate(accuracies):
        candidate = evolution.ask()
        graph = space.build(candidate.arch)
        match = index.best(graph)
        tensors = own_tensors(graph, () if match is None else match.positions, seed, model)
        if match is not None:
            donor = members[match.donor]
            tensors |= inherited_tensors(graph, match, donor.graph, donor.tensors)
        members.append(Member(graph, candidate.arch, match, tensors, accuracy))
        index.add(model, graph.names, accuracy)
        evolution.tell(candidate, accuracy)
    return members


def own_tensors(
    graph: ArchitectureGraph, inherited: Collection[int], seed: int, model: int
) -> dict[str, torch.Tensor]:
    """Return random tensors for the layers that a model does not inherit."""
    from bench_core.models.random_fill import TensorShape, random_tensors

    specs = graph.tensors()
    names = names_of(graph, [v for v in range(len(graph)) if v not in inherited])
    shapes = {name: TensorShape(specs[name].shape, specs[name].dtype) for name in names}
    return random_tensors(shapes, (seed << 32) + model)


def inherited_tensors(
    graph: ArchitectureGraph,
    match: Match,
    donor: ArchitectureGraph,
    tensors: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Return the donor's tensors under the names that they have in the child."""
    theirs = [donor.position[graph.names[position]] for position in match.positions]
    mine, given = names_of(graph, match.positions), names_of(donor, theirs)
    return {name: tensors[of] for name, of in zip(mine, given, strict=True)}
