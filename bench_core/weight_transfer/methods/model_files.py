"""Weight files of whole models: one file a model, in any format of a single file."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

from bench_core import formats
from bench_core.errors import CorruptFileError, UnsupportedError
from bench_core.formats import Durability
from bench_core.weight_transfer.methods.link_files import entries, entry_name, make_store_folder
from bench_core.weight_transfer.records import ModelRecord

FORMAT: Final = "format"
"""The entry of a record's ``info`` that names the format of its file."""
_NOT_ONE_FILE: Final = ("dcp", "tensorstore", "redis")


class ModelFiles:
    """A folder of weight files, each of which appears whole or not at all."""

    def __init__(self, folder: Path, format: str, durability: Durability) -> None:
        """Open the folder, or make it.

        Raises:
            UnknownNameError: there is no such format.
            UnsupportedError: its models are not single files, or it doesn't work here.
            MissingExtraError: its library is not installed.
            StoreError: the folder can't be made.
        """
        if format in _NOT_ONE_FILE:
            possible = [name for name in formats.writers() if name not in _NOT_ONE_FILE]
            raise UnsupportedError(
                f"a model of format {format!r} is not one file, which a link could keep; "
                f"expected one of {', '.join(possible)}"
            )
        self.format = format
        self._format = formats.get(format)
        self._format.check_available()
        self._durability = durability
        self.folder = folder
        make_store_folder(folder)

    def path(self, record: ModelRecord) -> Path:
        """Return where the weights of a model lie."""
        suffix = formats.get(str(record.info.get(FORMAT))).suffix
        kind = f"{record.graph.nbytes}{suffix}"  # so that nobody must open records for the sum
        return self.folder / entry_name(record.id, record.token, kind)

    def write(self, record: ModelRecord, tensors: Mapping[str, torch.Tensor]) -> int:
        """Write all tensors under their names, durable; return the bytes of the file.

        Raises:
            SaveError: they could not be written; nothing remains.
        """
        path = self.path(record)
        own = {name: tensor.detach() for name, tensor in tensors.items()}
        try:
            return self._format.write(own, path, self._durability).bytes_physical
        except BaseException:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise

    def read(
        self, record: ModelRecord, into: Mapping[str, torch.Tensor], path: Path | None = None
    ) -> None:
        """Fill tensors of the stored names, shapes and types, and read nothing else.

        Args:
            record: of the model.
            into: the destinations.
            path: another name of the file.

        Raises:
            FileNotFoundError: it is not there.
            CorruptFileError: it is damaged.
        """
        path = self.path(record) if path is None else path
        destinations = {name: tensor.detach() for name, tensor in into.items()}
        try:
            with formats.get(str(record.info.get(FORMAT))).open(path) as reader:
                reader.read_into(destinations)
        except CorruptFileError as error:
            if path.exists():
                raise
            # Removed while a library opened it by its name, perhaps for a second time.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error

    def sizes(self) -> dict[int, int]:
        """Return the bytes of the tensors of each file, by its inode; of unfinished ones too."""
        found = {}
        for entry in entries(self.folder):
            nbytes = entry.kind.partition(".")[0]
            if nbytes.isdecimal():
                with suppress(FileNotFoundError):
                    found[entry.path.stat().st_ino] = int(nbytes)
        return found
