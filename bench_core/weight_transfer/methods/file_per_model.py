"""A file for each model in a folder; the donor is the parent.

The method "simple HDF5" of Underwood et al. ("EvoStore", HPDC 2024), in any format of one file.
Layout of the folder, each change a single step of the file system:

* ``weights/<model>+<token>+<bytes><suffix>``: written first.
* ``records/<model>.json``, a headline and the record: linked there when the weights are durable,
  which fails for the second writer of an id; never changed, never removed.
* ``retired/<model>.json``: a further link of the record of a retired model.
* ``pins/<model>+<pin>+``: further links of the weights, so that retirement can't pull them away.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, ClassVar, Final

import torch

from bench_core.formats import Durability
from bench_core.formats.atomic import is_dead, writer_mark
from bench_core.weight_transfer.errors import RetiredError, UnknownModelError, retired
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.methods.link_files import (
    Entry,
    as_store_error,
    entries,
    entry_name,
    link_new,
    make_store_folder,
    remove_entries,
    remove_name,
    sync_names,
)
from bench_core.weight_transfer.methods.model_files import ModelFiles
from bench_core.weight_transfer.methods.scanning import headline
from bench_core.weight_transfer.methods.whole_models import WholeModels, exists
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.records import ModelRecord

_SUFFIX: Final = ".json"


class FilePerModel(WholeModels):
    """Whole models in files; the donor is the hint."""

    name: ClassVar[str] = "file"

    def __init__(
        self,
        folder: Path,
        format: str = "safetensors",
        durability: Durability = Durability.FSYNC_DIR,
    ) -> None:
        """Open a folder, or make it; files of other formats in it are read all the same.

        Args:
            folder: on a file system with hard links.
            format: of the files that are written: one of `bench_core.formats` with single files.
            durability: of weights and records when `store` returns.

        Raises:
            UnknownNameError, UnsupportedError, MissingExtraError: as `ModelFiles`.
            StoreError: the folder can't be made.
        """
        super().__init__(ModelFiles(folder / "weights", format, durability))
        self._durability = durability
        self._records = folder / "records"
        self._retired = folder / "retired"
        self._pins = folder / "pins"
        for part in (self._records, self._retired, self._pins):
            make_store_folder(part)

    def best_match(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Compare with the hint alone; None without one, or when it is gone or has no layer."""
        if hint is None or hint in exclude:
            return None
        with suppress(UnknownModelError, RetiredError):
            return self.match_with(hint, graph)
        return None

    def retain(self, model: int) -> str:
        """Give the weights one more name."""
        record = self.record(model)
        pin = writer_mark()
        kept = self._pins / entry_name(model, pin)
        weights = self.files.path(record)
        with as_store_error(weights):
            try:
                os.link(weights, kept)
            except FileNotFoundError as error:
                raise self.gone(record) from error
            if not self.is_live(model):
                kept.unlink(missing_ok=True)
                raise retired(model)
        return pin

    def release(self, model: int, pin: str) -> None:
        """Remove that name."""
        path = self._pins / entry_name(model, pin)
        with as_store_error(path):
            path.unlink(missing_ok=True)

    def retire(self, model: int) -> int:
        """Link the record among the retired, then remove the weights' own name."""
        record = self.record(model)
        tombstone = self._retired / self._record_path(model).name
        with as_store_error(tombstone):
            try:
                os.link(self._record_path(model), tombstone)
            except FileExistsError:
                return 0
            # Before the weights go: a power failure must not leave a record without them.
            sync_names(self._retired, self._durability)
            return record.graph.nbytes if remove_name(self.files.path(record)) else 0

    def models(self) -> list[int]:
        """List the records and leave out the retired ones."""
        return sorted(_ids(self._records) - _ids(self._retired))

    def nbytes(self) -> int:
        """Return the bytes of the tensors of all files; one that has pins too counts once."""
        sizes = self.files.sizes()
        for entry in entries(self._pins):
            with suppress(FileNotFoundError):
                inode = entry.path.stat().st_ino
                if inode not in sizes:
                    sizes[inode] = self.record(entry.model).graph.nbytes
        return sum(sizes.values())

    def sweep(self) -> int:
        """Remove temporaries, weights and pins of dead processes, and weights of retired models."""
        stale = [entry for entry in entries(self.files.folder) if self._is_stale(entry)]
        stale += [e for e in entries(self._records) if is_dead(e.mark)]
        pins = [entry for entry in entries(self._pins) if is_dead(entry.mark)]
        remove_entries((*stale, *pins))
        return len({entry.mark for entry in stale}) + len(pins)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def record(self, model: int) -> ModelRecord:
        """Read the record."""
        with as_store_error(self._record_path(model)), self.open_record(model) as file:
            file.readline()
            return self._decode(file.read())

    def is_live(self, model: int) -> bool:
        """Look for a record, and for its name among the retired."""
        path = self._record_path(model)
        return not (self._retired / path.name).exists() and path.exists()

    def is_taken(self, model: int) -> bool:
        """Look for a record."""
        return self._record_path(model).exists()

    def publish(self, record: ModelRecord) -> None:
        """Write the record aside, and link it to its place."""
        path = self._record_path(record.id)
        aside = self._records / f".{entry_name(record.id, record.token, 'record')}"
        with as_store_error(path):
            try:
                link_new(path, aside, headline(record) + b"\n" + record.encode(), self._durability)
            except BaseException as error:
                remove_name(self.files.path(record))
                if isinstance(error, FileExistsError):
                    raise exists(record.id) from error
                raise

    def _read(self, record: ModelRecord, into: Mapping[str, torch.Tensor]) -> None:
        with suppress(FileNotFoundError):
            return self.files.read(record, into)
        for entry in entries(self._pins):
            if entry.model == record.id:
                with suppress(FileNotFoundError):  # its holder released it meanwhile
                    return self.files.read(record, into, entry.path)
        raise self.gone(record)

    def open_record(self, model: int) -> BinaryIO:
        """Open a record: its headline, then all of it.

        Raises:
            UnknownModelError: there never was such a model.
        """
        path = self._record_path(model)
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise UnknownModelError(f"{path.parent}: there never was a model {model}") from None

    def _record_path(self, model: int) -> Path:
        return self._records / f"{model}{_SUFFIX}"

    def _is_stale(self, entry: Entry) -> bool:
        """Whether nobody needs a file among the weights; asked after it was listed."""
        with suppress(UnknownModelError):
            if entry.is_finished and self.record(entry.model).token == entry.mark:
                return not self.is_live(entry.model)
        return is_dead(entry.mark)


def _ids(folder: Path) -> set[int]:
    with as_store_error(folder):
        return {
            int(path.name.removesuffix(_SUFFIX))
            for path in folder.iterdir()
            if not path.name.startswith(".")
        }
