"""Populations, and the npz files that hold them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench_core.errors import CorruptFileError, UnknownNameError, UnsupportedError
from bench_core.formats import Durability
from bench_core.formats.atomic import write_atomically
from bench_core.formats.reading import check_file, corrupt_file_errors
from bench_core.weight_transfer import spaces
from bench_core.weight_transfer.errors import SpaceError
from bench_core.weight_transfer.prefix_names import PrefixNames, prefix_names
from bench_core.weight_transfer.spaces.base import Archs, SearchSpace

_SUFFIX: Final = ".npz"
_MAGIC: Final = b"PK"
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
        """Write a file that appears whole or not at all. Equal populations make equal files.

        Raises:
            UnsupportedError: the suffix is not ``.npz``.
            SaveError: the write failed, and nothing was replaced; or the file was written and is
                not known to be durable, as the text says then.
        """
        _check_suffix(path)
        write_atomically(
            path,
            durability,
            lambda temporary: _write(self, temporary),
            bytes_logical=self.archs.nbytes + self.names.nbytes,
        )


def load(path: Path) -> Population:
    """Return the population that `Population.save` wrote.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        UnsupportedError: the suffix is not ``.npz``.
        CorruptFileError: the file is damaged, or no population.
    """
    _check_suffix(path)
    check_file(path, magic=_MAGIC)
    with corrupt_file_errors(path):
        description, archs, names = _read(path)
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


def _check_suffix(path: Path) -> None:
    if path.suffix != _SUFFIX:
        raise UnsupportedError(
            f"{path}: no format for the suffix {path.suffix!r}, expected {_SUFFIX}"
        )


def describe(space: SearchSpace) -> str:
    """Return the name and settings of a space as JSON, the same for equal spaces."""
    return json.dumps({"name": space.name, "settings": dict(space.settings)}, sort_keys=True)


def _write(population: Population, path: Path) -> None:
    space = np.frombuffer(describe(population.space).encode(), dtype=np.uint8)
    with path.open("xb") as file:
        np.savez(file, archs=population.archs, names=population.names, space=space)


def _read(path: Path) -> tuple[str, Any, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return archive[_SPACE_KEY].tobytes().decode(), archive["archs"], archive["names"]
