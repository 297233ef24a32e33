"""Which reads fill which memory: straight where alignment allows, through a chunk where not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from bench_core.formats.direct.alignment import Alignment
from bench_core.formats.direct.arena import CHUNK_BYTES

STRAIGHT_BYTES: Final = 64 << 10
"""Smaller pieces are read together: a copy of that size costs less than a request."""

BRIDGED_BYTES: Final = 64 << 10
"""A gap between two pieces up to this long is read over: it takes less time than a request."""

LARGE_BYTES: Final = 1 << 20
"""Beside a piece this large only gaps below 1/256 of it are read over: few bytes read in vain."""


class Span(NamedTuple):
    """Bytes ``begin`` to ``end`` of the file, to arrive at ``address``."""

    begin: int
    end: int
    address: int
    has_margin: bool = False
    """The memory just before and after, up to what alignment asks for, may be overwritten."""


class Copy(NamedTuple):
    """``nbytes`` at ``position`` of what was read, for ``span`` from its byte ``skip`` on."""

    position: int
    span: Span
    skip: int
    nbytes: int


class Request(NamedTuple):
    """One read: to ``address``, or where that is None to a chunk that ``copies`` are made from."""

    offset: int
    nbytes: int
    address: int | None
    copies: tuple[Copy, ...] = ()


def plan(spans: Iterable[Span], alignment: Alignment) -> list[Request]:
    """Return the requests that fill ``spans``, in file order; no request exceeds `CHUNK_BYTES`.

    Args:
        spans: not empty each, ascending, not overlapping in the file.
        alignment: what the file asks for.
    """
    straight: list[Request] = []
    rest: list[Span] = []
    for span in spans:
        begin, end = _aligned_part(span, alignment)
        if begin >= end:
            rest.append(span)
            continue
        straight += _cut(begin, end, span.address + begin - span.begin)
        if span.begin < begin:
            rest.append(Span(span.begin, begin, span.address))
        if end < span.end:
            rest.append(Span(end, span.end, span.address + end - span.begin))
    return sorted([*straight, *windows(rest, alignment)], key=lambda request: request.offset)


def windows(
    spans: Iterable[Span], alignment: Alignment, limit: int = CHUNK_BYTES
) -> Iterator[Request]:
    """Yield reads of up to ``limit`` bytes to a chunk, that cover ``spans`` and few bytes beside.

    ``limit`` must suit the alignment; ``spans`` as in `plan`.
    """
    begin = reach = 0
    copies: list[Copy] = []
    for span in spans:
        position = span.begin
        while position < span.end:
            too_far = position - reach > _bridge(copies, span)
            if copies and (too_far or position >= begin + limit):
                yield _window(begin, reach, copies, alignment)
                copies = []
            if not copies:
                begin = alignment.down(position)
            stop = min(span.end, begin + limit)
            copies.append(Copy(position - begin, span, position - span.begin, stop - position))
            position = reach = stop
    if copies:
        yield _window(begin, reach, copies, alignment)


def _aligned_part(span: Span, alignment: Alignment) -> tuple[int, int]:
    """Return the part of the file that can be read straight to its place; maybe none."""
    if span.has_margin:
        return alignment.down(span.begin), alignment.up(span.end)
    begin, end = alignment.up(span.begin), alignment.down(span.end)
    address = span.address + begin - span.begin
    if end - begin < STRAIGHT_BYTES or address % alignment.memory:
        return span.begin, span.begin
    return begin, end


def _cut(begin: int, end: int, address: int) -> Iterator[Request]:
    for offset in range(begin, end, CHUNK_BYTES):
        yield Request(offset, min(CHUNK_BYTES, end - offset), address + offset - begin)


def _bridge(copies: list[Copy], span: Span) -> int:
    """Return the longest gap worth reading over between what is there and ``span``."""
    largest = max(copies[-1].nbytes if copies else 0, span.end - span.begin)
    return largest // 256 if largest >= LARGE_BYTES else BRIDGED_BYTES


def _window(begin: int, reach: int, copies: list[Copy], alignment: Alignment) -> Request:
    return Request(begin, alignment.up(reach) - begin, None, tuple(copies))
