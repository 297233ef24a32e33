"""The blocks of a store: a file each, named by the digests of what it computes and of its bits."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from bench_core.errors import CorruptFileError, UnsupportedError
from bench_core.formats import Durability
from bench_core.formats.atomic import write_atomically
from bench_core.formats.base import Tensors
from bench_core.formats.direct.reader import PositionedReader
from bench_core.formats.direct.writer import write_file
from bench_core.models.digests import checksum, combine, tensor_digest
from bench_core.snapshots.folders import make_folder
from bench_core.snapshots.manifest import BlockRef

_SUFFIX: Final = ".safetensors"
_LABEL: Final = "block"
"""In the file's metadata: the block's key, so that a file under a wrong name is noticed at once."""
_CHECKSUM: Final = "crc32"
"""Likewise: of its tensors' values, by which damage is found sooner than by their digest."""

_KEY: Final = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}")

_DAMAGE: Final = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EIO)
"""What the system says of a file that is gone, is none, or lies on bad sectors."""


class BlockDamage(Exception):
    """Why a block cannot be used, without its name."""


def parameters_digest(tensors: Tensors) -> str:
    """Return the digest of a block's tensors: names, types, shapes, bits; not their order."""
    return combine({name: tensor_digest(tensor) for name, tensor in tensors.items()}).hex()


class Blocks:
    """All blocks of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the file of a block, whether it is there or not."""
        return self.folder / key[:2] / f"{key}{_SUFFIX}"

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield key and path of every block's file, whoever uses it; others' files are left out."""
        for path in sorted(self.folder.glob(f"*/*{_SUFFIX}")):
            key = path.name.removesuffix(_SUFFIX)
            if _KEY.fullmatch(key) and path == self.path(key):
                yield key, path

    def temporaries(self) -> list[Path]:
        """Return what writers left behind that died, and what those at work are writing."""
        return sorted(self.folder.glob("*/.*.tmp"))

    def put(self, ref: BlockRef, tensors: Tensors, *, suspicious: bool = False) -> None:
        """Write a block unless it is there; its bytes are durable then, its name is not yet.

        Args:
            ref: what the block is.
            tensors: its parameters.
            suspicious: read a block that is there, and write it anew if it is damaged.

        Raises:
            SaveError: it could not be written.
            UnsupportedError: a tensor that the format cannot store.
        """
        if self.is_whole(ref, verify=suspicious):
            return
        path = self.path(ref.key)
        make_folder(path.parent)
        write_atomically(
            path,
            Durability.FSYNC,
            lambda temporary: write_file(temporary, tensors, _metadata(ref, tensors)),
            bytes_logical=ref.nbytes,
        )

    def is_whole(self, ref: BlockRef, *, verify: bool = False) -> bool:
        """Whether the block is there: by its header and size, or with all its bits."""
        try:
            if verify:
                self.read(ref, verify=True)
            else:
                self.check(ref)
        except BlockDamage:
            return False
        return True

    def check(self, ref: BlockRef) -> None:
        """Look at a block's header, which says name, type, shape and place of each tensor.

        Raises:
            BlockDamage: the file is missing, truncated, another block's, or no block's.
        """
        self._open(ref, direct=False).close()

    def read(
        self, ref: BlockRef, *, verify: bool = False, direct: bool = False
    ) -> dict[str, torch.Tensor]:
        """Return a block's tensors in fresh memory.

        Args:
            ref: which block.
            verify: compare the tensors' digest with the one that the block is named by.
            direct: read past the page cache, where the file system can: what the device holds.

        Raises:
            BlockDamage: the block is missing or damaged.
        """
        with self._open(ref, direct=direct) as reader, as_damage(reader.path):
            tensors = reader.read()
        if verify and parameters_digest(tensors) != ref.parameters:
            raise _other_bits()
        return tensors

    def _open(self, ref: BlockRef, *, direct: bool) -> PositionedReader:
        path = self.path(ref.key)
        with as_damage(path):
            reader = _open_file(path, direct=direct)
        try:
            check_header(reader.header.metadata, _nbytes(reader), ref)
        except BaseException:
            reader.close()
            raise
        return reader


def _open_file(path: Path, *, direct: bool) -> PositionedReader:
    if direct:
        try:
            return PositionedReader.open(path, direct=True)
        except UnsupportedError:
            pass  # through the page cache then
    return PositionedReader.open(path, direct=False)


def _nbytes(reader: PositionedReader) -> int:
    return sum(spec.nbytes for spec in reader.specs.values())


def check_header(metadata: Mapping[str, str], nbytes: int, ref: BlockRef) -> None:
    """Raise where a file is not the block's, as its header has it.

    Args:
        metadata: of the file.
        nbytes: of all its tensors.
        ref: what the block is.

    Raises:
        BlockDamage: it is another block's, or no block's.
    """
    found = metadata.get(_LABEL)
    if found != ref.key:
        what = "no block of a store" if found is None else f"the block {found}"
        raise BlockDamage(f"the file holds {what}")
    if nbytes != ref.nbytes:
        raise BlockDamage(f"it has {nbytes} bytes of tensors, {ref.nbytes} expected")


def check_bits(tensors: Tensors, metadata: Mapping[str, str], ref: BlockRef) -> None:
    """Raise where tensors that were read are not those that were written.

    Args:
        tensors: of the whole block.
        metadata: of its file; where it has no checksum, as in stores of before, the digest is
            compared.
        ref: what the block is.

    Raises:
        BlockDamage: a bit differs.
    """
    known = metadata.get(_CHECKSUM)
    if known is None:
        is_whole = parameters_digest(tensors) == ref.parameters
    else:
        is_whole = checksum(tensors) == known
    if not is_whole:
        raise _other_bits()


def _metadata(ref: BlockRef, tensors: Tensors) -> dict[str, str]:
    return {_LABEL: ref.key, _CHECKSUM: checksum(tensors)}


def _other_bits() -> BlockDamage:
    return BlockDamage("its bytes are not those that its name promises")


@contextmanager
def as_damage(path: Path) -> Iterator[None]:
    """Turn errors that say something of the block into `BlockDamage`; the others pass.

    Raises:
        BlockDamage: the file is missing, truncated, none, or lies on bad sectors.
    """
    try:
        yield
    except (CorruptFileError, UnsupportedError) as error:
        raise BlockDamage(str(error).removeprefix(f"{path}: ")) from error
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise
        is_missing = error.errno == errno.ENOENT
        raise BlockDamage("it is missing" if is_missing else os.strerror(error.errno)) from error
