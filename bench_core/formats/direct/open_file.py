"""An open file that is read by address, through the page cache or past it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bench_core.errors import CorruptFileError, UnsupportedError
from bench_core.formats.direct import arena, raw_io
from bench_core.formats.direct.alignment import BUFFERED, Alignment, make_direct


class OpenFile:
    """A regular file, open for reading; any number of threads may read it at once.

    Attributes:
        path: where it was opened.
        size: its bytes, when it was opened.
        alignment: what offsets, lengths and addresses given to `read` must be divisible by.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``, to be read through the page cache until `make_direct`.

        Raises:
            FileNotFoundError, IsADirectoryError, PermissionError: as `open` does.
        """
        self._file = path.open("rb", buffering=0)
        self.path = path
        self.size = os.fstat(self._file.fileno()).st_size
        self.alignment: Alignment = BUFFERED

    @property
    def descriptor(self) -> int:
        """The descriptor.

        Raises:
            ValueError: the file was closed.
        """
        return self._file.fileno()

    @property
    def is_direct(self) -> bool:
        """Whether reads go past the page cache."""
        return self.alignment is not BUFFERED

    def make_direct(self) -> None:
        """Read past the page cache from now on.

        Raises:
            UnsupportedError: the platform or the file system has no direct I/O.
        """
        try:
            self.alignment = make_direct(self.descriptor)
        except UnsupportedError as error:
            raise UnsupportedError(
                f"{self.path}: cannot be read past the page cache, {error}; use policy 'pread' or "
                "'mmap'"
            ) from error

    def advise(self, advice: str) -> None:
        """Tell the kernel how the file will be read: ``"RANDOM"`` (no read-ahead), ``"NORMAL"``."""
        value = getattr(os, f"POSIX_FADV_{advice}", None)
        if value is not None:
            os.posix_fadvise(self.descriptor, 0, 0, value)

    def read(self, address: int, offset: int, nbytes: int) -> None:
        """Fill ``nbytes`` at ``address`` from ``offset`` on; past the end of the file stops there.

        Raises:
            CorruptFileError: the file has become shorter than it was when it was opened.
            UnsupportedError: the file system takes no direct read after all.
            OSError: the device failed.
        """
        needed = min(nbytes, self.size - offset)
        done = 0
        while done < needed:
            # After a short read the next one must start aligned again.
            done = self.alignment.down(done)
            got = self._pread(address + done, nbytes - done, offset + done)
            if done + got < needed and offset + done + got >= os.fstat(self.descriptor).st_size:
                raise CorruptFileError(
                    f"{self.path}: ended at byte {offset + done + got} while it was read, "
                    f"{self.size} expected; it was truncated meanwhile: read it again"
                )
            done += got

    def read_bytes(self, begin: int, end: int) -> bytes:
        """Return the bytes from ``begin`` to ``end``, read in chunks of the arena."""
        pieces = []
        while begin < end:
            start = self.alignment.down(begin)
            stop = min(end, start + arena.CHUNK_BYTES)
            with arena.current().chunk() as address:
                self.read(address, start, self.alignment.up(stop) - start)
                pieces.append(raw_io.bytes_at(address + begin - start, stop - begin))
            begin = stop
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file; reading it afterwards is an error."""
        self._file.close()

    def _pread(self, address: int, nbytes: int, offset: int) -> int:
        try:
            return raw_io.pread(self.descriptor, address, nbytes, offset)
        except OSError as error:
            if error.errno == errno.EINVAL and self.is_direct:
                raise UnsupportedError(
                    f"{self.path}: the file system refused a direct read; use policy 'pread' or "
                    "'mmap'"
                ) from error
            reason = error.strerror or str(error)
            raise OSError(error.errno, f"{reason} at byte {offset}", str(self.path)) from error
