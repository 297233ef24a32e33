"""A file for each model in a folder; the donor is found by opening every model's record."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import ClassVar

from bench_core.weight_transfer.errors import UnknownModelError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.methods.file_per_model import FilePerModel
from bench_core.weight_transfer.methods.link_files import as_store_error
from bench_core.weight_transfer.methods.scanning import Candidate, candidate, longest
from bench_core.weight_transfer.prefix import Match


class FileSearch(FilePerModel):
    """Whole models in files; a query opens as many files as there are live models.

    The published search loads the models themselves; here the first line of a record will do.
    """

    name: ClassVar[str] = "file_search"

    def best_match(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Look at every record; the hint is not looked at."""
        return longest(graph, self._candidates(exclude))

    def _candidates(self, exclude: Collection[int]) -> Iterator[Candidate]:
        for model in self.models():
            if model in exclude:
                continue
            with (
                suppress(UnknownModelError),  # its publication was taken back
                as_store_error(self.files.folder),
                self.open_record(model) as file,
            ):
                yield candidate(model, file.readline())
