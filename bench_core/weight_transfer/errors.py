"""What weight transfer refuses, and in which words where several places refuse the same."""

from __future__ import annotations

from pathlib import Path

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


def retired(model: int) -> RetiredError:
    """Return what to say of a retired model."""
    return RetiredError(f"model {model} is retired; ask for another donor")


def tensor_gone(*owners: int, where: Path | None = None) -> RetiredError:
    """Return what to say of a tensor that nobody holds any more, of one of these owners."""
    found = " or ".join(map(str, owners))
    return RetiredError(f"{_at(where)}a tensor of model {found} is not there any more")


def taken(model: int) -> ModelExistsError:
    """Return what to say of an id that a store has or had."""
    return ModelExistsError(f"the store has or had a model {model}; take another id")


def unknown(model: int, where: Path | str | None = None) -> UnknownModelError:
    """Return what to say of an id that a store never had."""
    return UnknownModelError(f"{_at(where)}the store never had a model {model}")


def _at(where: Path | str | None) -> str:
    return "" if where is None else f"{where}: "
