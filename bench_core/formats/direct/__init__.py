"""Safetensors files written and read past the page cache, several aligned requests in flight.

What `Direct` writes every safetensors library reads, and the other way round. Host memory in use
beside the tensors is the arena's: 16 MiB, kept between calls until `release_arenas`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from bench_core.formats.atomic import write_atomically
from bench_core.formats.base import Durability, Format, Tensors, WriteResult
from bench_core.formats.direct import arena, known_headers, workers
from bench_core.formats.direct.arena import ARENA_BYTES, held_bytes
from bench_core.formats.direct.reader import PositionedReader
from bench_core.formats.direct.writer import write_file

__all__ = ["ARENA_BYTES", "Direct", "held_bytes", "release_arenas"]


def release_arenas() -> None:
    """Give back the arena, its idle threads and the remembered headers; a later use makes new ones.

    Safe at any time: calls in flight keep what they use until they return.
    """
    arena.release()
    workers.release()
    known_headers.forget()


class Direct(Format):
    """Direct I/O through a persistent arena: nothing passes, fills or depends on the page cache."""

    name: ClassVar[str] = "direct"
    suffix: ClassVar[str] = ".safetensors"
    layout: ClassVar[str] = "safetensors"

    def check_available(self) -> None:
        """Writing works everywhere; `open` says whether a file can be read past the page cache."""

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        """Write all tensors to ``path``, which appears whole or not at all.

        Where the file system has no direct I/O the same bytes go through the page cache.

        Raises:
            SaveError: the write failed (full disk, read-only folder) and nothing was replaced,
                unless the text says that it was written.
            UnsupportedError: a tensor or a name that the format cannot store.
        """
        return write_atomically(
            path,
            durability,
            lambda temporary: write_file(temporary, tensors),
            bytes_logical=sum(t.numel() * t.itemsize for t in tensors.values()),
        )

    def open(self, path: Path) -> PositionedReader:
        """Open a file for direct reading; its header is parsed and checked.

        Raises:
            CorruptFileError: the file is truncated or no safetensors file.
            UnsupportedError: the platform or the file system has no direct I/O.
            FileNotFoundError: there is no such file.
        """
        return PositionedReader.open(path, direct=True)
