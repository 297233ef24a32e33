"""What every way of transferring weights does, whatever it keeps the models in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench_core.weight_transfer.errors import RetiredError, retired
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.prefix import Match, by_intersection
from bench_core.weight_transfer.records import ModelRecord


@dataclass(frozen=True)
class Stored:
    """What one `TransferMethod.store` did."""

    bytes_logical: int
    """Of all tensors of the model."""
    bytes_physical: int
    """Of those that were written."""
    data_ns: int
    """Until the bytes were stored."""
    meta_ns: int
    """From there until the model was visible."""


class TransferMethod(ABC):
    """Finds a donor for a new model, keeps it, gives its weights, stores the trained child.

    Any number of processes may use the same models, each with an object of its own. A model is
    visible whole or not at all, and belongs to the first who stores its id.
    """

    name: ClassVar[str]

    @abstractmethod
    def best_match(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Return the donor of a new architecture and the layers to take from it, or None.

        Args:
            graph: of the new model.
            hint: the model that it was derived from; methods that search do not need it.
            exclude: models that shall not be the donor.

        Raises:
            StoreError: what keeps the models does not answer.
        """

    @abstractmethod
    def match_with(self, model: int, graph: ArchitectureGraph) -> Match | None:
        """Return what a new architecture has in common with one model; None without a layer.

        Raises:
            RetiredError: the model is retired.
            UnknownModelError: there never was such a model.
        """

    @abstractmethod
    def retain(self, model: int) -> str:
        """Keep a model's tensors until `release`, whoever retires it; return the pin.

        Raises:
            RetiredError: it is retired already.
            UnknownModelError: there never was such a model.
        """

    @abstractmethod
    def release(self, model: int, pin: str) -> None:
        """Take a pin back; the last one of a retired model frees its tensors. Twice is no error."""

    @abstractmethod
    def fetch(
        self, match: Match, graph: ArchitectureGraph, into: Mapping[str, torch.Tensor]
    ) -> None:
        """Fill those tensors of a new model that it takes from its donor, which is retained.

        Args:
            match: the donor, and the new model's positions.
            graph: the new model's architecture.
            into: its tensors by ``<position>.<name>``; others than the match's are left alone.

        Raises:
            UnknownModelError: there never was such a donor.
            RetiredError: the tensors are gone.
            CorruptFileError: they are damaged.
            GraphError: the new model has no such position.
            TensorNotFoundError: the donor has not what stands at one of them, or ``into`` has no
                place for it.
            TensorMismatchError: a tensor of ``into`` has another shape or type.
        """

    @abstractmethod
    def store(
        self,
        model: int,
        graph: ArchitectureGraph,
        tensors: Mapping[str, torch.Tensor],
        *,
        match: Match | None = None,
        accuracy: float | None = None,
    ) -> Stored:
        """Store a trained model, visible whole or not at all.

        Args:
            model: its id, never used before.
            graph: its architecture.
            tensors: all of them, by ``<position>.<name>``.
            match: its donor, which is retained, and the positions whose tensors are still the
                donor's, bit for bit; none of them where everything was trained.
            accuracy: decides between donors with equally long prefixes.

        Raises:
            ModelExistsError: there is or was a model of this id; nothing has changed.
            RetiredError: the donor's tensors are gone; nothing was stored.
            TensorNotFoundError, TensorMismatchError: these are not the architecture's tensors.
            StoreError, SaveError: it could not be stored; nothing remains.
        """

    @abstractmethod
    def get(self, model: int) -> dict[str, torch.Tensor]:
        """Return all tensors of a model, live or retained, by their names.

        Raises:
            UnknownModelError, RetiredError, CorruptFileError: as for `fetch`.
        """

    @abstractmethod
    def retire(self, model: int) -> int:
        """Make a model invisible and free what nobody else needs; return the freed bytes.

        To retire it again is no error and frees nothing; what pins keep goes with the last one.

        Raises:
            UnknownModelError: there never was such a model.
        """

    @abstractmethod
    def models(self) -> list[int]:
        """Return the ids of all live models, in order."""

    @abstractmethod
    def nbytes(self) -> int:
        """Return the bytes of all tensors that are kept, of retained and unfinished ones too."""

    @abstractmethod
    def sweep(self) -> int:
        """Remove what processes left that died half way; return how many puts, holds and pins."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections. The models stay, unless they are in memory."""

    @contextmanager
    def retained(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Iterator[Match | None]:
        """Give the donor that `best_match` finds, retained until the block ends."""
        match, pin = self.retain_best(graph, hint=hint, exclude=exclude)
        try:
            yield match
        finally:
            if match is not None:
                self.release(match.donor, pin)

    def retain_best(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> tuple[Match | None, str]:
        """Return the donor that `best_match` finds and the pin on it, for `release`.

        One that is retired between the match and the pin gives way to the next best.
        """
        while (match := self.best_match(graph, hint=hint, exclude=exclude)) is not None:
            try:
                return match, self.retain(match.donor)
            except RetiredError:
                continue
        return None, ""

    def __enter__(self) -> TransferMethod:
        """Return the method, to be closed at the end of the block."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def match_with_record(record: ModelRecord, is_live: bool, graph: ArchitectureGraph) -> Match | None:
    """Return what a new architecture has in common with a model; None without a layer.

    Raises:
        RetiredError: the model is not live.
    """
    if not is_live:
        raise retired(record.id)
    positions = by_intersection(record.graph, graph)
    return Match(record.id, positions, len(positions)) if positions else None
