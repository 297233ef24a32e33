"""What methods have in common that keep each model whole in a file of its own."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import torch

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer.errors import ModelExistsError, RetiredError, retired
from bench_core.weight_transfer.fetches import wanted_of
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.methods.base import Stored, TransferMethod, match_with_record
from bench_core.weight_transfer.methods.model_files import FORMAT, ModelFiles
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.puts import check_all, new_record
from bench_core.weight_transfer.records import ModelRecord

_RECORDS: Final = 64
"""So many are kept decoded, some 100 kB each for 50 layers."""


class WholeModels(TransferMethod):
    """Weights in `ModelFiles`, nothing shared; where the records are is the subclass's matter."""

    def __init__(self, files: ModelFiles) -> None:
        """Take the place of the weights."""
        self.files = files
        # A donor's record is asked for by the match, the pin and the fetch; none ever changes.
        self._decode = lru_cache(_RECORDS)(ModelRecord.decode)

    @abstractmethod
    def record(self, model: int) -> ModelRecord:
        """Return the record of a model, live or retired.

        Raises:
            UnknownModelError: there never was such a model.
        """

    @abstractmethod
    def is_live(self, model: int) -> bool:
        """Whether a model of this id is there and not retired."""

    @abstractmethod
    def is_taken(self, model: int) -> bool:
        """Whether there is or was a model of this id."""

    @abstractmethod
    def publish(self, record: ModelRecord) -> None:
        """Make a model visible whose file is written.

        Where it is certain that nobody can see it, the file is removed again.

        Raises:
            ModelExistsError: there is or was a model of this id; nothing has changed.
        """

    def match_with(self, model: int, graph: ArchitectureGraph) -> Match | None:
        """Compare with one model's record."""
        return match_with_record(self.record(model), self.is_live(model), graph)

    def fetch(
        self, match: Match, graph: ArchitectureGraph, into: Mapping[str, torch.Tensor]
    ) -> None:
        """Read the wanted tensors from the donor's file, and no others."""
        record = self.record(match.donor)
        stored = {key: name for name, key in record.tensor_ids.items()}
        wanted = wanted_of(match, graph, record, into)
        self._read(record, {stored[key]: tensor for key, tensor in wanted.items()})

    def store(
        self,
        model: int,
        graph: ArchitectureGraph,
        tensors: Mapping[str, torch.Tensor],
        *,
        match: Match | None = None,
        accuracy: float | None = None,
    ) -> Stored:
        """Write all tensors, also those that are the donor's; then the record."""
        started = time.perf_counter_ns()
        check_all(model, graph, tensors)
        info = {FORMAT: self.files.format}
        record = new_record(model, graph, None, accuracy=accuracy, info=info)
        if match is not None:
            record = replace(record, parent=match.donor)
        if self.is_taken(model):
            raise exists(model)
        physical = self.files.write(record, tensors)
        written = time.perf_counter_ns()
        self.publish(record)
        return Stored(
            bytes_logical=graph.nbytes,
            bytes_physical=physical,
            data_ns=written - started,
            meta_ns=time.perf_counter_ns() - written,
        )

    def get(self, model: int) -> dict[str, torch.Tensor]:
        """Read the whole file."""
        record = self.record(model)
        tensors = {
            name: torch.empty(spec.shape, dtype=spec.dtype)
            for name, spec in record.graph.tensors().items()
        }
        self._read(record, tensors)
        return tensors

    def _read(self, record: ModelRecord, into: Mapping[str, torch.Tensor]) -> None:
        """Fill tensors by their names in the file.

        Raises:
            RetiredError: the file is gone.
            CorruptFileError: it is damaged, or is missing.
        """
        try:
            self.files.read(record, into)
        except FileNotFoundError as error:
            raise self.gone(record) from error

    def gone(self, record: ModelRecord) -> RetiredError | CorruptFileError:
        """Return what to say of a model whose file is not there."""
        if not self.is_live(record.id):
            return retired(record.id)
        return CorruptFileError(
            f"{self.files.path(record)}: the weights of model {record.id} are missing, though it "
            "was not retired; the file was removed by hand, or this is another folder"
        )


def exists(model: int) -> ModelExistsError:
    """Return what to say of an id that is taken."""
    return ModelExistsError(f"there is or was a model {model}; take another id")
