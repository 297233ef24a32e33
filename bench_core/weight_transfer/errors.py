"""What weight transfer refuses."""

from __future__ import annotations

from bench_core.errors import BenchCoreError


class GraphError(BenchCoreError, ValueError):
    """Layers and connections that are no architecture, or one that cannot be traced."""


class ModelExistsError(BenchCoreError, ValueError):
    """The store has, or had, a model of this id."""


class UnknownModelError(BenchCoreError, KeyError):
    """The store never had a model of this id."""


class RetiredError(BenchCoreError, LookupError):
    """The model, or the tensor of it that was asked for, has been retired meanwhile."""


class StoreError(BenchCoreError, OSError):
    """The store or a server of it does not answer or cannot be written; nothing was changed."""


class FullError(StoreError):
    """A server of the store has no room; nothing was changed."""


class SpaceError(BenchCoreError, ValueError):
    """A search space or a sequence of choices that contradicts itself."""


class TaskError(BenchCoreError, ValueError):
    """A task for candidates, or a training of them, that cannot be."""


class EvolutionError(BenchCoreError, RuntimeError):
    """An evolution that cannot be run as asked, or that lost a worker."""
