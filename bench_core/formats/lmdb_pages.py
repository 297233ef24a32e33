"""Checks the pages of an LMDB file before the library, which trusts them, follows them.

LMDB maps the file and follows page numbers and offsets without a check: a damaged one makes the
process read past the map and die. The layout is that of LMDB 0.9 (``mdb.c``: MDB_meta, MDB_page,
MDB_node) on 64-bit little-endian machines. Only the tree is read, not the values.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from bench_core.errors import CorruptFileError

_PAGE_HEADER: Final = struct.Struct("<QHHHH")
_META: Final = struct.Struct("<IIQQ48xIHHQQQQQQQ")
_NODE: Final = struct.Struct("<HHHH")
_PAGE_NUMBER: Final = struct.Struct("<Q")
_OVERFLOW_COUNT: Final = struct.Struct("<12xI")

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 0x01, 0x02, 0x04, 0x08
_KINDS: Final = 0x6F
"""All flags that say what a page is, those of duplicate keys included, which are not used here."""
_IS_BIG_DATA: Final = 0x01
_NO_ROOT: Final = 2**64 - 1
_DEEPEST: Final = 32
"""LMDB's own limit on the depth of its tree (CURSOR_STACK)."""


@dataclass(frozen=True)
class _Meta:
    page_size: int
    depth: int
    root: int
    last_page: int
    transaction: int


def check_pages(path: Path) -> None:
    """Walk the tree of the main database of ``path``.

    Raises:
        CorruptFileError: a page number, an offset or a size leads out of its page or of the file.
    """
    with path.open("rb") as file:
        meta = _read_meta(file, path)
        size = os.fstat(file.fileno()).st_size
        if (meta.last_page + 1) * meta.page_size > size:
            raise CorruptFileError(
                f"{path}: truncated, {meta.last_page + 1} pages of {meta.page_size} bytes "
                f"expected, the file has {size} bytes"
            )
        if meta.root == _NO_ROOT:
            return
        if meta.depth > _DEEPEST:
            raise CorruptFileError(f"{path}: the tree is said to be {meta.depth} levels deep")
        seen: set[int] = set()
        level = [meta.root]
        for depth in range(meta.depth, 0, -1):
            kind = _LEAF if depth == 1 else _BRANCH
            level = [
                child
                for number in level
                for child in _check_page(file, path, meta, number, kind, seen)
            ]


def _read_meta(file: BinaryIO, path: Path) -> _Meta:
    """Return the meta page of the newest transaction, as the library chooses it."""
    first = _parse_meta(file.read(_PAGE_HEADER.size + _META.size), path)
    file.seek(first.page_size)
    second = _parse_meta(file.read(_PAGE_HEADER.size + _META.size), path)
    if second.page_size != first.page_size:
        raise CorruptFileError(
            f"{path}: its meta pages name page sizes {first.page_size} and {second.page_size}"
        )
    return max(first, second, key=lambda meta: meta.transaction)


def _parse_meta(page: bytes, path: Path) -> _Meta:
    if len(page) < _PAGE_HEADER.size + _META.size:
        raise CorruptFileError(f"{path}: truncated within its meta pages")
    _, _, kind, _, _ = _PAGE_HEADER.unpack_from(page)
    fields = _META.unpack_from(page, _PAGE_HEADER.size)
    magic, version = fields[:2]
    if not kind & _META_PAGE or magic != _MAGIC or version != _VERSION:
        raise CorruptFileError(
            f"{path}: a meta page has magic {magic:#x} and version {version}, "
            f"expected {_MAGIC:#x} and {_VERSION}"
        )
    (page_size,) = struct.unpack_from("<I", page, _PAGE_HEADER.size + 24)
    if page_size < 512 or page_size > 65536 or page_size & (page_size - 1):
        raise CorruptFileError(f"{path}: a meta page names a page size of {page_size} bytes")
    flags, depth, root, last_page, transaction = fields[5], fields[6], *fields[11:]
    if flags:
        raise CorruptFileError(f"{path}: its database has flags {flags:#x}, expected none")
    return _Meta(page_size, depth, root, last_page, transaction)


def _check_page(
    file: BinaryIO, path: Path, meta: _Meta, number: int, kind: int, seen: set[int]
) -> list[int]:
    """Check one page of the tree and return its children (none for a leaf)."""
    page = _read_page(file, path, meta, number)
    if number in seen:
        raise CorruptFileError(f"{path}: page {number} is reached twice")
    seen.add(number)
    stored, _, flags, lower, upper = _PAGE_HEADER.unpack_from(page)
    if stored != number or flags & _KINDS != kind:
        raise CorruptFileError(
            f"{path}: page {number} says to be page {stored} of kind {flags:#x}, expected {kind:#x}"
        )
    if not _PAGE_HEADER.size <= lower <= upper <= meta.page_size or lower % 2:
        raise CorruptFileError(f"{path}: page {number} has its free space at {lower}:{upper}")
    least = 2 if kind == _BRANCH else 1
    if (lower - _PAGE_HEADER.size) // 2 < least:
        raise CorruptFileError(f"{path}: page {number} of the tree has fewer than {least} nodes")
    if kind == _BRANCH:
        return [child for _, child in _nodes(path, page, number, lower, meta.page_size, kind)]
    for size, overflow in _nodes(path, page, number, lower, meta.page_size, kind):
        if overflow >= 0:
            _check_overflow(file, path, meta, overflow, size)
    return []


def _nodes(
    path: Path, page: bytes, number: int, lower: int, page_size: int, kind: int
) -> Iterator[tuple[int, int]]:
    """Yield for each node of a page its data's size and page (-1: the data lie in the node)."""
    count = (lower - _PAGE_HEADER.size) // 2
    for offset in struct.unpack_from(f"<{count}H", page, _PAGE_HEADER.size):
        if offset < lower or offset + _NODE.size > page_size or offset % 2:
            raise CorruptFileError(f"{path}: page {number} has a node at {offset}")
        low, high, flags, key_size = _NODE.unpack_from(page, offset)
        end = offset + _NODE.size + key_size
        if kind == _BRANCH:
            size, target = 0, low | high << 16 | flags << 32
        else:
            size, target = low | high << 16, -1
            if flags & ~_IS_BIG_DATA:
                raise CorruptFileError(f"{path}: page {number} has a node of kind {flags:#x}")
            if flags & _IS_BIG_DATA and end + _PAGE_NUMBER.size <= page_size:
                (target,) = _PAGE_NUMBER.unpack_from(page, end)
            end += _PAGE_NUMBER.size if flags & _IS_BIG_DATA else size
        if end > page_size:
            raise CorruptFileError(f"{path}: page {number} has a node that ends at {end}")
        yield size, target


def _check_overflow(file: BinaryIO, path: Path, meta: _Meta, number: int, size: int) -> None:
    header = _read_page(file, path, meta, number, _PAGE_HEADER.size)
    (stored, _, flags, _, _), (count,) = (
        _PAGE_HEADER.unpack(header),
        _OVERFLOW_COUNT.unpack(header),
    )
    needed = -(-(_PAGE_HEADER.size + size) // meta.page_size)
    is_inside = needed <= count and number + count - 1 <= meta.last_page
    if stored != number or not flags & _OVERFLOW or not is_inside:
        raise CorruptFileError(
            f"{path}: a value of {size} bytes is said to lie in {count} pages from page {number}, "
            f"which is no such run of pages"
        )


def _read_page(
    file: BinaryIO, path: Path, meta: _Meta, number: int, length: int | None = None
) -> bytes:
    if not 2 <= number <= meta.last_page:
        raise CorruptFileError(
            f"{path}: page {number} is referred to, pages 2 to {meta.last_page} exist"
        )
    return os.pread(
        file.fileno(), meta.page_size if length is None else length, number * meta.page_size
    )
