"""Populations, and the files that hold them: npz, or parquet where pyarrow is installed."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench_core.errors import (
    CorruptFileError,
    MissingExtraError,
    UnknownNameError,
    UnsupportedError,
)
from bench_core.formats import Durability
from bench_core.formats.atomic import write_atomically
from bench_core.formats.reading import check_file, corrupt_file_errors
from bench_core.weight_transfer import spaces
from bench_core.weight_transfer.errors import SpaceError
from bench_core.weight_transfer.prefix_names import PrefixNames, prefix_names
from bench_core.weight_transfer.spaces.base import Archs, SearchSpace

_MAGIC: Final = {".npz": b"PK", ".parquet": b"PAR1"}
_SPACE_KEY: Final = "space"


@dataclass(frozen=True)
class Population:
    """Architectures of one search space, and the names of their prefixes."""

    space: SearchSpace
    archs: Archs
    """Choices, shape (n, L)."""
    names: PrefixNames
    """Shape (n, L)."""

    def __len__(self) -> int:
        """Return the number of architectures."""
        return len(self.archs)

    @classmethod
    def of(cls, space: SearchSpace, archs: Archs) -> Population:
        """Return the population of these rows, named.

        Raises:
            SpaceError: rows that are not of this space.
        """
        rows = space.check(archs)
        return cls(space, rows, prefix_names(rows))

    def save(self, path: Path, durability: Durability = Durability.FSYNC_DIR) -> None:
        """Write a file that appears whole or not at all; the suffix tells the format.

        Two equal populations make two equal npz files.

        Raises:
            UnsupportedError: the suffix is neither ``.npz`` nor ``.parquet``.
            MissingExtraError: parquet, and pyarrow is not installed.
            SaveError: the write failed, and nothing was replaced.
        """
        write = _write_parquet if _suffix(path) == ".parquet" else _write_npz
        write_atomically(
            path,
            durability,
            lambda temporary: write(self, temporary),
            bytes_logical=self.archs.nbytes + self.names.nbytes,
        )


def load(path: Path) -> Population:
    """Return the population that `Population.save` wrote.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        UnsupportedError: the suffix is neither ``.npz`` nor ``.parquet``.
        MissingExtraError: parquet, and pyarrow is not installed.
        CorruptFileError: the file is damaged, or no population.
    """
    suffix = _suffix(path)
    check_file(path, magic=_MAGIC[suffix])
    read = _read_parquet if suffix == ".parquet" else _read_npz
    with corrupt_file_errors(path):
        description, archs, names = read(path)
        content = json.loads(description)
        try:
            space = spaces.get(content["name"], **content["settings"])
            population = Population.of(space, archs)
        except (SpaceError, UnknownNameError) as error:
            raise CorruptFileError(f"{path}: no population of a known space, {error}") from error
    if not np.array_equal(population.names, names):
        raise CorruptFileError(
            f"{path}: names that are not those of its choices; damaged, or of another version: "
            "generate it again"
        )
    return population


def _suffix(path: Path) -> str:
    if path.suffix not in _MAGIC:
        raise UnsupportedError(
            f"{path}: no format for the suffix {path.suffix!r}, expected .npz or .parquet"
        )
    return path.suffix


def describe(space: SearchSpace) -> str:
    """Return the name and settings of a space as JSON, the same for equal spaces."""
    return json.dumps({"name": space.name, "settings": dict(space.settings)}, sort_keys=True)


def _write_npz(population: Population, path: Path) -> None:
    space = np.frombuffer(describe(population.space).encode(), dtype=np.uint8)
    with path.open("xb") as file:
        np.savez(file, archs=population.archs, names=population.names, space=space)


def _read_npz(path: Path) -> tuple[str, Any, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return archive[_SPACE_KEY].tobytes().decode(), archive["archs"], archive["names"]


def _write_parquet(population: Population, path: Path) -> None:
    pyarrow, parquet = _pyarrow()
    columns = {
        name: pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), rows.shape[1])
        for name, rows in (("archs", population.archs), ("names", population.names))
    }
    table = pyarrow.table(columns).replace_schema_metadata({_SPACE_KEY: describe(population.space)})
    parquet.write_table(table, path)


def _read_parquet(path: Path) -> tuple[str, Any, Any]:
    _, parquet = _pyarrow()
    table = parquet.read_table(path)
    columns = [table.column(name).combine_chunks() for name in ("archs", "names")]
    archs, names = (
        column.flatten().to_numpy().reshape(len(column), column.type.list_size)
        for column in columns
    )
    return table.schema.metadata[_SPACE_KEY.encode()].decode(), archs, names


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(
            f"pyarrow is not installed ({error}); install it with: pip install pyarrow, or use "
            "the suffix .npz"
        ) from error
