"""The ways to read a safetensors file, and the choice between them by what is in the page cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bench_core import formats
from bench_core.errors import UnknownNameError, UnsupportedError, nearest
from bench_core.formats.base import Format, Reader
from bench_core.formats.direct import Direct, known_headers
from bench_core.formats.direct.header import Header, read_header
from bench_core.formats.direct.open_file import OpenFile
from bench_core.formats.direct.reader import PositionedReader
from bench_core.layer_loading.mapped import MappedReader
from bench_core.layer_loading.residency import resident_fraction

MAPPED: Final = ("mmap", "populate")
"""Those whose tensors are pages of the file."""

POLICIES: Final = ("auto", "direct", *MAPPED, "pread", "streamed")
"""``auto`` chooses; ``streamed`` overlaps reads with copies to the device."""

WARM: Final = 2 / 3
"""Resident share from which the page cache is used: a hit takes a fifth of the time of direct I/O,
a miss through the cache twice as long."""


def open_reader(
    path: Path, names: Sequence[str] | None, policy: str, *, lazy: bool, on_host: bool
) -> tuple[Reader, str]:
    """Open a file to be read in the way of ``policy``; return the reader and that way's name.

    Args:
        path: a safetensors file, or one whose suffix tells another format.
        names: what will be read, for ``auto``; None for all.
        policy: one of `POLICIES`.
        lazy: the tensors will be returned, so ``auto`` may map them; else they will be copied to
            tensors that exist.
        on_host: that is where they are to be.

    Raises:
        CorruptFileError: the file is truncated or not of its format.
        UnknownNameError: there is no such policy.
        UnsupportedError: ``direct``, and the platform or file system has no direct I/O; or a
            policy for a file of another format.
        FileNotFoundError: there is no such file.
        OSError: ``mmap`` or ``populate``, and the file cannot be mapped.
    """
    _check_policy(policy)
    other = _other_format(path)
    if other is not None:
        if policy != "auto":
            raise UnsupportedError(
                f"{path}: policy {policy!r} is for safetensors files, a {path.suffix} file is read "
                "with policy 'auto'"
            )
        other.check_available()
        return other.open(path), other.name
    if policy == "streamed" or (policy == "auto" and not on_host):
        return _open_positioned(path, names, "auto")[0], "streamed"
    if lazy or policy in MAPPED:
        return _open_lazy(path, names, policy)
    return _open_positioned(path, names, policy)


def _other_format(path: Path) -> Format | None:
    """Return the format of another layout whose suffix ``path`` has."""
    if path.suffix in ("", Direct.suffix):
        return None
    candidates = (formats.get(name) for name in formats.names())
    matching = (f for f in candidates if f.on_disk and f.suffix == path.suffix)
    return next(matching, None)


def _check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise UnknownNameError(
            f"unknown policy {policy!r}; expected one of {', '.join(POLICIES)}"
            f"{nearest(policy, POLICIES)}"
        )


def _open_lazy(path: Path, names: Iterable[str] | None, policy: str) -> tuple[Reader, str]:
    """Open a file whose tensors will be returned: ``auto`` maps what is warm and can be mapped."""
    if policy in MAPPED:
        return MappedReader(OpenFile(path), populates=policy == "populate"), policy
    if policy != "auto":
        return _open_positioned(path, names, policy)
    file, header = _prepare(path, names)
    if file.is_direct:
        return PositionedReader(file, header), "direct"
    try:
        return MappedReader(file, header), "mmap"
    except OSError:  # not every file system maps files, and not every process has room for it
        return _open_positioned(path, names, "pread")


def _open_positioned(
    path: Path, names: Iterable[str] | None, policy: str
) -> tuple[PositionedReader, str]:
    """Open a file to fill tensors that exist: ``auto`` has the kernel copy what is warm.

    That is as fast as a copy out of a mapping, and if the file shrinks meanwhile it fails instead
    of ending the process.
    """
    if policy != "auto":
        return PositionedReader.open(path, direct=policy == "direct"), policy
    file, header = _prepare(path, names)
    return PositionedReader(file, header), "direct" if file.is_direct else "pread"


def _prepare(path: Path, names: Iterable[str] | None) -> tuple[OpenFile, Header]:
    """Open a file, switched to direct I/O if it is cold and can be."""
    file = OpenFile(path)
    try:
        # Without read-ahead: the header of a cold file shall not bring the rest with it.
        file.advise("RANDOM")
        header = _header(file)
        if _is_warm(file, header, names) or not _made_direct(file):
            file.advise("NORMAL")
        return file, header
    except BaseException:
        file.close()
        raise


def _header(file: OpenFile) -> Header:
    """Return the header: one known from before, if its bytes are in the page cache as well."""
    known = known_headers.recall(file)
    if known and resident_fraction(file, [(0, known.data_begin)]) == 1.0:
        return known
    header = read_header(file)
    known_headers.remember(file, header)
    return header


def _is_warm(file: OpenFile, header: Header, names: Iterable[str] | None) -> bool:
    entries = header.entries
    known = entries.values() if names is None else (entries[n] for n in names if n in entries)
    ranges = [(entry.begin, entry.end) for entry in known if entry.end > entry.begin]
    return resident_fraction(file, ranges) >= WARM


def _made_direct(file: OpenFile) -> bool:
    try:
        file.make_direct()
    except UnsupportedError:
        return False
    return True
